"""Differentiable pieces of the read-outs, with backward passes written out."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def pixels(x: Tensor, stride: int) -> Float[Tensor, "in batch height width"]:
    """The pixels of a state that a 1x1 convolution of that stride reads, channels first."""
    return x[:, :, ::stride, ::stride].transpose(0, 1).contiguous()


class NormalisedPool(torch.autograd.Function):
    """Batch norm by the batch's statistics, ReLU and average pooling of a state.

        p = mean over pixels of relu((x - m) / sqrt(v + eps) * w + b)

    Only the state is kept for the backward pass, which needs it anyway for the layer; the rest is
    computed again there, in less time than automatic differentiation takes to write and read it.

    Arguments:
        weight, bias: `w` and `b`, shape `(width,)`.
        eps: What keeps the deviation away from zero.
        x: The state, shape `(batch, width, height, width of the image)`.

    Returns:
        The features `p`, shape `(batch, width)`, and the batch's mean and biased variance, each
        `(width,)`.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, eps: float, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = x.flatten(2).to(weight.dtype)
        mean = z.mean((0, 2))
        z = z - mean[:, None]
        # The norm of rows is several times as fast as torch.var_mean across them.
        var = torch.linalg.vector_norm(z, dim=-1).square_().sum(0) / (z.shape[0] * z.shape[2])
        z *= (weight * (var + eps).rsqrt())[:, None]
        z += bias[:, None]
        ctx.eps = eps
        ctx.save_for_backward(weight, bias, mean, var, x)
        ctx.mark_non_differentiable(mean, var)
        return z.relu_().mean(-1), mean, var

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        weight, bias, mean, var, x = ctx.saved_tensors
        z = x.flatten(2).to(weight.dtype)
        inverse = (var + ctx.eps).rsqrt()
        # Not centred first, as in the forward pass: that would be one more pass over the state.
        y = z * (weight * inverse)[:, None]
        y += (bias - mean * weight * inverse)[:, None]
        dy = gated(gradients[0], y)
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, z, weight, None, None, mean, inverse, True, ctx.eps, [True] * 3
        )
        return d_weight, d_bias, None, dx.view_as(x).to(x.dtype)


class ProjectedPool(torch.autograd.Function):
    r"""Like `NormalisedPool`, after a projection, for several states of one stage at once.

        z_k = W x_k,   p_k = mean over pixels of relu((z_k - m_k) / sqrt(v_k + eps) * w + b)

    The batch norm is an affine map of the centred pixels `X`, shape `(in, n)`: with their
    covariance `C = X X' / n`, the variance is `v = diag(W C W')`, and the normalised pixels are
    `A X + b` with `A = diag(w / sqrt(v + eps)) W`. (Where the terms of `W x` cancel, `v` loses
    twice as many digits as `W x`.) The few pixels are kept; what has the width of
    the projection is computed again in the backward pass. There, with `dy` the gradient after the
    ReLU's kinks, `s = dy 1`, `G = dy X'` and `r = 1 / sqrt(v + eps)`,

        dw = r diag(G W'),   db = s,   dW = diag(w r) (G - diag(r dw) W C),
        dX = A' (dy - s 1' / n - diag(r dw) W X / n).

    Arguments:
        kernel: `W`, shape `(state or 1, out, in)`.
        weight, bias: `w` and `b`, shape `(state or 1, out)`.
        eps: What keeps the deviation away from zero.
        xs: The `pixels` of each state.

    Returns:
        The features `p`, shape `(state, out, batch)`, and the batch's means and biased variances,
        each `(state, out)`.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Tensor, weight: Tensor, bias: Tensor, eps: float, *xs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        X = stacked(xs, kernel.dtype)
        mean = X.mean(2, keepdim=True)
        X -= mean
        W_C = kernel @ (X @ X.mT).div_(X.shape[2])
        var = (W_C * kernel).sum(2).clamp_min_(0)
        inverse = (var + eps).rsqrt()
        A = (weight * inverse)[..., None] * kernel
        y = normalised(A, bias, X).relu_()
        ctx.save_for_backward(kernel, weight, bias, mean, inverse, W_C, A, *xs)
        m = (kernel @ mean)[..., 0]
        ctx.mark_non_differentiable(m, var)
        return y.unflatten(2, (xs[0].shape[1], -1)).mean(-1), m, var

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        kernel, weight, bias, mean, inverse, W_C, A, *xs = ctx.saved_tensors
        # A gradient that computes steps again does so under autocast, as the forward pass did.
        with torch.autocast(kernel.device.type, enabled=False):
            X = stacked(xs, kernel.dtype).sub_(mean)
            y = normalised(A, bias, X).unflatten(2, (xs[0].shape[1], -1))
            dy = gated(gradients[0], y).flatten(2)
            s, G = dy.sum(2), dy @ X.mT
            d_weight = inverse * (G * kernel).sum(2)
            back = (inverse * d_weight)[..., None]
            d_kernel = (weight * inverse)[..., None] * (G - back * W_C)
            dX = A.mT @ dy
            dX.baddbmm_(A.mT @ (back * kernel), X, alpha=-1 / X.shape[2])
            dX -= A.mT @ s[..., None] / X.shape[2]
        shared = (d_kernel, kernel), (d_weight, weight), (s, bias)
        sums = (gradient.sum_to_size(p.shape) for gradient, p in shared)
        return *sums, None, *dX.to(xs[0].dtype).unflatten(2, xs[0].shape[1:]).unbind()


def stacked(xs: Sequence[Tensor], dtype: torch.dtype) -> Float[Tensor, "state width n"]:
    """The pixels of several states."""
    return torch.stack(list(xs)).flatten(2).to(dtype)


def normalised(A: Tensor, bias: Tensor, X: Tensor) -> Float[Tensor, "state out n"]:
    """`A X + b`."""
    return torch.baddbmm(bias[..., None].expand(len(X), -1, 1), A, X)


def gated(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient of `relu(y).mean(-1)` with respect to `y`, written over `y`."""
    of_mean = (gradient / y.shape[-1])[..., None].expand_as(y)
    return torch.ops.aten.threshold_backward.grad_input(of_mean, y, 0, grad_input=y)
