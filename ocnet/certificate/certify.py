"""Certifies the depth of a network: measures it against two references and verifies the advice."""

import copy
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Control
from ..control.base import time_slack
from ..objective import evaluate
from ..problem import Problem, Sample
from ..solver import ExplicitRungeKutta, Solver, SolverError
from ..solver.base import uniform_grid
from .path import difference, on_lines, Path, Piece, resampled, scales
from .reference import (
    adaptive,
    as_path,
    cost_scale,
    doubled,
    fine,
    FINE_STEPS,
    output_intervals,
    path_by,
)
from .verdict import Advice, Certificate, CLOSE, Optima, Order, Spread, told


MOST_TRIES = 7
"""How many depths are run to find one that is deep enough."""

DEEPEST = 64
"""The deepest network that is tried, as a multiple of the one in question."""

DEEP = 4000
"""A network of so many steps is tried in any case."""


class Gap(NamedTuple):
    """How far a path is from the reference, for each sample.

    Attributes:
        path: The largest `|x_j - x_ref_j|` of all components and times, relative to the range.
        cost: `|J - J_ref|` relative to the cost's own scale.
    """

    path: Tensor
    cost: Tensor

    @property
    def either(self) -> Tensor:
        """The larger of the two, shape `(batch,)`."""
        return torch.maximum(self.path, self.cost)

    @property
    def worst(self) -> float:
        """The largest of all samples."""
        return self.either.max().item()


@dataclass(frozen=True)
class Measured:
    """A problem and its two references, which solvers are measured against, in double precision.

    Attributes:
        problem, control, sample: The copies.
        first: The adaptive reference, or None if it breaks down.
        second: The fine grid, or None if there is no first.
        failure: Why there is no first reference.
        scale, cost_scale: What differences are measured on.
        m: The intervals at whose ends paths are compared.
        found: The paths that solvers gave so far, by their names.
    """

    problem: Problem
    control: Control
    sample: Sample
    first: Path | None
    second: Path | None
    failure: str
    scale: list[Tensor]
    cost_scale: Tensor
    m: int
    found: dict[str, Path] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        problem: Problem,
        control: Control,
        sample: Sample,
        n: int,
        reference: Solver | None = None,
        fine_steps: int = FINE_STEPS,
    ) -> "Measured":
        """Copies what is measured, and solves it by both references.

        Arguments:
            problem, control, sample: What to solve.
            n: The steps of the network in question.
            reference: The first reference; Dormand and Prince at rtol 1e-9 if None.
            fine_steps: The least number of steps of the second.
        """
        problem, control, sample = doubled(problem, control, sample)
        size = problem.embed(sample.x0).numel()
        m = output_intervals(n, size)
        tight = adaptive(m) if reference is None else reference.with_steps(m)
        try:
            first = path_by(problem, control, tight, sample)
        except SolverError as error:
            failure = f"the ODE has no solution to the end: {error}"
            return cls(problem, control, sample, None, None, failure, [], torch.empty(0), m)
        second = fine(problem, control, sample, m, fine_steps)
        scale = scales(first.pieces)
        cost = cost_scale(problem, control, sample, first)
        return cls(problem, control, sample, first, second, "", scale, cost, m)

    def path(self, solver: Solver) -> Path:
        """The path of a solver at the times of the reference, computed once.

        Raises:
            SolverError: If the solver breaks down.
            ValueError: If it does not keep the states between.
        """
        name = repr(solver)
        if name not in self.found:
            self.found[name] = self.solved(solver)
        return self.found[name]

    @torch.no_grad()
    def solved(self, solver: Solver) -> Path:
        """The path of a solver at the times of the reference."""
        if not isinstance(solver, ExplicitRungeKutta):
            if not solver.is_fixed:
                solver = solver.with_steps(self.m)
            return self.kept(path_by(self.problem, self.control, solver, self.sample))
        if solver.gradient in ("checkpoint", "costate"):
            # The same numbers, and all states are kept.
            solver = copy.copy(solver)
            solver.gradient = "backprop"
        cost, trajectory = evaluate(self.problem, self.control, solver, self.sample)
        grid = uniform_grid(self.problem, solver.n)
        if len(trajectory.states) != len(grid.times):
            raise ValueError("keeps no states between the first and the last")
        path = as_path(self.problem, grid, trajectory, cost)
        if self.first is None:
            return path
        return resampled(path, self.first, solver, self.problem, self.control)

    def kept(self, path: Path) -> Path:
        """A path at its solver's own nodes, with straight lines between them."""
        if self.first is None:
            return path
        pieces = tuple(
            Piece(like.times, on_lines(piece, like.times), piece.shape)
            for piece, like in zip(path.pieces, self.first.pieces, strict=True)
        )
        return Path(pieces, path.final, path.cost, path.running_cost, path.evaluations)

    def differences(self, path: Path, reference: Path | None = None) -> Tensor:
        """How far a path is off at each time, relative to the range, shape `(time, batch)`."""
        reference = reference or self.first
        assert reference is not None, "there is a reference to measure against"
        return torch.cat(difference(path, reference, self.scale))

    def gap(self, path: Path, reference: Path | None = None) -> Gap:
        """How far a path and its cost are from the first reference, or from another."""
        reference = reference or self.first
        assert reference is not None, "there is a reference to measure against"
        cost = (path.cost - reference.cost).abs() / self.cost_scale
        cost = torch.where(cost.isfinite(), cost, torch.inf)
        return Gap(self.differences(path, reference).amax(0), cost)

    def missed_knots(self, n: int) -> int:
        """How many of the control's knots `n` equal steps do not end at."""
        slack = time_slack(self.control.t0, self.control.t1)
        times = torch.tensor(uniform_grid(self.problem, n).times, dtype=torch.float64)
        knots = torch.tensor(self.control.knots, dtype=torch.float64)
        near = torch.searchsorted(times, knots).clamp(1, len(times) - 1)
        off = torch.minimum((times[near] - knots).abs(), (knots - times[near - 1]).abs())
        return int((off > slack).sum())


