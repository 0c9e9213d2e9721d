"""A problem in double precision and its two references, which solvers are measured against."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Control
from ..control.base import time_slack
from ..problem import Problem, Sample
from ..solver import Backprop, ExplicitRungeKutta, Solver, SolverError
from ..solver.base import uniform_grid
from .path import (
    Arc,
    difference,
    on_lines,
    Path,
    resampled,
    scales,
    stretches,
    tableau_of,
)
from .reference import (
    adaptive,
    cost_scale,
    doubled,
    fine,
    FINE_STEPS,
    output_intervals,
    path_by,
)


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
        scale, cost_scale: What differences are measured against.
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
        try:
            first = referred(problem, control, sample, m, reference)
        except SolverError as error:
            failure = (
                "the adaptive reference breaks off, so that the ODE may have no solution to the "
                f"end: {error}"
            )
            return cls(problem, control, sample, None, None, failure, [], torch.empty(0), m)
        second = fine(problem, control, sample, m, fine_steps)
        scale = scales(first.pieces)
        cost = cost_scale(problem, control, sample, first)
        return cls(problem, control, sample, first, second, "", scale, cost, m)

    def path(self, solver: Solver) -> Path:
        """The path of a solver at the times of the reference, computed once.

        Raises:
            SolverError: If the solver breaks down.
            ValueError: If it does not keep the states in between.
        """
        name = identity(solver)
        if name not in self.found:
            self.found[name] = self.solved(solver)
        return self.found[name]

    @torch.no_grad()
    def solved(self, solver: Solver) -> Path:
        """The path of a solver at the times of the reference."""
        if not solver.is_fixed:
            return path_by(self.problem, self.control, solver.with_steps(self.m), self.sample)
        if isinstance(solver, ExplicitRungeKutta):
            # The same numbers, and all states are kept.
            solver = solver.with_gradient(Backprop())
        path = path_by(self.problem, self.control, solver, self.sample)
        if self.first is None:
            return path
        return resampled(path, self.first, tableau_of(solver), self.problem, self.control)

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


def identity(solver: Solver) -> str:
    """A text that tells a solver from others, since several may have the same name."""
    return f"{type(solver).__qualname__}{sorted(vars(solver).items())}"


def referred(
    problem: Problem, control: Control, sample: Sample, m: int, reference: Solver | None
) -> Path:
    """The first reference's path at the ends of `m` intervals.

    Arguments:
        problem, control, sample: What to solve.
        m: How many intervals.
        reference: The solver; Dormand and Prince if None. One with fixed steps takes at least its
            own number of steps, and `m` of them end at the times that are wanted.

    Raises:
        SolverError: If it breaks down.
    """
    if reference is None or not reference.is_fixed:
        tight = adaptive(m) if reference is None else reference.with_steps(m)
        return path_by(problem, control, tight, sample)
    path = path_by(problem, control, reference.with_steps(m * -(-reference.n // m)), sample)
    wanted = pieces_times(problem, m)
    pieces = tuple(
        Arc(times, on_lines(piece, times), piece.shape)
        for piece, times in zip(path.pieces, wanted, strict=True)
    )
    return replace(path, pieces=pieces)


def pieces_times(problem: Problem, m: int) -> list[list[float]]:
    """The times of a grid of `m` intervals, between one projection and the next."""
    grid = uniform_grid(problem, m)
    return [grid.times[part] for part in stretches(grid)]
