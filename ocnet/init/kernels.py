"""Covariance kernels of stationary Gaussian processes over unit depth."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


Covariance = Callable[[Tensor], Tensor]
"""A stationary kernel `k(r)` of the distances `r >= 0`, with `k(0) = 1`; any function will do."""

MATERN = {
    0.5: lambda z: 1,
    1.5: lambda z: 1 + z,
    2.5: lambda z: 1 + z + z.square() / 3,
}
"""The polynomials of the Matern kernels of half-integer smoothness, Rasmussen and Williams (2006)
equation 4.17."""


@dataclass(frozen=True)
class Kernel(abc.ABC):
    """A kernel `k(r)` with `k(0) = 1` that decays over a length scale.

    Attributes:
        length_scale: `l`, as a share of the depth.

    Raises:
        ValueError: Unless the length scale is positive and finite.
    """

    length_scale: float = 0.1

    def __post_init__(self):
        if not 0 < self.length_scale < math.inf:
            raise ValueError(
                f"Must have 0 < length_scale < inf, but got length_scale={self.length_scale}."
            )

    @abc.abstractmethod
    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The correlation of two depths at a distance `r`, elementwise."""


@dataclass(frozen=True)
class RBF(Kernel):
    """`k(r) = exp(-r^2 / (2 l^2))`: infinitely smooth paths."""

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (-(r / self.length_scale).square() / 2).exp()


@dataclass(frozen=True)
class Matern(Kernel):
    """The Matern kernel: `nu - 1/2` times differentiable paths; `z = sqrt(2 nu) r / l`,

        k(r) = exp(-z) * {1, 1 + z, 1 + z + z^2/3}   for nu = 1/2, 3/2, 5/2.

    Attributes:
        nu: The smoothness, 0.5, 1.5 or 2.5.
    """

    nu: float = 1.5

    def __post_init__(self):
        super().__post_init__()
        if self.nu not in MATERN:
            raise ValueError(f"nu must be one of 0.5, 1.5, 2.5, but got nu={self.nu}.")

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        z = math.sqrt(2 * self.nu) * r / self.length_scale
        return MATERN[self.nu](z) * (-z).exp()


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Kernel):
    """`k(r) = exp(-r / l)`: continuous paths, nowhere differentiable."""

    def __call__(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (-r / self.length_scale).exp()
