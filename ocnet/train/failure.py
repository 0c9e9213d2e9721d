"""A cost that is not finite: where it happened, and the way back to the last good parameters."""

from collections.abc import Sequence

import torch
from torch import nn, Tensor

from ..problem import Sample
from ..solver.recompute import statistics, tracking
from ..trajectory import Trajectory
from .processes import is_shard, local, whole


class NonFiniteCost(FloatingPointError):
    """A cost that is infinite or not a number; the last good parameters are back in place.

    Attributes:
        step: The step of training.
        layer: The first layer whose state is not finite, or None if all are.
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

    Arguments:
        parameters: What is trained.
        module: Where to look for running statistics, which a cost that is not finite spoils too.
    """

    def __init__(self, parameters: list[Tensor], module: nn.Module):
        live = [*map(local, parameters), *statistics(tracking(module))]
        kinds = dict.fromkeys((z.dtype, z.device) for z in live)
        groups = [[z for z in live if (z.dtype, z.device) == kind] for kind in kinds]
        self.groups = [(group, flat(group)) for group in groups]

    def keep(self) -> None:
        """Takes what is in place for good."""
        for live, good in self.groups:
            flat(live, out=good)

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the last good values back."""
        for live, good in self.groups:
            for z, value in zip(live, good.split([z.numel() for z in live]), strict=True):
                z.copy_(value.view_as(z))


@torch.no_grad()
def flat(tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """The entries of all tensors in one vector: one call, where many would take longer."""
    return torch.cat([z.flatten() for z in tensors], out=out)


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together."""
    if gradients[0].device.type == "cpu" and not is_shard(gradients[0]):
        g = flat(gradients)
        return g.dot(g).sqrt()
    return torch.nn.utils.get_total_norm(gradients)


def non_finite(
    step: int, cost: float, sample: Sample, trajectory: Trajectory, parameters: list[Tensor]
) -> NonFiniteCost | ValueError:
    """The error that tells where a cost stopped being finite."""
    for name, value in zip(("x0", "target"), sample, strict=True):
        if value is not None and value.is_floating_point() and not torch.isfinite(value).all():
            kind = "NaN" if torch.isnan(value).any() else "infinite values"
            return ValueError(f"{name} holds {kind}, in the batch of step {step}.")
    layer = trajectory.first_non_finite()
    if layer is None:
        where, time = "though every state is finite", None
    else:
        time = float(trajectory.t[layer])
        where = f"the state first at layer {layer}, time t={time:.6g}"
    message = (
        f"Non-finite cost {cost} at step {step}, {where}; "
        "the parameters are back at their last good values. A smaller learning rate may help."
    )
    return NonFiniteCost(
        message, step, layer, time, sample, [whole(p.detach()).clone() for p in parameters]
    )
