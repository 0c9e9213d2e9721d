"""Finds kinks and infinite derivatives from the derivatives, whatever operation causes them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .derivatives import along, CUTS, directions, Function, ROUNDS
from .finding import Finding
from .nonsmooth import Evaluation, graph


NEARBY = 0.1
"""How close to a point a kink must be to count, as a share of how far the coordinate may move."""

STEEP = 0.2
"""A kink is where a derivative changes at one place by more than this share of the largest."""


AWAY = "keep the variables away from there by a bound or a path_constraint, or add a small constant"
"""What to do about a derivative that is not finite."""


class Bend(NamedTuple):
    """A place at which a derivative jumps.

    Attributes:
        row: The row of the value.
        coordinate: The variable; None for all together.
        node: The number of the point.
        before, after: The derivatives on both sides.
    """

    row: int
    coordinate: int | None
    node: int
    before: float
    after: float


def first_bend(function: Function, w: Tensor, reach: Tensor) -> Bend | None:
    """The first point near which a derivative jumps; None if there is none.

    Arguments:
        function: `z -> value`, one tensor to another.
        w: The points, shape `(nodes, d)`.
        reach: How far each coordinate may move, shape `(d,)`.
    """
    coordinates, d = directions(w.shape[-1], reach)
    offsets = torch.linspace(-NEARBY, NEARBY, CUTS + 1, dtype=w.dtype, device=w.device)
    _, slopes = along(function, w, d, offsets)
    changes = slopes.diff(dim=2).abs()
    steep = (changes > STEEP * slopes.abs().amax(2, keepdim=True)) & changes.isfinite()
    for node in range(w.shape[0]):
        for row, i in steep.any(2)[:, :, node].nonzero().tolist():
            coordinate = coordinates[i] if i < len(coordinates) else None
            size = float(reach[coordinate]) if coordinate is not None else 1.0
            sides = jump(function, w, d[i], row, node)
            if sides is not None:
                return Bend(row, coordinate, node, sides[0] / size, sides[1] / size)
    return None


def jump(
    function: Function, w: Tensor, direction: Tensor, row: int, node: int
) -> tuple[float, float] | None:
    """The derivatives on both sides of a place where the derivative jumps; None if there is none.

    Arguments:
        function: `z -> value`, one tensor to another.
        w: The points.
        direction: The direction in which to look.
        row, node: The value and the point.
    """
    a, b, first = -NEARBY, NEARBY, math.inf
    sides = 0.0, 0.0
    for _ in range(ROUNDS):
        offsets = torch.linspace(a, b, CUTS + 1, dtype=w.dtype, device=w.device)
        slopes = along(function, w, direction[None], offsets)[1][row, 0, :, node]
        changes = slopes.diff().abs()
        if not bool(changes.isfinite().all()):
            return None
        k = int(changes.argmax())
        first = min(first, float(changes[k]))
        if float(changes[k]) < first / 2 or float(changes[k]) <= STEEP * float(slopes.abs().max()):
            return None
        a, b = float(offsets[k]), float(offsets[k + 1])
        sides = float(slopes[max(k - 1, 0)]), float(slopes[min(k + 2, CUTS)])
    return sides


def first_infinite(evaluations: Sequence[Evaluation]) -> Finding | None:
    """The first function whose value or derivatives are not finite; None if there is none.

    Each function is differentiated twice, by itself, because zero times infinity is not finite.

    Arguments:
        evaluations: The functions at the points of a path.
    """
    for function, place, time, value in sorted(evaluations, key=lambda one: one.time):
        with torch.enable_grad():
            found = value()
            if not bool(found.isfinite().all()):
                return Finding(function, place, f"is not finite at t={time:.4g}: {AWAY}.")
            leaves = [node.variable for node in graph(found) if hasattr(node, "variable")]
            if not leaves:
                continue
            first = torch.autograd.grad(found.sum(), leaves, create_graph=True)
            total = torch.cat([slope.flatten() for slope in first]).sum()
            second = first
            if total.requires_grad:
                second = torch.autograd.grad(total, leaves, allow_unused=True)
        if not all(bool(v.isfinite().all()) for v in (*first, *second) if v is not None):
            message = f"has no finite derivatives at t={time:.4g}: {AWAY}."
            return Finding(function, place, message)
    return None
