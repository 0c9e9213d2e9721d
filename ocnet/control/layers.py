"""A stack of layers as a control: each value is a residual branch."""

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .base import Control, Law, Piece, Side


class Layers(Control):
    """`u(t) = layers[k]` on the `k`-th of equal intervals; the dynamics call it: `f = u(x)`.

    Arguments:
        t0, t1: The horizon; `t0=0, t1=len(layers)` gives a standard residual network under
            `Euler(len(layers))`, whose step is then 1.
        layers: The residual branches, from the input to the output.

    Raises:
        TypeError, ValueError: If a layer is not a module, or there are none.
    """

    def __init__(self, t0: float, t1: float, layers: Iterable[nn.Module]):
        layers = list(layers)
        for k, layer in enumerate(layers):
            if not isinstance(layer, nn.Module):
                raise TypeError(
                    f"layers must be modules, but layers[{k}] is a {type(layer).__name__}."
                )
        super().__init__(t0, t1, len(layers))
        self.layers: nn.ModuleList = nn.ModuleList(layers)

    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        return [lambda x, u=self.layers[k]: u for k in self.intervals(ts, side)]

    def pieces(self) -> Sequence[Piece]:
        return [lambda t, x, u=u: u for u in self.layers]

    def refine(self) -> "Layers":
        """Each layer twice, as copies with weights of their own.

        What several layers share (a module, a parameter, a buffer) is shared by all copies, too.
        """
        copies: dict[int, Any] = {}
        first = copy.deepcopy(self.layers, copies)
        shared = {id(z): copies[id(z)] for z in shared_parts(self.layers)}
        second = copy.deepcopy(self.layers, shared)
        twice = [layer for pair in zip(first, second, strict=True) for layer in pair]
        return type(self)(self.t0, self.t1, twice)


def shared_parts(layers: Iterable[nn.Module]) -> list[Any]:
    """The modules, parameters and buffers that are part of more than one layer."""
    parts, count = {}, Counter[int]()
    for layer in layers:
        own = {id(z): z for z in (*layer.modules(), *layer.parameters(), *layer.buffers())}
        parts.update(own)
        count.update(own.keys())
    return [z for key, z in parts.items() if count[key] > 1]
