"""A recorder of steps that works without a GPU and keeps the rules of its graphs."""

from collections.abc import Callable

import torch
from torch import nn, Tensor

from ocnet.learning.capture import Recorder


class Tape(Recorder):
    """Replays by running a function again, as a graph would: on the tensors it was recorded on.

    Recording leaves all values as they are. A gradient that is found anew goes where it was when
    the function was recorded, and one that is read is read from there.

    Arguments:
        parameters: What has gradients.
        live: All other tensors that a step changes.
    """

    def __init__(self, parameters: list[nn.Parameter], live: Callable[[], list[Tensor]]):
        self.parameters = parameters
        self.live = live
        self.log: list[str] = []

    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        self.log.append("warm up")
        return function()

    def record(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        self.log.append("record")
        kept = [(z, z.detach().clone()) for z in (*self.parameters, *self.live())]
        result = function()
        places = [p.grad for p in self.parameters]
        with torch.no_grad():
            for z, value in kept:
                z.copy_(value)

        def replay() -> None:
            self.log.append("replay")
            for p, place in zip(self.parameters, places, strict=True):
                p.grad = place
            found = function()
            if isinstance(found, Tensor):
                result.copy_(found.detach())
            for p, place in zip(self.parameters, places, strict=True):
                if p.grad is not place:
                    place.copy_(p.grad)  # pyright: ignore
                    p.grad = place

        return replay, result.detach() if isinstance(result, Tensor) else result
