"""The exponential moving average of the parameters."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_kind, check_range, shown
from .processes import is_shard, local, whole


class Average:
    """`average <- decay * average + (1 - decay) * parameters` after every step.

    Early averages would remember the first parameters too well, so the decay starts small,
    `min(decay, (1 + k) / (10 + k))` at the `k`-th update, as in TensorFlow's moving averages.

    Arguments:
        tensors: What to average: parameters, and running statistics if there are any.
        decay: In (0, 1).

    Raises:
        TypeError, ValueError: If they are not tensors, or the decay is not in (0, 1).
    """

    def __init__(self, tensors: Iterable[Tensor], decay: float):
        check_range("decay", decay, "0 <", "< 1")
        if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable):
            raise TypeError(f"tensors must be several tensors, but got {shown(tensors)}.")
        tensors = list(tensors)
        for one in tensors:
            check_kind("Each of tensors", one, Tensor)
        self.decay = decay
        self.updates: int = 0
        # Integers, such as the number of batches seen, are not averaged.
        self.live: list[Tensor] = [p for p in tensors if p.is_floating_point()]
        self.average: list[Tensor] = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the current values."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average, live = map(local, self.average), map(local, self.live)
        torch._foreach_lerp_(list(average), list(live), 1 - decay)  # pyright: ignore
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averages in place of the parameters, and the parameters back at the end."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges parameters and averages."""
        for live, average in zip(map(local, self.live), map(local, self.average), strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The averages and the number of updates."""
        return {"updates": self.updates, "average": whole(self.average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores saved averages."""
        self.updates = state["updates"]
        for average, saved in zip(self.average, state["average"], strict=True):
            if is_shard(average):
                # Not at the top of the file: importing it takes a second.
                from .sharding import as_sharded

                saved = as_sharded(saved, average)
            average.copy_(saved)
