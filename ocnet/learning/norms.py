"""Batch norm over several processes: one batch, one set of statistics."""

from typing import Any

import torch
from torch import distributed, nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .processes import world_size


class Total(torch.autograd.Function):
    """The sum over the processes; each one's cost depends on all values, so gradients add up."""

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


class SyncedNorm(_BatchNorm):
    """Batch norm on the CPU with the mean and variance of the batch over all processes.

    Not a SyncBatchNorm, which DistributedDataParallel refuses on the CPU.
    """

    @classmethod
    def like(cls, norm: _BatchNorm) -> "SyncedNorm":
        """A norm with the parameters, the statistics and the mode of another batch norm."""
        made = cls(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        made._parameters.update(norm._parameters)
        made._buffers.update(norm._buffers)
        return made.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any number of dimensions: the module that this one replaces has checked them."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
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
        """Updates the running statistics with those of a batch, each from `count` values."""
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


def synchronise(module: nn.Module, device: torch.device) -> None:
    """Lets every batch norm in a module take its statistics over the processes, in place.

    Each is replaced by one with the same parameters and statistics. On a GPU that is PyTorch's
    own; PyTorch has none for the CPU.
    """
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        # A norm is replaced under each of its names; `named_children` gives only one of them.
        for name, child in parent._modules.items():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncedNorm):
                parent._modules[name] = made.setdefault(child, SyncedNorm.like(child))
