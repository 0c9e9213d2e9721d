"""A stack of layers as a control: each value is a residual branch."""

import copy
from collections.abc import Iterable, Sequence

from torch import nn

from .base import Control, Law, Piece, Side


class Layers(Control):
    """`u(t) = layers[k]` on the `k`-th of equal intervals; the dynamics call it: `f = u(x)`.

    Arguments:
        t0, t1: The horizon; `t0=0, t1=len(layers)` gives a standard residual network under
            `Euler(len(layers))`, whose step is then 1.
        layers: The residual branches, from the input to the output.

    Raises:
        ValueError: If there are no layers.
    """

    def __init__(self, t0: float, t1: float, layers: Iterable[nn.Module]):
        layers = nn.ModuleList(layers)
        super().__init__(t0, t1, len(layers))
        self.layers = layers

    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        return [lambda x, u=self.layers[k]: u for k in self.intervals(ts, side)]

    def pieces(self) -> Sequence[Piece]:
        return [lambda t, x, u=u: u for u in self.layers]

    def refine(self) -> "Layers":
        twice = [copy.deepcopy(layer) for layer in self.layers for _ in range(2)]
        return type(self)(self.t0, self.t1, twice)
