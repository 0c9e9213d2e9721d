"""States at any times, which a solver may be asked for in addition to the ends of its steps."""

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
from .tableau import moved


Moments = list[float] | Tensor
"""Times that all samples share, in order; or those of each sample, shape `(*batch, eval)`."""


def evaluation_times(problem: Problem, t_eval: Any, x0: State) -> Moments | None:
    """The times of `t_eval`, which lie in the problem's horizon; shared ones increase.

    Arguments:
        problem: The problem.
        t_eval: What the user gave, or None.
        x0: The initial states, shape `(*batch, *state_shape)`.

    Raises:
        TypeError, ValueError: The message names the time that is wrong.
    """
    if t_eval is None:
        return None
    if isinstance(t_eval, Tensor):
        batch = problem.batch_shape(x0)
        if t_eval.requires_grad:
            raise ValueError("t_eval requires a gradient, which is not followed: detach it.")
        own = t_eval.dim() > 1 and t_eval.shape[:-1] == batch
        if t_eval.dim() != 1 and not own:
            shapes = f"(eval,) or ({', '.join([*map(str, batch), 'eval'])})"
            raise ValueError(f"t_eval must have shape {shapes}, but got {tuple(t_eval.shape)}.")
        if own and t_eval.shape[-1] > 0:
            check_times(problem, t_eval.double().unique().tolist())
            t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
            return t_eval.double().clamp(t0, t1)
        t_eval = t_eval.tolist() if not own else []
    check_sequence("t_eval", t_eval, "times")
    times = [as_number("Each of t_eval", t) for t in t_eval]
    if not times:
        raise ValueError("t_eval must hold a time, but got none.")
    return check_times(problem, times)


def check_times(problem: Problem, times: Sequence[float]) -> list[float]:
    """The times, moved into the horizon by what rounding takes them out of it.

    Raises:
        ValueError: If they do not increase or do not lie in it, or inside of a projection.
    """
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
    """For each time, the index of the node before it, and how far into the step it lies.

    The latter is a share of the step; a time that is meant to be a node has the share 0.

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
    """The indices of the nodes whose states are needed to find the states at some times.

    Arguments: those of `places`.
    """
    found = places(nodes, times)
    return {k for k, _ in found} | {k + 1 for k, share in found if share > 0}


def with_states_at(
    trajectory: Trajectory, times: Moments, order: int, problem: Problem, control: Control
) -> Trajectory:
    r"""A trajectory with its states at further times, interpolated between the ends of its steps.

    With order one, a state lies on the straight line between both ends. Otherwise it comes from
    Hermite's cubic, which uses the states and the vector field at both ends and has an error of
    order four.

    Arguments:
        trajectory: The trajectory, which keeps the states next to the times.
        times: The times.
        order: The order of the method that made it.
        problem, control: What was solved.

    Raises:
        ValueError: If a state that is needed was not kept.
    """
    nodes = trajectory.t.tolist()
    states = dict(zip(trajectory.kept, trajectory.states, strict=True))
    missing = neighbours(nodes, flat(times)) - {*states}
    if missing:
        k = min(missing)
        raise ValueError(
            f"t_eval needs the state at t={nodes[k]:g}, which this solver does not keep: take "
            "another one than Reversible, or times at which it has a state."
        )
    slopes = Slopes(nodes, states, problem, control)
    if isinstance(times, Tensor):
        own = of_samples(times, nodes, states, slopes if order > 1 else None)
        count = trajectory.evaluations + slopes.evaluations
        return replace(trajectory, t_eval=times, states_eval=own, evaluations=count)
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


def flat(times: Moments) -> list[float]:
    """All times in order, each once."""
    return times.unique().tolist() if isinstance(times, Tensor) else times


def of_samples(
    times: Tensor, nodes: Sequence[float], states: dict[int, State], slopes: "Slopes | None"
) -> tuple[State, ...]:
    """The states of each sample at times of its own, each of shape `(*batch, *state_shape)`.

    Arguments:
        times: Shape `(*batch, eval)`.
        nodes: The ends of the steps.
        states: The states there, by index.
        slopes: The vector field there; None for straight lines.

    Raises:
        ValueError: If the states have several shapes.
    """
    unique = flat(times)
    where = places(nodes, unique)
    used = sorted({k for k, _ in where} | {k + 1 for k, share in where if share > 0})
    position = {k: i for i, k in enumerate(used)}
    shapes = {tuple(states[k].shape) for k in used}
    if len(shapes) > 1:
        raise ValueError(
            f"t_eval with times of its own for each sample needs states of one shape, but got "
            f"{sorted(shapes)}."
        )
    like = states[used[0]]
    # For each time in order: the node before, the one after, the share between and the width.
    left = [position[k] for k, _ in where]
    right = [position[k + 1] if share > 0 else position[k] for k, share in where]
    shares = [share for _, share in where]
    widths = [nodes[k + 1] - nodes[k] if share > 0 else 0.0 for k, share in where]
    at = torch.searchsorted(torch.tensor(unique, dtype=torch.float64, device=times.device), times)
    at = at.movedim(-1, 0).reshape(times.shape[-1], -1)
    device, batch = like.device, times.shape[:-1]
    sample = torch.arange(at.shape[1], device=device)

    def gather(values: Sequence[State], index: list[int]) -> Tensor:
        """The values of each sample at its own nodes, shape `(eval, batch, size)`."""
        stacked = torch.stack(list(values)).reshape(len(values), at.shape[1], -1)
        return stacked[torch.tensor(index, device=device)[at], sample]

    def number(values: list[float]) -> Tensor:
        """A number for each sample and time."""
        return torch.tensor(values, dtype=torch.float64, device=device)[at][..., None].to(like)

    share = number(shares)
    nodal = [states[k] for k in used]
    if slopes is None or not any(shares):
        x = torch.lerp(gather(nodal, left), gather(nodal, right), share)
    else:
        # One pair for each step that holds a time.
        steps = sorted({k for k, s in where if s > 0})
        pairs = [slopes.between(k) for k in steps]
        index = [steps.index(k) if s > 0 else 0 for k, s in where]
        starts, ends = zip(*pairs, strict=True)
        x = hermite(
            share,
            number(widths),
            gather(nodal, left),
            gather(nodal, right),
            gather(starts, index),
            gather(ends, index),
        )
    return x.reshape(len(x), *batch, *like.shape[len(batch) :]).unbind()


def hermite(
    share: float | Tensor,
    h: float | Tensor,
    left: State,
    right: State,
    f_left: State,
    f_right: State,
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
    return moved(moved(x, f_left, h * s * r * r), f_right, -h * s * s * r)


class Slopes:
    """The vector field at both ends of steps, evaluated where it is asked for.

    Arguments:
        nodes: The ends of the steps.
        states: The states there, by index.
        problem, control: What gives the vector field.

    Attributes:
        evaluations: How often it was evaluated.
    """

    nodes: Sequence[float]
    states: dict[int, State]
    problem: Problem
    control: Control

    def __init__(
        self, nodes: Sequence[float], states: dict[int, State], problem: Problem, control: Control
    ):
        self.nodes, self.states = nodes, states
        self.problem, self.control = problem, control
        self.known: dict[int, tuple[State, State]] = {}
        self.norms: list[nn.Module] = tracking(problem, control)
        self.evaluations: int = 0

    def between(self, k: int) -> tuple[State, State]:
        """The field at both ends of step `k`, with the control's limits from inside the step."""
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
