"""Covariance kernels of stationary Gaussian processes over unit depth."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import check_range


Covariance = Callable[[Tensor], Tensor]
"""A stationary kernel `k(r)` of the distances `r >= 0`, with `k(0) = 1`; any function will do."""

MATERN: dict[float, Callable[[Tensor], Tensor | float]] = {
    0.5: lambda z: 1,
    1.5: lambda z: 1 + z,
    2.5: lambda z: 1 + z + z.square() / 3,
}
"""The polynomials of the Matern kernels of half-integer smoothness, Rasmussen and Williams (2006)
equation 4.17."""

SMOOTHEST = 100
"""The largest smoothness: beyond it the kernel is `RBF` to within half a percent."""


@dataclass(frozen=True)
class CovarianceKernel(abc.ABC):
    """A kernel `k(r)` with `k(0) = 1` that decays over a length scale.

    Attributes:
        length_scale: `l`, as a share of the depth.

    Raises:
        ValueError: Unless the length scale is positive and finite.
    """

    length_scale: float = 0.1

    def __post_init__(self) -> None:
        check_range("length_scale", self.length_scale, "0 <", "< inf")

    @property
    @abc.abstractmethod
    def smoothness(self) -> float:
        """`nu` in `1 - k(r) ~ r^(2 nu)` at short distances, at most 1: paths are Hoelder continuous
        of any order below it, and differentiable where it is 1."""

    @abc.abstractmethod
    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The correlation of two depths at a distance `r`, elementwise."""


def smoothness(kernel: Covariance) -> float:
    """`nu` in `1 - k(r) ~ r^(2 nu)` at short distances, between 0 and 1.

    It is known for the kernels of this module. For another function it is the local exponent at
    the shortest distances whose `1 - k` is free of rounding, extrapolated to `r = 0`.

    Raises:
        ValueError: If the function does not get close to 1 at short distances.
    """
    if isinstance(kernel, CovarianceKernel):
        return kernel.smoothness
    r = 2.0 ** -torch.arange(0, 40, dtype=torch.float64)
    gap = 1 - kernel(r).double()
    near = ((gap > 1e-9) & (gap < 1e-2)).nonzero().flatten()
    if len(near) < 3:
        raise ValueError(
            f"kernel must tend to 1 at short distances, but 1 - k(r) is {gap[-1].item():.3g} at "
            f"r={r[-1].item():.1g}."
        )
    slopes = -gap[near].log2().diff() / 2
    # Two terms of a power series: the error of the local exponent shrinks geometrically.
    first, second = slopes[-2].item(), slopes[-1].item()
    previous = slopes[-3].item() if len(slopes) > 2 else first
    change, before = second - first, first - previous
    rest = change**2 / (before - change) if abs(change) < abs(before) else 0.0
    return min(max(second + rest, 0.0), 1.0)


@dataclass(frozen=True)
class RBF(CovarianceKernel):
    """`k(r) = exp(-r^2 / (2 l^2))`: infinitely smooth paths."""

    @property
    def smoothness(self) -> float:
        return 1.0

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (-(r / self.length_scale).square() / 2).exp()


@dataclass(frozen=True)
class Matern(CovarianceKernel):
    """The Matern kernel: `ceil(nu) - 1` times differentiable paths; `z = sqrt(2 nu) r / l`,

        k(r) = 2^(1 - nu) / Gamma(nu) z^nu K_nu(z)

    with the modified Bessel function `K_nu` of the second kind; for `nu` = 1/2, 3/2, 5/2 that is
    `exp(-z)` times `1`, `1 + z`, `1 + z + z^2/3`. Source: Rasmussen and Williams (2006),
    equation 4.14.

    Attributes:
        nu: The smoothness, `0 < nu <= 100`.
    """

    nu: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("nu", self.nu, "0 <", f"<= {SMOOTHEST}")

    @property
    def smoothness(self) -> float:
        return min(self.nu, 1.0)

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        z = math.sqrt(2 * self.nu) * r / self.length_scale
        if self.nu in MATERN:
            return MATERN[self.nu](z) * (-z).exp()
        return torch.from_numpy(np.asarray(matern(self.nu, z.double().cpu().numpy()))).to(r)


def matern(nu: float, z: np.ndarray) -> np.ndarray:
    """`2^(1 - nu) / Gamma(nu) z^nu K_nu(z)`, 1 at `z = 0`."""
    # Not above: loading it takes a fifth of a second, and only this kernel needs it.
    from scipy.special import gammaln, kve

    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log = (1 - nu) * math.log(2) - gammaln(nu) + nu * np.log(z) + np.log(kve(nu, z)) - z
    # Where K_nu leaves the number range z is so small that two terms of its series are exact.
    near = (z / 2) ** 2
    series = 1 - near / (nu - 1) + near**2 / (2 * (nu - 1) * (nu - 2)) if nu > 2 else 1.0
    return np.where(np.isfinite(log) | (z > 1), np.exp(np.minimum(log, 0)), series)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(CovarianceKernel):
    """`k(r) = exp(-r / l)`: continuous paths, nowhere differentiable."""

    @property
    def smoothness(self) -> float:
        return 0.5

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (-r / self.length_scale).exp()
