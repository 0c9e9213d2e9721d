"""From the constrained problem to the one with penalties for constraints, and back."""

import torch
from torch import Tensor

from ..constants import Code
from ..method import Outcome
from ..transcription.backend import Linearisation
from ..transcription.bounds import inside
from ..transcription.iterate import linearise, slacks
from ..transcription.start import COLD
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import violations


LITTLE = 1e-8
"""Violations below this count as zero when attempts are compared."""


def relaxed(nlp: Transcription, it: Iterate, stretch: float) -> Iterate:
    """Turns a start of the constrained problem into one of the penalised problem.

    A free horizon is stretched.
    """
    z = it.z.clone()
    if nlp.points.free_time:
        low, high = (bound[..., 0] for bound in nlp.theta_bounds)
        z[..., nlp.nx] = inside(stretch * z[..., nlp.nx], low, high)
    bounded, end_bounded = nlp.along.bounded, nlp.end.bounded
    lin = linearise(nlp, it._replace(z=z))
    s, s_end = -lin.rows[..., :bounded], -lin.rows_end[..., :end_bounded]
    return it._replace(
        z=z, nu=it.nu[..., :0], s=s, y=COLD / nlp.n / s, s_end=s_end, y_end=COLD / s_end
    )


def tightened(nlp: Transcription, it: Iterate, weight: float) -> Iterate:
    """An iterate of the penalised problem as a start for the constrained one.

    The slope of the penalty estimates the multipliers: `weight psi`, `weight max(omega, 0)` and
    `weight max(g, 0)`.
    """
    lin = linearise(nlp, Iterate.without_multipliers(nlp, it.z, it.u))
    s, s_end = slacks(nlp, lin, 1e-2)
    psi, rows, rows_end = lin.end.values[1], lin.rows.clamp(min=0), lin.rows_end.clamp(min=0)
    if nlp.units is not None:
        # The penalty is that of the rows in the user's units.
        of_rows, of_ends = nlp.units.of_rows(nlp)
        psi, rows, rows_end = psi * nlp.units.psi**2, rows * of_rows**2, rows_end * of_ends**2
    return it._replace(
        nu=weight * psi,
        s=s,
        y=(COLD / s + weight * rows) / nlp.n,
        s_end=s_end,
        y_end=COLD / s_end + weight * rows_end,
    )


def finite(it: Iterate, nlp: Transcription) -> Iterate:
    """An iterate as a start: the initial state held and no control where it is not finite."""
    z, u = nlp.constant_start(nlp.n)
    good = it.z.abs().amax((0, 2)) + it.u.abs().amax((0, 2)) < 1e8
    other = Iterate.without_multipliers(nlp, z, u)
    it = it.where(good, other)
    low, high = nlp.theta_bounds
    theta = inside(it.z[..., nlp.nx :], low, high, 1e-6)
    z = torch.cat([it.z[..., : nlp.nx], theta], -1)
    return it._replace(z=z, u=inside(it.u, *nlp.u_bounds, 1e-6))


def violation_norm(nlp: Transcription, lin: Linearisation) -> Tensor:
    r"""`sqrt(|psi|^2 + |max(omega, 0)|^2 + 1/n sum_k |max(g_k, 0)|^2)`, shape `(batch,)`.

    In the user's units, that is the norm in which an infeasible answer violates the constraints
    least; dynamics and bounds hold there.
    """
    rows, ends = lin.rows[..., nlp.along.bounded :], lin.rows_end[..., nlp.end.bounded :]
    return of_rows(nlp, rows, ends, lin.end.values[1])


def norm_of(nlp: Transcription, z: Tensor, u: Tensor) -> Tensor:
    """`violation_norm` from values alone."""
    g, (_, psi, omega) = nlp.stages(z[:-1], u)[2], nlp.ends(z[-1:], u[-1:])
    return of_rows(nlp, nlp.imposed(g), omega - nlp.rooms()[1], psi)


def of_rows(nlp: Transcription, rows: Tensor, ends: Tensor, psi: Tensor) -> Tensor:
    """The norm of the rows' values `g`, `omega` and `psi`, each `(time, batch, rows)`."""
    rows, ends = rows.clamp(min=0), ends.clamp(min=0)
    if nlp.units is not None:
        rows, ends, psi = rows * nlp.units.g, ends * nlp.units.omega, psi * nlp.units.psi
    squares = (rows**2).sum((0, 2)) / nlp.n
    return (squares + (ends**2).sum((0, 2)) + (psi**2).sum((0, 2))).sqrt()


def better(nlp: Transcription, before: Outcome, again: Outcome) -> Outcome:
    """The better of two attempts, each instance by itself, with the iterations of both.

    What converged is best, then what proves something, then the least violation, then the cost.
    """
    ranks = []
    for out in (before, again):
        lin = linearise(nlp, out.it)
        final = {Code.CONVERGED.value: 0, Code.UNBOUNDED.value: 1, Code.INFEASIBLE.value: 2}
        kind = torch.full_like(nlp.scale, 3.0)
        for code, rank in final.items():
            kind[out.code == code] = rank
        # Of two points of least violation, the better has less of it, in the norm of the proof.
        norm = torch.where(kind == 2, violation_norm(nlp, lin), violations(nlp, lin))
        cost = lin.along.values[1].sum((0, 2)) + lin.end.values[0].sum((0, 2))
        ranks.append([kind, norm.clamp(min=LITTLE), cost])
    worse = torch.zeros_like(before.minimum)
    equal = torch.ones_like(worse)
    for a, b in zip(*ranks, strict=True):
        a, b = (torch.nan_to_num(v, nan=torch.inf, posinf=torch.inf) for v in (a, b))
        worse |= equal & (b > a)
        equal &= a == b
    code, _, minimum = (
        torch.where(worse, a, b) for a, b in zip(before.ending, again.ending, strict=True)
    )
    return Outcome(before.it.where(worse, again.it), code, again.iterations, minimum)
