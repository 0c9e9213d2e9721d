"""States at any times: what a solver is asked for besides the ends of its steps."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn, Tensor

from .._arguments import as_number, check_sequence
from ..control import Control
from ..control.base import as_times, time_slack
from ..problem import Problem
from ..trajectory import Trajectory
from ..types import State
from .base import vector_field
from .recompute import frozen, tracking


def evaluation_times(problem: Problem, t_eval: Any) -> list[float]:
    """The times of `t_eval`, which increase and lie in the problem's horizon.

    Raises:
        TypeError, ValueError: Naming the time that is off.
    """
    if isinstance(t_eval, Tensor):
        if t_eval.requires_grad:
            raise ValueError("t_eval requires a gradient, which is not followed: detach it.")
        if t_eval.dim() != 1:
            raise ValueError(f"t_eval must have shape (time,), but got {tuple(t_eval.shape)}.")
        t_eval = t_eval.tolist()
    check_sequence("t_eval", t_eval, "times")
    times = [as_number("Each of t_eval", t) for t in t_eval]
    if not times:
        raise ValueError("t_eval must hold a time, but got none.")
    for name in ("t0", "t1"):
        end = getattr(problem, name)
        if isinstance(end, Tensor) and end.requires_grad:
            raise ValueError(
                f"{name}={as_number(name, end)} requires a gradient, which states at given times "
                "do not follow: leave t_eval out, or let it require none."
            )
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    slack = time_slack(t0, t1)
    for before, t in zip([-math.inf, *times], times, strict=False):
        if not t0 - slack <= t <= t1 + slack:
            raise ValueError(f"t_eval must lie in the horizon [{t0:g}, {t1:g}], but got {t:g}.")
        if not t > before:
            how = "twice" if t == before else f"after {before:g}"
            raise ValueError(f"t_eval must increase, but got {t:g} {how}.")
        for p in problem.projections:
            if p.start + slack < t < p.end - slack:
                raise ValueError(
                    f"t_eval must lie outside the projections, but {t:g} is inside of the one "
                    f"from {p.start:g} to {p.end:g}."
                )
    return [min(max(t, t0), t1) for t in times]


def places(nodes: Sequence[float], times: Sequence[float]) -> list[tuple[int, float]]:
    """Where times lie: the index of the node before, and the share of the step after it.

    A time that is meant to be a node has the share 0.

    Arguments:
        nodes: The ends of the steps.
        times: The times, between the first and the last of them.
    """
    slack, found = time_slack(nodes[0], nodes[-1]), []
    for t in times:
        k = max(bisect_right(nodes, t + slack) - 1, 0)
        is_node = t - nodes[k] <= slack or k == len(nodes) - 1
        found.append((k, 0.0 if is_node else (t - nodes[k]) / (nodes[k + 1] - nodes[k])))
    return found


def neighbours(nodes: Sequence[float], times: Sequence[float]) -> set[int]:
    """The indices of the nodes whose states are read for those at some times.

    Arguments: those of `places`.
    """
    found = places(nodes, times)
    return {k for k, _ in found} | {k + 1 for k, share in found if share > 0}


def with_states_at(
    trajectory: Trajectory, times: Sequence[float], order: int, problem: Problem, control: Control
) -> Trajectory:
    r"""A trajectory with its states at further times, interpolated between the ends of its steps.

    Of order one, on the straight line between them; else by the cubic of Hermite, from the states
    and the vector field at both ends, whose error is of order four.

    Arguments:
        trajectory: It keeps the states next to the times.
        times: The times, in order.
        order: The order of the method that made it.
        problem, control: What was solved.

    Raises:
        ValueError: If a state that is needed was not kept.
    """
    nodes = trajectory.t.tolist()
    states = dict(zip(trajectory.kept, trajectory.states, strict=True))
    missing = neighbours(nodes, times) - {*states}
    if missing:
        k = min(missing)
        raise ValueError(
            f"t_eval needs the state at t={nodes[k]:g}, which this solver does not keep: take "
            "another one than Reversible, or times at which it has a state."
        )
    slopes = Slopes(nodes, states, problem, control)
    found: list[State] = []
    for k, share in places(nodes, times):
        if share == 0:
            found.append(states[k])
        elif order == 1:
            found.append(torch.lerp(states[k], states[k + 1], share))
        else:
            h = nodes[k + 1] - nodes[k]
            found.append(hermite(share, h, states[k], states[k + 1], *slopes.between(k)))
    t = as_times(times, trajectory.t.device)
    return replace(
        trajectory,
        t_eval=t,
        states_eval=tuple(found),
        evaluations=trajectory.evaluations + slopes.evaluations,
    )


def hermite(
    share: float, h: float, left: State, right: State, f_left: State, f_right: State
) -> State:
    """The cubic with given values and slopes at both ends of a step.

    Arguments:
        share: Where in the step, from 0 to 1.
        h: The width of the step.
        left, right: The values.
        f_left, f_right: The slopes.
    """
    s, r = share, 1 - share
    # Both Hermite polynomials of the values sum to 1.
    x = torch.lerp(left, right, s * s * (3 - 2 * s))
    return x.add(f_left, alpha=h * s * r * r).sub(f_right, alpha=h * s * s * r)


class Slopes:
    """The vector field at both ends of steps, evaluated where it is asked for.

    Arguments:
        nodes: The ends of the steps.
        states: The states there, by index.
        problem, control: What gives the vector field.

    Attributes:
        evaluations: How often it was evaluated.
    """

    def __init__(
        self, nodes: Sequence[float], states: dict[int, State], problem: Problem, control: Control
    ):
        self.nodes, self.states = nodes, states
        self.problem, self.control = problem, control
        self.known: dict[int, tuple[State, State]] = {}
        self.norms: list[nn.Module] = tracking(problem, control)
        self.evaluations: int = 0

    def between(self, k: int) -> tuple[State, State]:
        """At the start and at the end of step `k`, with the control's limits from inside of it."""
        if k not in self.known:
            found = []
            with frozen(self.norms):
                for i, side in ((k, "right"), (k + 1, "left")):
                    x, t = self.states[i], as_times([self.nodes[i]], self.states[i].device)[0]
                    (law,) = self.control.laws([self.nodes[i]], side=side)  # pyright: ignore
                    found.append(vector_field(self.problem, t, x, law(x), x.shape))
            self.known[k] = (found[0], found[1])
            self.evaluations += 2
        return self.known[k]
