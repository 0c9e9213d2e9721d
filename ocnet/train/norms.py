"""Batch norm over several processes: one batch, one set of statistics."""

from typing import Any

import torch
from torch import distributed, nn, Tensor

from .processes import world_size


class Total(torch.autograd.Function):
    """The sum over the processes; each one's cost depends on all values, so gradients add, too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone()
        distributed.all_reduce(grad)
        return grad


class SyncedNorm(nn.SyncBatchNorm):
    """Batch norm with the mean and variance of the batch over all processes.

    PyTorch's own on a GPU; on the CPU, where it has none, written out.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not self.training:
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        channels = (-1, *[1] * (input.dim() - 2))
        mean = over_processes(input.mean(dims))
        centred = input - mean.view(channels)
        var = over_processes(centred.square().mean(dims))
        if self.track_running_stats:
            self.track(mean, var, world_size() * (input.numel() // input.shape[1]))
        y = centred * (var + self.eps).rsqrt().view(channels)
        return y * self.weight.view(channels) + self.bias.view(channels) if self.affine else y

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Follows the statistics of a batch in which each was computed from `count` values."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        cumulative = 1 / self.num_batches_tracked.item()
        momentum = cumulative if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_((var * count / max(count - 1, 1)).to(self.running_var), momentum)


def over_processes(value: Tensor) -> Tensor:
    """The mean over the processes, whose shares of a batch have one size."""
    if world_size() == 1:
        return value
    return Total.apply(value) / world_size()  # pyright: ignore[reportOperatorIssue]


def synchronise(module: nn.Module) -> None:
    """Lets every batch norm in a module take its statistics over the processes, in place."""
    nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for m in module.modules():
        if type(m) is nn.SyncBatchNorm:
            # PyTorch's conversion knows no subclasses; this one adds nothing but a method.
            m.__class__ = SyncedNorm
