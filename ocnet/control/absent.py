"""No control: what takes the place of one where nothing acts on a system."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import OpenLoop, Piece, Side


class NoControl(OpenLoop):
    """A control without entries, of shape `(0,)`, which `control=None` stands for.

    Arguments:
        t0, t1: The horizon.
    """

    like: Tensor

    def __init__(self, t0: float, t1: float):
        super().__init__(t0, t1)
        self.register_buffer("like", torch.empty(0), persistent=False)

    def values(self, ts: Sequence[float], side: Side = "right") -> Tensor:
        return self.like.new_empty(len(ts), 0)

    def pieces(self) -> Sequence[Piece]:
        return [lambda t, x: self.like]

    def refine(self) -> "NoControl":
        return NoControl(self.t0, self.t1)
