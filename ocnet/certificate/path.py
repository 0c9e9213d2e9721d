"""Paths at common times, the scale of each component, and how far two paths are apart."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Control
from ..control.base import time_slack
from ..problem import Problem
from ..solver import ExplicitRungeKutta, Solver, TorchDiffEq
from ..solver.base import Grid, segments
from ..solver.tableau import EULER, HEUN, HEUN_3, KUTTA_38, MIDPOINT, Tableau


CONSTANT = 1e-6
"""A component that varies by less than this share of its own size counts as constant."""

NEGLIGIBLE = 1e-9
"""Variations below this share of the largest state are rounding, whatever the component."""


STEPS_AT_ONCE = 64
"""The control is looked up for this many steps at once."""


class Arc(NamedTuple):
    """States between two projections.

    Attributes:
        times: The times, in order.
        x: The states, flattened, shape `(time, batch, size)`.
        shape: The shape of one state before it was flattened, batch dimensions included.
    """

    times: list[float]
    x: Tensor
    shape: torch.Size


@dataclass(frozen=True)
class Path:
    """The solution of a problem by one solver.

    Attributes:
        pieces: The states, one piece for each space that they live in.
        final: The final states, in the shape that the problem gives them.
        cost: The cost of each sample, shape `(batch,)`.
        running_cost: The part that is integrated, shape `(batch,)`.
        evaluations: How often the vector field was evaluated.
    """

    pieces: tuple[Arc, ...]
    final: Tensor
    cost: Tensor
    running_cost: Tensor
    evaluations: int


def stretches(grid: Grid) -> list[slice]:
    """Which nodes of a grid lie in the same space: projections divide them."""
    slices, start = [], 0
    for segment in segments(grid):
        if segment.projection is not None:
            slices.append(slice(start, segment.start + 1))
            start = segment.end
    return [*slices, slice(start, len(grid.times))]


def pieces_of(problem: Problem, grid: Grid, states: Sequence[Tensor]) -> tuple[Arc, ...]:
    """The states at all nodes of a grid, piece by piece."""
    size = math.prod(problem.batch_shape(states[0]))
    return tuple(
        Arc(
            grid.times[part],
            torch.stack([x.reshape(size, -1) for x in states[part]]),
            states[part][0].shape,
        )
        for part in stretches(grid)
    )


STEPS = {"euler": EULER, "midpoint": MIDPOINT, "heun2": HEUN, "heun3": HEUN_3, "rk4": KUTTA_38}
"""The single steps of torchdiffeq's methods."""


def tableau_of(solver: Solver) -> Tableau:
    """The method whose single step takes a solver from a node to a time before the next one.

    For a solver that is not a Runge-Kutta method, this is one of order four, which adds no
    significant error to that of the node.
    """
    if isinstance(solver, ExplicitRungeKutta):
        return solver.tableau
    if isinstance(solver, TorchDiffEq) and solver.method in STEPS:
        return STEPS[solver.method]
    return KUTTA_38


def resampled(path: Path, like: Path, tableau: Tableau, problem: Problem, control: Control) -> Path:
    """The path at the times of another, each reached by a shorter step from the node before.

    For Euler this is the straight line between its nodes.

    Arguments:
        path: The path at the solver's own nodes.
        like: A path with the times that are wanted.
        tableau: The method that made it.
        problem, control: What was solved.
    """
    is_euler = len(tableau.b) == 1
    found = []
    for piece, (times, _, _) in zip(path.pieces, like.pieces, strict=True):
        if is_euler:
            x = on_lines(piece, times)
        else:
            x = by_short_steps(piece, times, tableau, problem, control)
        found.append(Arc(times, x, piece.shape))
    return replace(path, pieces=tuple(found))


def before(times: Sequence[float], t: float) -> int:
    """The index of the last node that is not after `t`; nodes for the same time are equal."""
    slack = time_slack(times[0], times[-1])
    return max(bisect_right(times, t + slack) - 1, 0)


def on_lines(piece: Arc, times: Sequence[float]) -> Tensor:
    """The straight lines between the states at certain times."""
    if len(piece.times) == 1:
        return piece.x.expand(len(times), -1, -1)
    k = torch.tensor([min(before(piece.times, t), len(piece.times) - 2) for t in times])
    nodes = torch.tensor(piece.times, dtype=torch.float64)
    share = (torch.tensor(times, dtype=torch.float64) - nodes[k]) / (nodes[k + 1] - nodes[k])
    share = share.clamp(0, 1).to(piece.x)[:, None, None]
    k = k.to(piece.x.device)
    left, right = piece.x[k], piece.x[k + 1]
    # Not left + share * (right - left), which is NaN where both have overflown.
    return torch.where(share == 0, left, torch.where(share == 1, right, left.lerp(right, share)))


def by_short_steps(
    piece: Arc,
    times: Sequence[float],
    tableau: Tableau,
    problem: Problem,
    control: Control,
) -> Tensor:
    """The states at certain times, each by one step from the node before.

    Arguments:
        piece: The states at the nodes.
        times: The times that are wanted.
        tableau: The method that made them.
        problem, control: What was solved.
    """
    slack = time_slack(piece.times[0], piece.times[-1])
    nodes = [before(piece.times, t) for t in times]
    x = piece.x[nodes]
    short = [i for i, k in enumerate(nodes) if times[i] - piece.times[k] > slack]
    method = ExplicitRungeKutta(tableau, 1)
    for start in range(0, len(short), STEPS_AT_ONCE):
        some = short[start : start + STEPS_AT_ONCE]
        spans = [(piece.times[nodes[i]], times[i]) for i in some]
        steps = method.steps_over(spans, control, x[0].reshape(piece.shape))
        for i, step in zip(some, steps, strict=True):
            _, end = method.step(problem, step, x[i].reshape(piece.shape), None)
            x[i] = end.reshape(x[i].shape)
    return x


def scales(pieces: Sequence[Arc]) -> list[Tensor]:
    """What a difference is measured against, by piece, shape `(batch, size)`.

    The range `max_t x_j - min_t x_j` of component `j`: the larger of the sample's own and of the
    median over the batch. So a component that is large but constant hides no error, and a state
    that vanishes does no harm. One sample with a wide range does not hide the others, and a sample
    that rests is measured as the others are. The scale is never less than 1e-6 of the component's
    own size, or 1e-9 of the largest state.
    """
    found = []
    for _, x, _ in pieces:
        size = x.abs().amax(0)
        own = x.amax(0) - x.amin(0) if len(x) > 1 else size
        floor = torch.maximum(CONSTANT * size, NEGLIGIBLE * size.amax())
        scale = torch.maximum(torch.maximum(own, own.median(0).values), floor)
        found.append(scale.clamp(min=1e-300))
    return found


def difference(path: Path, reference: Path, scale: Sequence[Tensor]) -> list[Tensor]:
    """`max_j |x_j - x_ref_j| / scale_j` by piece, shape `(time, batch)`; infinite if not finite."""
    found = []
    for piece, other, unit in zip(path.pieces, reference.pieces, scale, strict=True):
        off = ((piece.x - other.x).abs() / unit).flatten(2)
        off = off.amax(-1) if off.shape[-1] else off.new_zeros(off.shape[:2])
        found.append(torch.where(off.isfinite(), off, torch.inf))
    return found
