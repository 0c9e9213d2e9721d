"""Certifies the depth of a network: measures it against two references and verifies the advice."""

import torch

from ..control import Control
from ..problem import Problem, Sample
from ..solver import Solver
from ..solver.base import acting
from .advice import advised
from .judgement import judged, order_of
from .measured import Measured
from .path import Path
from .reference import FINE_STEPS
from .terms import CLOSE, Optima, Spread
from .verdict import Certificate


def certificate_of(
    measured: Measured,
    solver: Solver,
    *,
    path: Path | None = None,
    optima: Optima | None = None,
    known: float | None = None,
    ode_violation: float | None = None,
) -> Certificate:
    """Whether the solver's steps behave like the ODE with the same control.

    Arguments:
        measured: The problem and its references.
        solver: The network.
        path: What the solver gives, if that is known already.
        optima: Optimal costs at several depths, where they were found.
        known: The known optimal cost.
        ode_violation: By how much the control violates a constraint in the ODE.
    """
    path = path or measured.path(solver)
    facts = {"optima": optima, "known": known, "ode_violation": ode_violation}
    missed = measured.missed_knots(solver.n)
    if measured.first is None or measured.second is None:
        return Certificate.unknown(solver, path.cost.mean().item(), measured.failure, **facts)
    if not all(piece.x.isfinite().all() for piece in measured.first.pieces):
        reason = "the adaptive reference is not finite"
        return Certificate.unknown(solver, path.cost.mean().item(), reason, **facts)
    gap = measured.gap(path)
    doubt = measured.gap(measured.second)
    twice = solver.with_steps(2 * solver.n)
    finer = measured.path(twice)
    finer_gap = measured.gap(finer)
    order = order_of(gap.worst, finer_gap.worst, doubt.worst, solver.order)
    outcome, reason = judged(gap, finer_gap, doubt, solver.n)
    advice = None
    if outcome == "does not" and doubt.worst < CLOSE / 2:
        advice = advised(measured, solver, {solver.n: gap, 2 * solver.n: finer_gap}, doubt)
    time, component = worst_place(measured, path)
    rate = 2**solver.order
    extrapolated = (rate * finer.cost.mean() - path.cost.mean()) / (rate - 1)
    return Certificate(
        solver=repr(solver),
        n=solver.n,
        outcome=outcome,
        reason=reason,
        cost=path.cost.mean().item(),
        ode_cost=measured.first.cost.mean().item(),
        ode_cost_fine=measured.second.cost.mean().item(),
        extrapolated_cost=extrapolated.item() if order.is_asymptotic else None,
        path_gap=Spread.of(gap.path),
        cost_gap=Spread.of(gap.cost),
        times=measured.m,
        samples=len(gap.path),
        beyond=int((gap.either > CLOSE).sum()),
        worst_time=time,
        worst_component=component,
        disagreement=doubt.worst,
        order=order,
        missed_knots=missed,
        knots=len(measured.control.knots),
        advice=advice,
        **facts,
    )


def worst_place(measured: Measured, path: Path) -> tuple[float, int]:
    """The time and the component (flattened) at which the path is off most."""
    best = (-1.0, measured.problem.t0, 0)
    assert measured.first is not None
    for piece, other, unit in zip(path.pieces, measured.first.pieces, measured.scale, strict=True):
        off = torch.nan_to_num((piece.x - other.x).abs() / unit, nan=torch.inf).amax(1)
        if not off.numel():
            continue
        value, index = off.reshape(-1).max(0)
        if value.item() > best[0]:
            k, j = divmod(int(index), off.shape[-1])
            best = (value.item(), piece.times[k], j)
    return best[1], best[2]


def depth_certificate(
    problem: Problem,
    control: Control | None,
    solver: Solver,
    sample: Sample,
    *,
    reference: Solver | None = None,
    fine_steps: int = FINE_STEPS,
) -> Certificate:
    """Whether a network behaves like its ODE, in double precision.

    Arguments:
        problem, control: The problem and the trained control, None if it has none.
        solver: The network, usually `Euler(n)`.
        sample: The inputs to compare on.
        reference: The first reference; Dormand and Prince at rtol 1e-9 if None.
        fine_steps: The least number of steps of the second reference over the horizon.
    """
    control = acting(problem, control)
    return certificate_of(
        Measured.of(problem, control, sample, solver.n, reference, fine_steps), solver
    )
