"""In-place initialisations of stacked weights, the analogue of `torch.nn.init` over depth."""

import math
from typing import Literal

import torch
from torch import Tensor

from .._arguments import check_generator, check_kind, check_range, shown
from .kernels import Covariance, RBF
from .kinds import FractionalNoise, Iid, Kind, Repeated, SmoothIncrements, SmoothValues, Spline


def iid_(
    path: Tensor,
    std: float | None = None,
    *,
    distribution: Literal["uniform", "gaussian"] = "uniform",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills `path` with independent entries, uniform on `(-sqrt(3) std, sqrt(3) std)` or Gaussian.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        distribution: "uniform" or "gaussian".
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Iid(distribution), std, generator)


def smooth_(
    path: Tensor,
    kernel: Covariance | None = None,
    std: float | None = None,
    *,
    of: Literal["values", "increments"] = "values",
    generator: torch.Generator | None = None,
) -> Tensor:
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
    path: Tensor,
    H: float,
    std: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills `path` with the increments of a fractional Brownian motion with Hurst index `H`.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        H: The Hurst index, `0 < H < 1`; 1/2 gives independent layers.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, FractionalNoise(H), std, generator)


def repeated_(
    path: Tensor, std: float | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    """Fills `path` with one Gaussian layer for all depths.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Repeated(), std, generator)


def spline_(
    path: Tensor,
    n_knots: int = 8,
    std: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills `path` with cubic splines over depth.

    Arguments:
        path: Stacked weights, shape `(L, *layer_shape)` with `L >= 2`.
        n_knots: How many knots the spline has, evenly over depth; see `Spline`.
        std: The standard deviation of every entry; `fan_in**-0.5` by default.
        generator: Makes the draw reproducible; on the device of `path`.
    """
    return fill_(path, Spline(n_knots), std, generator)


@torch.no_grad()
def fill_(
    path: Tensor,
    kind: Kind,
    std: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills stacked weights in place with a process over depth, entry by entry independent.

    Arguments:
        path: The stacked weights, shape `(L, *layer_shape)`, of any floating point dtype and on
            any device: linear `(L, out, in)`, convolution `(L, out, in, *kernel)`, bias `(L, out)`.
        kind: The process over depth.
        std: The standard deviation of every entry; `fan_in**-0.5` by default, where `fan_in`
            is `in * prod(kernel)`, and `out` for a bias.
        generator: Makes the draw reproducible; on the device of `path`.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
    """
    check_path(path)
    if std is None:
        std = 1 / math.sqrt(math.prod(path.shape[2:] or path.shape[1:]))
    check_range("std", std, "0 <=", "< inf")
    check_kind("kind", kind, Kind)
    check_generator(generator)
    # Half precision is rounded to, not computed in: FFTs need the digits.
    dtype = path.dtype if path.dtype == torch.float64 else torch.float32
    n, *layer_shape = path.shape
    unit = kind.draw(n, math.prod(layer_shape), generator, dtype, path.device)
    return path.copy_(unit.mul_(std).reshape(path.shape))


def check_path(path: Tensor) -> None:
    """Raises a TypeError or ValueError unless `path` is stacked weights."""
    if not isinstance(path, Tensor) or not path.is_floating_point():
        got = path.dtype if isinstance(path, Tensor) else shown(path)
        raise TypeError(f"path must be a tensor of floating point numbers, but got {got}.")
    if path.dim() < 2:
        raise ValueError(
            "path must have a depth dimension and those of a layer, (L, *layer_shape), but got "
            f"shape {tuple(path.shape)}."
        )
    if path.shape[0] < 2:
        raise ValueError(f"Must have a depth L >= 2, but got L={path.shape[0]}.")
