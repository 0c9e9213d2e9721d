"""What one solver does: its errors against the references, and what its solutions take."""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from ..certificate import Measured, Order, Path
from ..certificate.judgement import order_of
from ..certificate.measured import identity
from ..solver import (
    Backprop,
    ExplicitRungeKutta,
    Reversible,
    Solver,
    SolverError,
    TorchDiffEq,
)
from ..supervised import scores
from .comparison import Curve, Difference, Row, WorkPoint
from .effort import Effort


TOLERANCES = (1e-3, 1e-5, 1e-7)
"""Relative tolerances at which an adaptive method is measured for the work-precision diagram."""


class Measurement:
    """Measures solvers: accuracy on copies in double precision, effort on the originals.

    Arguments:
        exact: The copies, with their references.
        effort: The time and memory that solutions of the originals take.
        reference: The reference that was asked for, or None.

    Attributes:
        differences: How far each solver was off along the path, over the samples.
        curves: The first sample's path by each solver.
    """

    def __init__(self, exact: Measured, effort: Effort, reference: Solver | None):
        self.exact = exact
        self.effort = effort
        self.method: str | None = getattr(
            reference, "method", "dopri5" if reference is None else None
        )
        self.differences: list[Difference] = []
        self.curves: list[Curve] = []

    def row(self, solver: Solver) -> Row:
        """The results of one solver."""
        exact, name = self.exact, repr(solver)
        try:
            path = exact.path(solver)
            with torch.no_grad():
                scored = scores(exact.problem, path.final, exact.sample.target)
            time, held = self.effort.seconds(solver), self.effort.memory(solver)
        except SolverError as error:
            return Row.without_figures(name, f"stops at t={error.time:.3g}")
        except ValueError:
            if not without_states(solver):
                raise
            return Row.without_figures(name, "keeps no states between the first and the last")
        self.curves.append(curve(name, path))
        row = Row(
            solver=name,
            cost=path.cost.mean().item(),
            cost_error=math.nan,
            state_error=math.nan,
            path_gap=math.nan,
            order=self.order(solver, path),
            evaluations=path.evaluations,
            seconds=time,
            memory=held,
            scores={score: value.mean().item() for score, value in scored.items()},
            is_reference=self.is_reference(solver),
        )
        yardstick = self.yardstick(solver)
        if yardstick is None:
            return row
        self.differences.append(self.difference(name, path, yardstick))
        return replace(
            row,
            cost_error=(path.cost - yardstick.cost).mean().abs().item(),
            state_error=distance(path, yardstick),
            path_gap=exact.gap(path, yardstick).path.max().item(),
        )

    def is_reference(self, solver: Solver) -> bool:
        """Whether the first reference uses the same method, so that it cannot show its error."""
        return isinstance(solver, TorchDiffEq) and solver.method == self.method

    def yardstick(self, solver: Solver) -> Path | None:
        """What a solver's error is measured against: never its own method."""
        return self.exact.second if self.is_reference(solver) else self.exact.first

    def order(self, solver: Solver, path: Path) -> Order | None:
        """The order of the final state, from twice as many steps; None for an adaptive method."""
        first, second = self.exact.first, self.exact.second
        if not solver.is_fixed or first is None or second is None:
            return None
        finer = self.exact.path(solver.with_steps(2 * solver.n))
        size = max(path.pieces[-1].x[-1].abs().max().item(), 1e-300)
        off = [distance(other, first) / size for other in (path, finer, second)]
        return order_of(*off, nominal=solver.order)

    def difference(self, name: str, path: Path, yardstick: Path) -> Difference:
        """How far a solver is off along the path, over the samples."""
        t = [t for piece in yardstick.pieces for t in piece.times]
        ranked = self.exact.differences(path, yardstick).sort(1).values
        last = ranked.shape[1] - 1
        median, most, worst = (
            ranked[:, math.ceil(share * last)].tolist() for share in (0.5, 0.95, 1.0)
        )
        return Difference(name, t, median, most, worst)

    def points(self, solvers: Sequence[Solver]) -> Iterable[WorkPoint]:
        """Work and precision of each solver at several settings, each measured once."""
        if self.exact.first is None:
            return
        settings = {
            identity(setting): (family(solver), setting)
            for solver in solvers
            for setting in settings_of(solver, self.exact)
        }
        for name, setting in settings.values():
            try:
                path = self.exact.path(setting)
                time = self.effort.seconds(setting, again=False)
            except SolverError:
                continue
            except ValueError:
                if not without_states(setting):
                    raise
                continue
            error = self.exact.gap(path, self.yardstick(setting)).path.max().item()
            yield WorkPoint(name, repr(setting), path.evaluations, time, error)


def distance(path: Path, yardstick: Path) -> float:
    """The largest Euclidean distance between final states of the batch."""
    off = path.pieces[-1].x[-1] - yardstick.pieces[-1].x[-1]
    return off.norm(dim=-1).max().item()


def without_states(solver: Solver) -> bool:
    """Whether a solver keeps no states between the first and the last that could be compared."""
    return isinstance(solver, Reversible)


def family(solver: Solver) -> str:
    """The name of a method without its steps or tolerances."""
    name = type(solver).__name__
    if isinstance(solver, TorchDiffEq):
        name = f"torchdiffeq {solver.method}" if solver.is_fixed else solver.method
    elif type(solver) is ExplicitRungeKutta:
        name = f"{len(solver.tableau.b)} stages of order {solver.order}"
    elif isinstance(solver, Reversible):
        return f"Reversible({family(solver.solver)})"
    usual = isinstance(solver.gradient, Backprop)
    return name if usual else f"{name}, {type(solver.gradient).__name__.lower()}"


def settings_of(solver: Solver, exact: Measured) -> list[Solver]:
    """The solver with other steps, or tolerances.

    Fewer steps are used only if they miss no more of the control's knots than the solver's own
    steps do. Otherwise the error would not be that of the method.
    """
    if solver.is_fixed:
        n, missed = solver.n, exact.missed_knots(solver.n)
        fewer = {k for k in (n // 4, n // 2) if k and exact.missed_knots(k) <= missed}
        depths = sorted({*fewer, n, 2 * n} | (set() if fewer else {4 * n}))
        return [solver.with_steps(depth) for depth in depths]
    if not isinstance(solver, TorchDiffEq):
        return [solver]
    found = list[Solver]()
    for rtol in TOLERANCES:
        other = copy.copy(solver)
        other.rtol, other.atol = rtol, rtol / 100
        found.append(other)
    return found


def curve(name: str, path: Path) -> Curve:
    """The first sample's path, where the state keeps its shape."""
    piece, *others = path.pieces
    if others:
        return Curve(name, [], [])
    x = piece.x[:, 0]
    return Curve(name, list(piece.times), x[:, :8].tolist())
