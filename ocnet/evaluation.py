"""The cost of a trajectory, and of a control."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._arguments import as_number, check_kind
from .control import Control
from .control.base import time_slack
from .observation import Moments
from .problem import Problem, Sample
from .solver import Solver
from .trajectory import stacked, Trajectory
from .types import Cost


__all__ = ["evaluate", "objective", "observation_times"]


class Layout(NamedTuple):
    """All times at which a problem's states are observed, and which of them are whose.

    Attributes:
        t_eval: The times: numbers, in order, or shape `(*batch, eval)`; None if there are none.
        moments: Those of each observation.
        places: Their indices among `t_eval`.
    """

    t_eval: Tensor | None
    moments: Sequence[Moments]
    places: Sequence[Sequence[int]]


def laid_out(problem: Problem, target: Any, x: Tensor) -> Layout:
    """When the states of a batch are observed.

    Arguments:
        problem: What is observed.
        target: The targets, of which times of each sample are a function.
        x: States, shape `(*batch, *state_shape)`.
    """
    batch = problem.batch_shape(x)
    moments = [o.moments(target, batch, x.device) for o in problem.observations]
    if not moments:
        return Layout(None, [], [])
    if all(m.times.dim() == 1 for m in moments):
        every = sorted({t for m in moments for t in m.times.tolist()})
        index = {t: i for i, t in enumerate(every)}
        places = [[index[t] for t in m.times.tolist()] for m in moments]
        times = torch.tensor(every, dtype=torch.float64, device=x.device)
        return Layout(inside(problem, times), moments, places)
    # What does not count may lie anywhere. The last state stands for it: it depends on all that is
    # trained, so that a sample without data has a gradient, which is zero.
    t1, rows = as_number("t1", problem.t1), []
    for times, mask in moments:
        times = times.expand(*batch, times.shape[-1])
        rows.append(times if mask is None else times.masked_fill(~mask, t1))
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + row.shape[-1])
    places = [range(*pair) for pair in zip(ends, ends[1:], strict=False)]
    return Layout(inside(problem, torch.cat(rows, -1)), moments, places)


def inside(problem: Problem, times: Tensor) -> Tensor:
    """The times themselves; raises a ValueError if one is outside of the problem's horizon."""
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    slack = time_slack(t0, t1)
    wrong = (times < t0 - slack) | (times > t1 + slack)
    if wrong.any():
        raise ValueError(
            f"The times of an Observation must lie in the horizon [{t0:g}, {t1:g}], but got "
            f"{float(times[wrong][0]):g}."
        )
    return times


def observation_times(problem: Problem, target: Any, x: Tensor) -> Tensor | None:
    """All times at which a problem's states are observed, for `solver.solve(..., t_eval=...)`.

    Arguments:
        problem: What is observed.
        target: The targets of a batch, of which times of each sample are a function.
        x: Its initial states, shape `(*batch, *state_shape)`.
    """
    return laid_out(problem, target, x).t_eval


def objective(problem: Problem, trajectory: Trajectory, target: Tensor | None = None) -> Cost:
    """The running cost, the terminal cost and those of observations, for each initial state.

    Of shape `(*batch,)`.

    Raises:
        TypeError, ValueError: If an argument is of another class, a cost is not one number for each
            state, or the trajectory lacks the states that the problem observes.
    """
    check_kind("problem", problem, Problem)
    check_kind("trajectory", trajectory, Trajectory)
    x = trajectory.states[-1]
    terminal = problem.terminal_cost(x, target)
    if terminal.shape != problem.batch_shape(x):
        raise ValueError(
            f"terminal_cost must return shape {tuple(problem.batch_shape(x))}, but got "
            f"{tuple(terminal.shape)}."
        )
    total = trajectory.running_cost + terminal
    return total + observed(problem, trajectory, target) if len(problem.observations) else total


def observed(problem: Problem, trajectory: Trajectory, target: Any) -> Cost:
    """The costs of all observations, shape `(*batch,)`.

    Arguments:
        problem: The problem.
        trajectory: A trajectory with the states that are observed.
        target: What they are compared with.
    """
    x0 = trajectory.states[0]
    t_eval, moments, places = laid_out(problem, target, x0)
    has = trajectory.t_eval
    assert t_eval is not None, "there are observations"
    if has is None or has.shape != t_eval.shape or not torch.equal(has.to(t_eval), t_eval):
        raise ValueError(
            f"The trajectory lacks states that {type(problem).__name__} observes: use evaluate, or "
            "solve(..., t_eval=observation_times(problem, target, x0))."
        )
    total = x0.new_zeros(())
    for observation, when, place in zip(problem.observations, moments, places, strict=True):
        x = stacked("states_eval", tuple(trajectory.states_eval[i] for i in place))
        total = total + observation.total(when, x, target, problem.batch_shape(x0))
    return total


def evaluate(
    problem: Problem, control: Control | None, solver: Solver, sample: Sample
) -> tuple[Cost, Trajectory]:
    """The cost of a control for each sample, shape `(*batch,)`, and the trajectory it makes.

    Arguments:
        problem, control, solver: What to evaluate; without a control if that is None.
        sample: The inputs, and the targets that the costs compare with.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
    """
    check_kind("problem", problem, Problem)
    check_kind("solver", solver, Solver)
    check_kind("sample", sample, Sample)
    x0, target = problem.embed(sample.x0), sample.target
    if not len(problem.observations):
        trajectory = solver.solve(problem, control, x0, target)
    else:
        times = observation_times(problem, target, x0)
        trajectory = solver.solve(problem, control, x0, target, times)
    return objective(problem, trajectory, target), trajectory
