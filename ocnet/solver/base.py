"""The base of solvers, which turn a problem, a control and an initial state into a trajectory."""

import abc
import copy
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, Self

import torch
from torch import nn, Tensor

from .._arguments import as_number, check_count, check_kind
from .._blame import blame, called, EXPLAINED
from ..control.absent import NoControl
from ..control.base import check_resolved, Control, equal_times, time_slack
from ..errors import OcnetError
from ..problem import check_state, Problem, Projection
from ..trajectory import Trajectory
from ..types import ControlValue, Cost, State, Time
from .gradient import Backprop, check_gradient, Gradient
from .tableau import moved


Times = Sequence[float] | Tensor
"""Times that a user gives."""


class Solver(abc.ABC):
    """A way to discretise the dynamics and the running cost together.

    Attributes:
        n: How many steps, or output intervals of an adaptive method.
        order: The order of the method.
        is_fixed: Whether the method takes exactly these `n` steps.
        gradient: How the gradient is found.
        gradients: The ways to find it that the solver accepts.
    """

    n: int
    order: int
    is_fixed: bool = True
    gradient: Gradient = Backprop()
    gradients: ClassVar[tuple[type[Gradient], ...]] = (Backprop,)

    def with_steps(self, n: int) -> Self:
        """The same solver with another number of steps."""
        check_count("n", n)
        solver = copy.copy(self)
        solver.n = n
        return solver

    def with_gradient(self, gradient: Gradient) -> Self:
        """The same solver with another way to find the gradient.

        Raises:
            TypeError: If the solver does not take it.
        """
        check_gradient(gradient, self.gradients)
        solver = copy.copy(self)
        solver.gradient = gradient
        return solver

    @abc.abstractmethod
    def solve(
        self,
        problem: Problem,
        control: Control | None,
        x0: State,
        target: Tensor | None = None,
        t_eval: Times | None = None,
    ) -> Trajectory:
        """Integrates from `problem.t0` to `problem.t1`.

        Arguments:
            problem: What is integrated; its projections, if any, lie on steps.
            control: The control, on the problem's horizon; None if nothing acts, so that the `u` of
                the formulas is a tensor without entries, of shape `(0,)`.
            x0: The initial states, shape `(*batch, *problem.state_shape)`.
            target: What the stage cost compares with.
            t_eval: Further times at which states are wanted, in order, shape `(eval,)`, or those of
                each sample, shape `(*batch, eval)`. A method of fixed steps interpolates between
                its own, with its order, at most four; one of torchdiffeq puts its output there.

        Raises:
            TypeError, ValueError: If the arguments do not fit together.
            SolverError: If the integration breaks down.
        """

    def first_non_finite(
        self, problem: Problem, control: Control | None, x0: State, target: Tensor | None = None
    ) -> tuple[int, float] | None:
        """The index and the time of the first state that is not finite, or None if all are.

        This looks at every step, even if the trajectory does not keep it.

        Arguments:
            problem: What is integrated from `problem.t0` to `problem.t1`.
            control: The control, on the problem's horizon; None if nothing acts, so that the `u` of
                the formulas is a tensor without entries, of shape `(0,)`.
            x0: The initial states, shape `(*batch, *problem.state_shape)`.
            target: What the stage cost compares with, or None.
        """
        trajectory = self.solve(problem, control, x0, target)
        k = trajectory.first_non_finite()
        return None if k is None else (k, float(trajectory.t[k]))


class Watch:
    """Notes the first state that is not finite.

    Arguments:
        times: The time of each state.

    Attributes:
        found: The index and the time of that state, or None.
    """

    def __init__(self, times: Sequence[float]):
        self.times = times
        self.found: tuple[int, float] | None = None

    def __call__(self, k: int, x: State) -> None:
        """Looks at the `k`-th state."""
        if self.found is None and not torch.isfinite(x).all():
            self.found = (k, self.times[k])


class SolverError(OcnetError, ArithmeticError):
    """An integration that broke down before the end of the horizon.

    Attributes:
        time: The time that it reached.
        trajectory: The trajectory up to there.
    """

    def __init__(self, message: str, time: float, trajectory: Trajectory):
        super().__init__(message)
        self.time = time
        self.trajectory = trajectory


class Grid(NamedTuple):
    """The times of a solver's steps, and the projections that it crosses.

    Attributes:
        times: The ends of the steps.
        projections: For the index of a step, the projection that the step crosses.
    """

    times: list[float]
    projections: dict[int, Projection]