def certify(
    measured: Measured,
    solver: ExplicitRungeKutta,
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
        advice = advised(measured, solver, {solver.n: gap, 2 * solver.n: finer_gap})
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


def judged(gap: Gap, finer: Gap, doubt: Gap, n: int) -> tuple[str, str]:
    """The verdict in a word, and the reason where there is none to give.

    The truth lies between the gap less the references' disagreement and the gap plus it.
    """
    if (gap.either - doubt.either.nan_to_num(posinf=1e300)).max() > CLOSE:
        return "does not", ""
    if not (gap.either + doubt.either).max() <= CLOSE:
        return "could not be estimated", (
            f"the two references disagree by {told(doubt.worst)}: something may be narrower "
            "than their steps (name its times in Problem.jumps), or too stiff for them"
        )
    if finer.worst > max(CLOSE, 2 * gap.worst):
        return "not asymptotic yet", (
            f"{n} steps are off by {told(gap.worst)} but {2 * n} by {told(finer.worst)}, so "
            "they agree by chance"
        )
    return "behaves", ""


def order_of(gap: float, finer: float, doubt: float, nominal: int) -> Order:
    """The observed order, where the gap is well above the references' own errors."""
    resolved = max(20 * doubt, 1e-8)
    if not (math.isfinite(gap) and math.isfinite(finer)):
        return Order(None, nominal, "could not be estimated: the states overflow")
    if finer <= resolved:
        return Order(
            None, nominal, "could not be estimated: the gap is as small as the references'"
        )
    value = math.log2(gap / finer) if gap > 0 else -math.inf
    if not 0.6 * nominal <= value <= nominal + 0.6:
        return Order(None, nominal, f"not asymptotic yet: {told(gap)}, then {told(finer)} at 2n")
    return Order(value, nominal, "")


def advised(measured: Measured, solver: ExplicitRungeKutta, tried: dict[int, Gap]) -> Advice:
    """The least depth found at which path and cost are close; it is run, not extrapolated.

    From what was tried the next depth follows by interpolation of `log gap` over `log n`, until a
    depth that is enough is within 10% of one that is not. Depths are multiples of the control's
    intervals, where those are equal and fewer.

    Arguments:
        measured: The problem and its references.
        solver: The network.
        tried: The gaps at depths that were run.
    """
    limit = max(DEEPEST * solver.n, DEEP)
    known = {n: gap.worst for n, gap in tried.items()}
    aim = 0.97 * CLOSE
    for _ in range(MOST_TRIES):
        enough = min((n for n, g in known.items() if g <= CLOSE), default=None)
        short = max(n for n, g in known.items() if g > CLOSE and (enough is None or n < enough))
        if enough is None:
            g = known[short]
            factor = (g / aim) ** (1 / solver.order) if math.isfinite(g) else 8.0
            n = min(math.ceil(short * min(max(factor, 1.2), 8.0)), limit)
        elif enough <= 1.1 * short:
            break
        else:
            n = between(short, known[short], enough, known[enough], aim)
        n = on_knots(n, measured, enough)
        if n in known or n > limit + measured.control.n_intervals:
            break
        known[n] = measured.gap(measured.path(solver.with_steps(n))).worst
    enough = min((n for n, g in known.items() if g <= CLOSE), default=None)
    n = enough or max(known)
    return Advice(n, known[n], is_enough=enough is not None)


def between(short: int, gap: float, enough: int, other: float, aim: float) -> int:
    """The depth between two at which the gap should be what is aimed at."""
    share = 0.5
    if math.isfinite(gap) and 0 < other < aim:
        share = math.log(gap / aim) / math.log(gap / other)
    share = min(max(share, 0.1), 0.95)
    return min(math.ceil(short * (enough / short) ** share), enough - 1)


def on_knots(n: int, measured: Measured, below: int | None) -> int:
    """The next depth at which steps end at the knots, if there is one below that is enough."""
    k = measured.control.n_intervals
    if n < k or measured.missed_knots(k):
        return n
    rounded = k * math.ceil(n / k)
    return rounded if below is None or rounded < below else n


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
    control: Control,
    solver: ExplicitRungeKutta,
    sample: Sample,
    *,
    reference: Solver | None = None,
    fine_steps: int = FINE_STEPS,
) -> Certificate:
    """Whether a network behaves like its ODE, in double precision.

    Arguments:
        problem, control: The problem and the trained control.
        solver: The network, usually `Euler(n)`.
        sample: The inputs to compare on.
        reference: The first reference; Dormand and Prince at rtol 1e-9 if None.
        fine_steps: At least how many steps the second reference takes over the horizon.
    """
    return certify(Measured.of(problem, control, sample, solver.n, reference, fine_steps), solver)
