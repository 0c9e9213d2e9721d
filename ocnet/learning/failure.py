"""A cost or gradient that is not finite: where it happened, and the way back to good parameters."""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch._utils import _flatten_dense_tensors

from ..errors import OcnetError
from ..problem import Sample
from ..solver.recompute import statistics, tracking
from .processes import agree, is_shard, local, whole


FEW = 4
"""Up to this many gradients are handled one by one: that is no slower, and takes no memory."""


class NonFiniteCost(OcnetError, FloatingPointError):
    """A cost or a gradient that is infinite or NaN; the last good parameters are back in place.

    Attributes:
        message: One line with the step, the layer and the time.
        step: The step of training.
        layer: The first layer whose state is not finite, or None if all are finite.
        time: The time of that layer.
        sample: The batch that gave the cost.
        parameters: The parameters that gave it, in the order of the optimiser.
    """

    def __init__(
        self,
        message: str,
        step: int,
        layer: int | None,
        time: float | None,
        sample: Sample,
        parameters: list[Tensor],
    ):
        super().__init__(message)
        self.step = step
        self.layer = layer
        self.time = time
        self.sample = sample
        self.parameters = parameters


class LastGood:
    """The parameters that last gave a finite cost, and the batch statistics before it.

    All of them must stay where they are in memory, as they do when an optimiser changes them.

    Arguments:
        parameters: What is trained.
        module: Where to look for running statistics, which a cost that is not finite spoils too,
            or None.
    """

    def __init__(self, parameters: list[Tensor], module: nn.Module | None = None):
        groups: dict[object, list[Tensor]] = {}
        of_batches = [] if module is None else statistics(tracking(module))
        for z in (*map(local, parameters), *of_batches):
            groups.setdefault((z.dtype, z.device), []).extend(vectors(z))
        self.groups: list[tuple[list[Tensor], Tensor]] = [
            (group, torch.cat(group)) for group in groups.values()
        ]

    def keep(self) -> None:
        """Accepts the current values as good."""
        for live, good in self.groups:
            # One call for all: checking each parameter would take most of the time.
            torch.cat(live, out=good)

    def restore(self) -> None:
        """Puts the last good values back."""
        for live, good in self.groups:
            for z, value in zip(live, good.split([len(z) for z in live]), strict=True):
                z.copy_(value)


def vectors(z: Tensor) -> list[Tensor]:
    """The entries of a tensor as vectors in its own memory: one vector, unless it has gaps."""
    z = z.detach()
    in_memory = z.permute(sorted(range(z.dim()), key=z.stride, reverse=True))
    if z.dim() < 2 or in_memory.is_contiguous():
        return [in_memory.view(-1)]
    return [vector for part in z for vector in vectors(part)]


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together, on the CPU by one call instead of many."""
    if gradients[0].device.type == "cpu" and not is_shard(gradients[0]):
        if len(gradients) <= FEW:
            # This makes no copy of them.
            flat = [g.reshape(-1) for g in gradients]
            return sum(g.dot(g) for g in flat).sqrt()  # pyright: ignore
        # As in DistributedDataParallel: a call from Python for each tensor costs 1% of a step.
        g = _flatten_dense_tensors(gradients)
        return g.dot(g).sqrt()
    return torch.nn.utils.get_total_norm(gradients)


def non_finite(
    step: int,
    cost: float,
    sample: Sample,
    place: tuple[int, float] | None,
    parameters: list[Tensor],
) -> NonFiniteCost | ValueError:
    """The error that tells where a cost stopped being finite.

    Arguments:
        step, cost, sample: The step, what it cost, and its batch.
        place: The layer and the time of the first state that is not finite, or None.
        parameters: What is trained.
    """
    try:
        check_finite_data(step, sample)
    except ValueError as error:
        return error
    layer, time = (None, None) if place is None else place
    where = "though every state is finite"
    if time is not None:
        where = f"the state first at layer {layer}, time t={time:.6g}"
    message = (
        f"Non-finite cost {cost} at step {step}, {where}; "
        "the parameters are back at their last good values. A smaller learning rate may help."
    )
    return NonFiniteCost(
        message, step, layer, time, sample, [whole(p.detach()).clone() for p in parameters]
    )


def check_finite_data(step: int, sample: Sample) -> None:
    """Raises a ValueError if the batch of a step holds values that are not finite."""
    for name, value in zip(("x0", "target"), sample, strict=True):
        if value is not None and value.is_floating_point() and not torch.isfinite(value).all():
            kind = "NaN" if torch.isnan(value).any() else "infinite values"
            raise ValueError(f"{name} holds {kind}, in the batch of step {step}.")


def non_finite_gradient(
    step: int, cost: float, sample: Sample, parameters: list[Tensor]
) -> NonFiniteCost | None:
    """The error for a non-finite gradient of a finite cost; None if the gradient is finite.

    A norm can overflow even where the gradient does not.

    Arguments:
        step, cost, sample: The step, what it cost, and its batch.
        parameters: What is trained, with its gradient.
    """
    gradients = [local(p.grad) for p in parameters if p.grad is not None]
    spoiled = sum(not torch.isfinite(g).all() for g in gradients)
    if not agree(spoiled > 0)[0]:
        return None
    message = (
        f"Non-finite gradient of {spoiled} of {len(parameters)} parameters at step {step}, where "
        f"the cost is {cost:.6g}; the parameters are back at their last good values. A formula "
        "such as sqrt or a norm at 0 has no derivative there."
    )
    return NonFiniteCost(
        message, step, None, None, sample, [whole(p.detach()).clone() for p in parameters]
    )
