"""Differentiable pieces of the read-outs, with backward passes written out."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def pixels(x: Tensor, stride: int) -> int:
    """How many pixels of a state a convolution of that stride reads."""
    return math.prod(-(-side // stride) for side in x.shape[-2:])


def projected(
    kernel: Tensor | None, stride: int, *xs: Tensor
) -> Float[Tensor, "batch state width pixels"]:
    """The states of one stage, taken by a strided 1x1 convolution to the last stage's space."""
    # Whole rows first, then their pixels: twice as fast as single pixels from cold memory.
    rows = (x[..., ::stride, :].contiguous() for x in xs)
    x = torch.stack([x[..., ::stride] for x in rows], 1).flatten(3)
    return x if kernel is None else kernel @ x


class NormalisedPool(torch.autograd.Function):
    """Projection, batch norm by the batch's statistics, ReLU and average pooling of many states.

        z_k = W x_k,   p_k = mean over pixels of relu((z_k - m_k) / sqrt(v_k + eps) * w + b)

    Only the inputs are kept for the backward pass; `z` is computed again there, which takes less
    time than to write and read what automatic differentiation would keep.

    Arguments:
        kernel: `W`, shape `(state or 1, out, in)`; None for the identity.
        stride: The convolution's stride.
        weight, bias: `w` and `b`, shape `(state * out,)`.
        eps: What keeps the deviation away from zero.
        xs: The states of one stage, each `(batch, in, height, width)`.

    Returns:
        The features `p`, shape `(batch, state * out)`, and the batch's means and biased
        variances, each `(state * out,)`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Tensor | None,
        stride: int,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        *xs: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = projected(kernel, stride, *xs).flatten(1, 2)
        mean = z.mean((0, 2))
        # In place, because the pages of a new tensor of this size take longer than the arithmetic;
        # the norm of rows is several times as fast as torch.var_mean across them.
        z -= mean[:, None]
        var = torch.linalg.vector_norm(z, dim=-1).square_().sum(0) / (z.shape[0] * z.shape[2])
        z *= (weight * (var + eps).rsqrt())[:, None]
        z += bias[:, None]
        ctx.stride, ctx.eps = stride, eps
        ctx.save_for_backward(kernel, weight, bias, mean, var, *xs)
        ctx.mark_non_differentiable(mean, var)
        return z.relu_().mean(-1), mean, var

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        kernel, weight, bias, mean, var, *xs = ctx.saved_tensors
        x = projected(None, ctx.stride, *xs)
        z = (x if kernel is None else kernel @ x).flatten(1, 2)
        y = F.batch_norm(z, mean, var, weight, bias, eps=ctx.eps)
        dy = y.gt_(0).mul_((gradients[0] / z.shape[-1])[..., None])
        dz, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, z, weight, None, None, mean, (var + ctx.eps).rsqrt(), True, ctx.eps, [True] * 3
        )
        dz = dz.unflatten(1, (len(xs), -1))
        d_kernel = None
        if kernel is not None:
            d_kernel = (dz @ x.mT).sum_to_size(kernel.shape)
            dz = kernel.mT @ dz
        d_xs = (spread(d, x, ctx.stride) for d, x in zip(dz.unbind(1), xs, strict=True))
        return d_kernel, None, d_weight, d_bias, None, *d_xs


def spread(d: Tensor, x: Tensor, stride: int) -> Tensor:
    """The gradient `d` of the pixels that a stride reads, as a gradient of all pixels of `x`."""
    if stride == 1:
        return d.unflatten(-1, x.shape[-2:])
    full = torch.zeros_like(x)
    some = full[..., ::stride, ::stride]
    some.copy_(d.unflatten(-1, some.shape[-2:]))
    return full
