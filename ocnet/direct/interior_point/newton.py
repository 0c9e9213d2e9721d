"""The Newton step of the barrier problem, with the Hessian made convex where it is not."""

import torch
from torch import Tensor

from ..constants import (
    FIRST_SHIFT,
    LEAST_SHIFT,
    MOST_SHIFT,
    PENALTIES,
    SHIFT_RAISED,
    SHIFT_RAISED_FIRST,
    SHIFT_RELAXED,
    SLIGHT,
    SOFT,
    TO_THE_BOUNDARY,
)
from ..transcription.backend import Linearisation
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .riccati import LQSolution, riccati, Stages, Sweep


def stages(nlp: Transcription, it: Iterate, lin: Linearisation, mu: Tensor) -> Stages:
    """The linear-quadratic problem whose solution is the Newton step, slacks eliminated.

    With `s y = mu w` linearised, a row `rows + s = 0` adds `D' (y/s) D` to the Hessian and
    `D' (mu w + y (rows + s)) / s` to the gradient.
    """
    F_w, c_w, g_w = lin.along.jacobians
    phi_w, psi_w, omega_w = lin.end.jacobians
    nz, scale, mu = nlp.nz, nlp.scale[:, None], mu[:, None]
    pull = (mu / nlp.n + it.y * (lin.rows + it.s)) / it.s
    pull_end = (mu + it.y_end * (lin.rows_end + it.s_end)) / it.s_end
    zero = torch.zeros_like(nlp.scale)
    hessian = lin.along.hessian + nlp.along.gram(g_w, it.y / it.s)
    gradient = scale * c_w[..., 0, :] + nlp.along.pull_back(g_w, pull)
    end_hessian = (lin.end.hessian + nlp.end.gram(omega_w, it.y_end / it.s_end))[0]
    end_gradient = (scale * phi_w[..., 0, :] + nlp.end.pull_back(omega_w, pull_end))[0]
    # Terms of the end that depend on the last control alone belong to the last step.
    hessian[-1, :, nz:, nz:] += end_hessian[:, nz:, nz:]
    gradient[-1, :, nz:] += end_gradient[:, nz:]
    return Stages(
        hessian,
        gradient,
        F_w,
        lin.defect,
        end_hessian[:, :nz, :nz],
        end_gradient[:, :nz],
        psi_w[0, :, :, :nz],
        lin.end.values[1][0],
        zero + PENALTIES[0],
        zero,
        it.nu[0],
        end_hessian[:, :nz, nz:],
    )


def convexified(problem: Stages, shift: Tensor, sweep: Sweep = "auto") -> tuple[LQSolution, Tensor]:
    """Solves the problem with the least multiple of the identity that makes it convex.

    Arguments:
        problem: The linear-quadratic problem.
        shift: The multiple that each instance needed last; negative to require at least its size.
        sweep: How the stages are gone through.

    Returns:
        The step, and the multiple used.
    """
    used = (-shift).clamp(min=0)
    step = riccati(shifted(problem, used), sweep)
    last = shift.abs()
    at = (~step.convex & (used == 0)).nonzero()[:, 0]
    if len(at) > 0 and problem.end_defect.shape[-1] > 0:
        step = step.updated(at, riccati(firmer(problem.take(at), PENALTIES[1]), sweep))
    while not bool((step.convex | (used > MOST_SHIFT)).all()):
        failed = ~step.convex & (used <= MOST_SHIFT)
        at = failed.nonzero()[:, 0]
        first = torch.where(last > 0, (last / SHIFT_RELAXED).clamp(min=LEAST_SHIFT), FIRST_SHIFT)
        more = used * torch.where(last > 0, SHIFT_RAISED, SHIFT_RAISED_FIRST).to(used)
        used = torch.where(failed, torch.where(used > 0, more, first), used)
        part = riccati(shifted(problem.take(at), used[at]), sweep)
        step = step.updated(at, part)
    return step, used


def firmer(problem: Stages, penalty: float) -> Stages:
    """The problem with another weight of the terminal constraint's square."""
    return problem._replace(penalty=torch.full_like(problem.penalty, penalty))


def shifted(problem: Stages, shift: Tensor) -> Stages:
    """The problem with a multiple of the identity added, and a terminal constraint made soft."""
    if not bool((shift > 0).any()):
        return problem
    soft = torch.where(shift > 0, SOFT, 0.0).to(shift)
    eye = torch.eye(problem.hessian.shape[-1], dtype=shift.dtype, device=shift.device)
    eye_end = torch.eye(problem.end_hessian.shape[-1], dtype=shift.dtype, device=shift.device)
    amount = shift[:, None, None]
    return problem._replace(
        hessian=problem.hessian + amount / len(problem.hessian) * eye,
        end_hessian=problem.end_hessian + amount * eye_end,
        shift=soft,
    )


def direction(
    nlp: Transcription, it: Iterate, lin: Linearisation, mu: Tensor, step: LQSolution
) -> Iterate:
    """The change of all variables that belongs to a step of states and controls."""
    dw = torch.cat([step.z[:-1], step.u], -1)
    ds = -(lin.rows + it.s) - nlp.along.along(lin.along.jacobians[2], dw)
    dw_end = torch.cat([step.z[-1:], step.u[-1:]], -1)
    ds_end = -(lin.rows_end + it.s_end) - nlp.end.along(lin.end.jacobians[2], dw_end)
    mu = mu[:, None]
    return Iterate(
        step.z,
        step.u,
        step.costate - it.costate,
        step.nu[None] - it.nu,
        ds,
        (mu / nlp.n - it.y * ds) / it.s - it.y,
        ds_end,
        (mu - it.y_end * ds_end) / it.s_end - it.y_end,
    )


def lengths(it: Iterate, change: Iterate, mu: Tensor) -> tuple[Tensor, Tensor]:
    """The longest steps that keep slacks, and multipliers, away from zero."""
    tau = (1 - mu).clamp(min=TO_THE_BOUNDARY)
    primal = torch.minimum(room(it.s, change.s, tau), room(it.s_end, change.s_end, tau))
    return primal, torch.minimum(room(it.y, change.y, tau), room(it.y_end, change.y_end, tau))


def room(value: Tensor, change: Tensor, tau: Tensor) -> Tensor:
    """The longest step in `[0, 1]` that keeps `value >= (1 - tau) value`."""
    if value.numel() == 0:
        return torch.ones_like(tau)
    ratio = torch.where(change < 0, -value / change, torch.inf)
    return (tau * ratio.amin((0, 2))).clamp(max=1)


def is_minimum(nlp: Transcription, it: Iterate, lin: Linearisation, mu: Tensor) -> Tensor:
    """Whether the second-order condition holds, except for curvature that rounding explains."""
    problem = shifted(stages(nlp, it, lin, mu), torch.full_like(mu, SLIGHT))
    minimum = riccati(problem).convex
    for penalty in PENALTIES[1:] if nlp.n_psi > 0 else ():
        at = (~minimum).nonzero()[:, 0]
        if len(at) > 0:
            part = riccati(firmer(problem.take(at), penalty)).convex
            minimum = minimum.index_copy(0, at, part)
    return minimum
