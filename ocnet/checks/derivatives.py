"""Compares derivatives with differences, to find formulas that leave the graph, round or jump."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .mixing import wave


MIDDLE = 3
"""The number of the point itself among its offsets."""

Function = Callable[[Tensor], Tensor]
"""Maps points `(*lead, nodes, d)` to values `(*lead, nodes, rows)`, each point by itself."""

SHARE = 0.05
"""How far derivative and difference quotient may be apart, as a share of the larger one."""

MOST = 8
"""How many coordinates are checked one by one; one further direction mixes all of them."""

CUTS, ROUNDS = 32, 5
"""To find a jump, an interval is cut into this many parts, this many times."""


class Mismatch(NamedTuple):
    """A value that does not change as its derivative says.

    Attributes:
        row: The index of the value.
        coordinate: The index of the variable; None for all together.
        node: The index of the point.
        derivative: What automatic differentiation says.
        quotient: What the values themselves say; infinite where they jump.
    """

    row: int
    coordinate: int | None
    node: int
    derivative: float
    quotient: float


def mismatches(function: Function, w: Tensor, reach: Tensor) -> list[Mismatch]:
    """Where derivatives do not match the values; at most one mismatch for each row.

    On a short interval around a point the difference quotient must lie between the derivatives at
    the ends and the middle of the interval. This also holds across a kink, and where a derivative
    is least. A value that jumps on both sides of the point, far from it, is a staircase, such as
    rounding makes. Values that are not finite are left out.

    Arguments:
        function: `w -> values`, shape `(nodes, d)` to `(nodes, rows)`.
        w: The points, shape `(nodes, d)`.
        reach: How far each coordinate may move, shape `(d,)`.
    """
    if w.numel() == 0:
        return []
    coordinates, d = directions(w.shape[-1], reach)
    double = w.dtype == torch.float64
    near, nearer = (1e-5, 1e-7) if double else (1e-2, 1e-3)
    offsets = w.new_tensor([-1.0, -near, -nearer, 0.0, nearer, near, 1.0])
    values, slopes = along(function, w, d, offsets)
    finite = values.isfinite() & slopes.isfinite()
    noise = 1e3 * torch.finfo(w.dtype).eps * values.abs().nan_to_num(0.0, 0.0, 0.0)
    found: dict[int, Mismatch] = {}
    off = [
        outside(values, slopes, noise, offsets, a, b) & finite[:, :, a] & finite[:, :, b]
        for a, b in ((1, 5), (2, 4))
    ]
    for row, i, node in (off[0] & off[1]).nonzero().tolist():
        if row not in found:
            quotient = (values[row, i, 5, node] - values[row, i, 1, node]) / (2 * near)
            size = float(reach[coordinates[i]]) if i < len(coordinates) else 1.0
            found[row] = Mismatch(
                row, coordinates[i] if i < len(coordinates) else None, node,
                float(slopes[row, i, 5, node]) / size, float(quotient) / size,
            )  # fmt: skip
    far = [
        outside(values, slopes, noise, offsets, a, b) & finite[:, :, a] & finite[:, :, b]
        for a, b in ((0, 1), (5, 6))
    ]
    for row, i, node in (far[0] & far[1]).nonzero().tolist():
        if row in found or i >= len(coordinates):
            continue
        if all(jumps(function, w, d[i], row, node, a, b) for a, b in ((-1.0, -near), (near, 1.0))):
            slope = float(slopes[row, i, 3, node]) / float(reach[coordinates[i]])
            found[row] = Mismatch(row, coordinates[i], node, slope, math.inf)
    return list(found.values())


def directions(d: int, reach: Tensor) -> tuple[list[int], Tensor]:
    """The coordinates that are looked at one by one, and all directions `(count, d)`."""
    coordinates = list(range(d))
    if d > MOST:
        coordinates = sorted({k * (d - 1) // (MOST - 1) for k in range(MOST)})
    mixed = (0.5 * reach * wave(reach))[None]
    return coordinates, torch.cat([torch.diag(reach)[coordinates], mixed])


def along(function: Function, w: Tensor, d: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Values and directional derivatives, each `(rows, directions, offsets, nodes)`."""
    with torch.enable_grad():
        points = w + offsets[:, None, None] * d[:, None, None, :]
        rows = function(points[:1, :1].detach()).shape[-1]
        copies = points.detach().expand(rows, *points.shape).contiguous().requires_grad_()
        values = function(copies)
        picked = torch.eye(rows, dtype=w.dtype, device=w.device)[:, None, None, None, :]
        total = (values * picked).sum()
        slopes = torch.zeros_like(copies)
        if total.requires_grad:
            (slopes,) = torch.autograd.grad(
                total, copies, allow_unused=True, materialize_grads=True
            )
    return (values.detach() * picked).sum(-1), (slopes * d[:, None, None, :]).sum(-1)


def outside(
    values: Tensor, slopes: Tensor, noise: Tensor, offsets: Tensor, a: int, b: int
) -> Tensor:
    """Where the difference quotient between two offsets is not between the slopes there.

    If the point lies between them, its own slope counts too: the slope of a cube is least there.

    Arguments:
        values, slopes, noise: Values, slopes and the values' rounding errors at all offsets.
        offsets: By how much the coordinate moves, one number for each.
        a, b: The numbers of the two.
    """
    width = float(offsets[b] - offsets[a])
    quotient = (values[:, :, b] - values[:, :, a]) / width
    among = slopes[:, :, sorted({a, b, MIDDLE}) if a < MIDDLE < b else [a, b]]
    low, high = among.amin(2), among.amax(2)
    size = torch.stack([quotient.abs(), low.abs(), high.abs()]).amax(0)
    gap = torch.maximum(quotient - high, low - quotient)
    return gap > SHARE * size + torch.maximum(noise[:, :, a], noise[:, :, b]) / width


def jumps(
    function: Function, w: Tensor, d: Tensor, row: int, node: int, a: float, b: float
) -> bool:
    """Whether most of a value's change between two offsets happens at one place.

    Arguments:
        function, w: The function and the points.
        d, row, node: The direction, the value and the point.
        a, b: The offsets.
    """
    whole = None
    for _ in range(ROUNDS):
        offsets = torch.linspace(a, b, CUTS + 1, dtype=w.dtype, device=w.device)
        with torch.no_grad():
            values = function(w + offsets[:, None, None] * d)[:, node, row]
        changes = values.diff().abs()
        if not bool(changes.isfinite().all()):
            return False
        whole = float(values.max() - values.min()) if whole is None else whole
        k = int(changes.argmax())
        a, b = float(offsets[k]), float(offsets[k + 1])
        if float(changes[k]) <= SHARE * whole:
            return False
    return True
