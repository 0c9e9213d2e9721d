"""In-place initialisations of stacked weights, the analogue of `torch.nn.init` over depth."""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import nn, Tensor

from .._arguments import check_generator, check_kind, check_range, shown
from .kernels import Covariance, RBF
from .kinds import FractionalNoise, Iid, Kind, Repeated, SmoothIncrements, SmoothValues, Spline


Stack = TypeVar("Stack", bound="Tensor | Sequence[Any] | nn.Module")
"""Stacked weights, or a list of parameters or of layers."""


def iid_(
    path: Stack,
    std: float | None = None,
    *,
    distribution: Literal["uniform", "gaussian"] = "uniform",
    generator: torch.Generator | None = None,
) -> Stack:
    """Fills `path` with independent entries, uniform on `(-sqrt(3) std, sqrt(3) std)` or Gaussian.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        distribution: "uniform" or "gaussian".
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Iid(distribution), std, generator)


def smooth_(
    path: Stack,
    kernel: Covariance | None = None,
    std: float | None = None,
    *,
    of: Literal["values", "increments"] = "values",
    generator: torch.Generator | None = None,
) -> Stack:
    """Fills `path` with a Gaussian process over unit depth: its values at `k / L`, or its
    increments from `k / L` to `(k + 1) / L` brought to the same variance.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        kernel: `k(r)`, any positive semidefinite function of distance with `k(0) = 1`; the
            default is `RBF(0.1)`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        of: "values" or "increments".
        generator: Makes the draw reproducible; on the device of `path`.
    """
    kinds = {"values": SmoothValues, "increments": SmoothIncrements}
    if of not in kinds:
        raise ValueError(f'of must be "values" or "increments", but got {of!r}.')
    return fill_(path, kinds[of](RBF() if kernel is None else kernel), std, generator)


def fbm_(
    path: Stack,
    H: float,
    std: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Stack:
    """Fills `path` with the increments of a fractional Brownian motion with Hurst index `H`.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        H: The Hurst index, `0 < H < 1`; 1/2 gives independent layers.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, FractionalNoise(H), std, generator)


def repeated_(
    path: Stack, std: float | None = None, *, generator: torch.Generator | None = None
) -> Stack:
    """Fills `path` with one Gaussian layer for all depths.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Repeated(), std, generator)


def spline_(
    path: Stack,
    n_knots: int = 8,
    std: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Stack:
    """Fills `path` with cubic splines over depth.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        n_knots: How many knots the spline has, evenly spaced over depth; see `Spline`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Spline(n_knots), std, generator)


@torch.no_grad()
def fill_(
    path: Stack,
    kind: Kind,
    std: float | None = None,
    generator: torch.Generator | None = None,
) -> Stack:
    """Fills the weights of equal layers in place and returns them: each entry with an independent
    draw of a process over depth.

    Arguments:
        path: Stacked weights of shape `(L, *layer_shape)`: linear `(L, out, in)`, convolution
            `(L, out, in, *kernel)`, bias `(L, out)`; or the parameters of `L` layers in a list; or
            `L` equal layers, as an `nn.ModuleList`, an `nn.Sequential` (whose activations do not
            count) or a list. In layers, matrices and filters are filled, and biases and scales
            are left alone. Any floating point dtype and any device will do.
        kind: The process over depth.
        std: The standard deviation of every entry; `fan_in**-0.5` by default, where `fan_in`
            is `in * prod(kernel)`, and `out` for a bias.
        generator: Makes the draw reproducible, up to rounding the same in every dtype; on the
            device of `path`.

    Raises:
        TypeError, ValueError: If an argument is off; the message names it.
    """
    check_generator(generator)
    check_kind("kind", kind, Kind)
    if std is not None:
        check_range("std", std, "0 <=", "< inf")
    for stack in stacks(path):
        check_stack(stack)
        first = stack[0]
        size = 1 / math.sqrt(math.prod(first.shape[1:] or first.shape)) if std is None else std
        # Half precision is used only for the result, not to compute: FFTs need the digits.
        dtype = first.dtype if first.dtype == torch.float64 else torch.float32
        unit = kind.draw(len(stack), first.numel(), generator, dtype, first.device).mul_(size)
        if isinstance(stack, Tensor):
            stack.copy_(unit.reshape(stack.shape))
        else:
            for layer, values in zip(stack, unit, strict=True):
                layer.copy_(values.reshape(layer.shape))
    return path


def stacks(path: Any) -> list[Any]:
    """The weights that vary over depth together: stacked tensors, or one tensor of each layer.

    Raises:
        TypeError, ValueError: Unless `path` is weights, or layers that are equal.
    """
    if isinstance(path, Tensor):
        return [path]
    if isinstance(path, nn.Module) and not isinstance(
        path, (nn.ModuleList, nn.Sequential, nn.ParameterList)
    ):
        raise TypeError(
            "path must be a tensor, or a list, an nn.ModuleList or an nn.Sequential of equal "
            f"layers, but got a {type(path).__name__}."
        )
    if isinstance(path, (str, bytes)) or not isinstance(path, (Sequence, nn.Module)):
        raise TypeError(f"path must be a tensor or a list of layers, but got {shown(path)}.")
    layers = list(path)  # pyright: ignore[reportArgumentType]
    for layer in layers:
        if not isinstance(layer, (Tensor, nn.Module)):
            raise TypeError(f"path must hold parameters or layers, but got {shown(path)}.")
    if layers and all(isinstance(layer, Tensor) for layer in layers):
        return [layers]
    for layer in layers:
        check_kind("Each of path", layer, nn.Module)
    return of_modules([layer for layer in layers if any(True for _ in layer.parameters())])


def of_modules(layers: Sequence[nn.Module]) -> list[list[Tensor]]:
    """The matrices and filters of equal layers, a list over the layers for each name."""
    if not layers:
        raise ValueError("path must hold layers with weights, but got none.")
    shapes = lambda layer: {name: tuple(p.shape) for name, p in layer.named_parameters()}
    first = shapes(layers[0])
    for k, layer in enumerate(layers):
        if shapes(layer) != first:
            raise ValueError(
                f"path must hold equal layers, but layer {k} has the weights {shapes(layer)} and "
                f"the first one {first}."
            )
    names = [name for name, shape in first.items() if len(shape) > 1]
    if not names:
        raise ValueError(f"path must hold layers with matrices or filters, but got {first}.")
    return [[layer.get_parameter(name) for layer in layers] for name in names]


def check_stack(stack: Any) -> None:
    """Raises a TypeError or ValueError unless these are the weights of equal layers."""
    for layer in stack if isinstance(stack, list) else [stack]:
        if not layer.is_floating_point():
            raise TypeError(
                f"path must be a tensor of floating point numbers, but got {layer.dtype}."
            )
    if isinstance(stack, Tensor) and stack.dim() < 2:
        raise ValueError(
            "path must have a depth dimension and those of a layer, (L, *layer_shape), but got "
            f"shape {tuple(stack.shape)}."
        )
    if len(stack) < 2:
        raise ValueError(f"Must have a depth L >= 2, but got L={len(stack)}.")
    found = {tuple(layer.shape) for layer in stack}
    if len(found) > 1:
        raise ValueError(f"path must hold layers of one shape, but got {sorted(found)}.")
    if stack[0].dim() == 0 or stack[0].numel() == 0:
        raise ValueError(
            f"path must hold weights in every layer, but got layers of shape "
            f"{tuple(stack[0].shape)}."
        )
