"""A layer that is computed a second time must not update its running statistics again."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _NormBase

from .gradient import Gradient


def tracking(*modules: nn.Module) -> list[nn.Module]:
    """The modules that keep running statistics of their batches, such as batch norm."""
    every = dict.fromkeys(m for module in modules for m in module.modules())
    return [m for m in every if getattr(m, "track_running_stats", False)]


def statistics(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The running statistics of such modules."""
    return [buffer for m in modules for buffer in m.buffers(recurse=False)]


class frozen:
    """Lets modules use the statistics of a batch without updating their running statistics.

    The context can be entered again, because checkpointing recomputes once per backward pass.

    Arguments:
        modules: The modules that keep running statistics.
    """

    def __init__(self, modules: Sequence[nn.Module]):
        self.norms: list[_NormBase] = [m for m in modules if isinstance(m, _NormBase)]
        self.others: list[nn.Module] = [m for m in modules if not isinstance(m, _NormBase)]
        self.kept: list[list[tuple[Any, ...]]] = []

    def __enter__(self) -> None:
        self.kept.append([(m.momentum, m.num_batches_tracked) for m in self.norms])
        for m in self.norms:
            # Checkpointing needs the same operations again, so they run, but without effect.
            m.momentum = 0.0
            m.num_batches_tracked = torch.zeros_like(m.num_batches_tracked)  # pyright: ignore
        for m in self.others:
            m.track_running_stats = False  # pyright: ignore[reportArgumentType]

    def __exit__(self, *error: object) -> None:
        for m, (momentum, count) in zip(self.norms, self.kept.pop(), strict=True):
            m.momentum, m.num_batches_tracked = momentum, count
        for m in self.others:
            m.track_running_stats = True  # pyright: ignore[reportArgumentType]


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that layers draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def once_differentiable(gradient: Gradient, *outputs: Tensor) -> None:
    """Lets the backward pass from some tensors raise a ValueError if it is differentiated.

    Arguments:
        gradient: The gradient, which has no second derivative.
        outputs: What it returns.
    """

    def refuse(grad: Tensor) -> None:
        if torch.is_grad_enabled():
            raise ValueError(
                f"{gradient} has no second derivative, which create_graph=True asks for: take "
                "gradient=Backprop() or Checkpoint()."
            )

    for z in outputs:
        if z.requires_grad:
            z.register_hook(refuse)