def uniform_grid(problem: Problem, n: int) -> Grid:
    """`n` equal steps over the horizon; a projection is crossed in one step, whatever `n` is."""
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    check_resolved(t0, t1, n)
    times = equal_times(t0, t1, n)
    if not problem.projections:
        return Grid(times, {})
    slack = time_slack(t0, t1)
    ends = [end for p in problem.projections for end in (p.start, p.end)]
    times = [
        t
        for t in times
        if not any(p.start - slack < t < p.end + slack for p in problem.projections)
        and not any(abs(t - end) <= slack for end in ends)
    ]
    times = sorted({*times, *ends})
    return Grid(times, {times.index(p.start): p for p in problem.projections})


class Segment(NamedTuple):
    """Steps without a projection between them.

    Attributes:
        start, end: The indices of the first step, and of the first one after the segment.
        projection: The projection that the segment crosses in a single step, or None.
    """

    start: int
    end: int
    projection: Projection | None


def segments(grid: Grid) -> Iterator[Segment]:
    """The stretches between projections, and the projections."""
    start = 0
    for k, projection in sorted(grid.projections.items()):
        if start < k:
            yield Segment(start, k, None)
        yield Segment(k, k + 1, projection)
        start = k + 1
    if start < len(grid.times) - 1:
        yield Segment(start, len(grid.times) - 1, None)


def vector_field(
    problem: Problem, t: Time, x: State, u: ControlValue, shape: tuple[int, ...]
) -> State:
    """`f(t, x, u)`, checked to be a vector of the space that has `shape`.

    Raises:
        TypeError, ValueError: If the dynamics return something else; an error inside them names the
            user's line.
    """
    try:
        f = problem.dynamics(t, x, u)
    except EXPLAINED as error:
        blame(error, called(problem, "dynamics"))
        raise
    if not isinstance(f, Tensor):
        raise TypeError(f"dynamics must return a tensor, but got {type(f).__name__}.")
    if f.shape != shape:
        raise ValueError(
            f"dynamics must return shape {tuple(shape)}, but got {tuple(f.shape)} from a state of "
            f"shape {tuple(x.shape)}."
        )
    # A result that a formula computes with the time may have become double precision.
    return f.to(x.dtype) if f.dtype == torch.float64 else f


def project(problem: Problem, projection: Projection, t: Time, x: State, u: ControlValue) -> State:
    """The state after a projection: `S(x) + h f(t, x, u)`, in every solver."""
    h = projection.end - projection.start
    x = projection.enter(x)
    S_x = projection.map(x)
    return moved(S_x, vector_field(problem, t, x, u, S_x.shape), h)


def check_solve(problem: Problem, control: Control, x0: State) -> None:
    """Raises a TypeError or ValueError unless the arguments of `solve` fit together."""
    check_state(problem, x0)
    if not isinstance(control, Control):
        raise TypeError(f"control must be an ocnet.Control, but got {type(control).__name__}.")
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    slack = time_slack(t0, t1)
    if abs(control.t0 - t0) > slack or abs(control.t1 - t1) > slack:
        raise ValueError(
            f"control must live on the problem's horizon [{t0}, {t1}], but got "
            f"one on [{control.t0}, {control.t1}]."
        )


def acting(problem: Problem, control: Control | None) -> Control:
    """The control, or what takes its place where there is none.

    Raises:
        TypeError, ValueError: If there is none, but the problem has one.
    """
    if control is not None:
        return control
    check_kind("problem", problem, Problem)
    shape = problem.control_shape
    if shape is not None and tuple(shape) != (0,):
        raise ValueError(
            f"control=None is for problems without a control, but {type(problem).__name__} has "
            f"control_shape={tuple(shape)}."
        )
    return NoControl(as_number("t0", problem.t0), as_number("t1", problem.t1))


def check_control_value(problem: Problem, u: ControlValue) -> None:
    """Raises a TypeError or ValueError unless `u` is a control value of the problem."""
    shape = problem.control_shape
    if shape is None:
        if not isinstance(u, nn.Module) and tuple(u.shape) != (0,):
            raise TypeError(
                f"{type(problem).__name__} takes layers as control, but got a {type(u).__name__}; "
                "set control_shape if its control is a tensor."
            )
        return
    if not isinstance(u, Tensor):
        raise TypeError(f"The control must be a tensor, but got a {type(u).__name__}.")
    if tuple(u.shape[u.dim() - len(shape) :]) != tuple(shape):
        raise ValueError(
            f"control must have values of shape (*batch, {', '.join(map(str, shape))}), but got "
            f"{tuple(u.shape)}."
        )


def check_running_cost(problem: Problem, cost: Cost, x: State) -> None:
    """Raises a ValueError unless the running cost is one number for each state."""
    if cost.shape != problem.batch_shape(x):
        raise ValueError(
            f"stage_cost must return shape {tuple(problem.batch_shape(x))} or one that broadcasts "
            f"to it, but the running cost came out as {tuple(cost.shape)}."
        )
