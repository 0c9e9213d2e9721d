"""What computing a layer a second time must leave alone: the statistics that it follows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _NormBase


def tracking(*modules: nn.Module) -> list[nn.Module]:
    """The modules that follow statistics of their batches, such as batch norm."""
    every = dict.fromkeys(m for module in modules for m in module.modules())
    return [m for m in every if getattr(m, "track_running_stats", False)]


def statistics(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The statistics that such modules follow."""
    return [buffer for m in modules for buffer in m.buffers(recurse=False)]


@contextmanager
def frozen(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Lets modules compute with the statistics of the batch, but not follow them."""
    norms = [m for m in modules if isinstance(m, _NormBase)]
    others = [m for m in modules if not isinstance(m, _NormBase)]
    kept = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m in norms:
        # Checkpointing wants the same operations again, so they run, but come to nothing.
        m.momentum = 0.0
        m.num_batches_tracked = torch.zeros_like(m.num_batches_tracked)  # pyright: ignore
    for m in others:
        m.track_running_stats = False  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, kept, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count
        for m in others:
            m.track_running_stats = True  # pyright: ignore[reportArgumentType]
