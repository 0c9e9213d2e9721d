"""Projection maps, which take the state from one space to the next."""

import math

from torch import nn

from .._arguments import as_number, check_kind
from ..types import State


class Projection(nn.Module):
    """A projection map `S`: it takes the state from one space to the next between two times.

    Every solver crosses `[start, end]` in one step, `x(end) = S(x(start)) + (end - start) f`, with
    `f = dynamics(start, x(start), u(start))` already a vector of the new space. On a residual
    network this is the layer where the stage changes. A subclass may let the state jump first,
    `x <- enter(x)`, so that operations common to `S` and `f` are done only once.

    Arguments:
        start: The time at which the layer reads the old state.
        end: The time at which the new state is reached.
        map: The projection, a module `(*batch, *old_shape) -> (*batch, *new_shape)`.

    Raises:
        ValueError: Unless `start < end`.
    """

    def __init__(self, start: float, end: float, map: nn.Module):
        super().__init__()
        start, end = as_number("start", start), as_number("end", end)
        if not -math.inf < start < end < math.inf:
            raise ValueError(f"Must have start < end, but got {start=} and {end=}.")
        check_kind("map", map, nn.Module)
        self.start = start
        self.end = end
        self.map = map

    def enter(self, x: State) -> State:
        """The state that `S` and the dynamics are given: the one at `start`, unless overridden."""
        return x

    def forward(self, x: State) -> State:
        """The projected state `S(enter(x))`."""
        return self.map(self.enter(x))
