"""The limit of networks with independent weights as a law: its SDE sampled, and laws compared.

At `beta = 1/2` a layer adds `L^-1/2 g(h, u)`, of mean 0 and of covariance `v(h) I` over the draws
of its weights, so that the states tend in law to

    dH = sqrt(v(H)) dB,   v = |sigma(H)|^2 / d for V sigma(h),   v = E sigma(g)^2 for V sigma(W h)

with a `d`-dimensional Brownian motion `B` and `g` normal of variance `|H|^2 / d`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import check_count, check_generator, check_kind, check_tensor
from .models import kept, OneMatrix, ScaledNetwork, TwoMatrices
from .propagation import states


NODES = 80
"""The nodes of the Gauss-Hermite rule: exact for polynomials, 1e-3 for a kink."""

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that two laws are compared at."""


@dataclass(frozen=True)
class LawComparison:
    """Two laws of a number, by samples.

    Attributes:
        first, second: Their quantiles at `probabilities`.
        probabilities: 5%, 25%, 50%, 75% and 95%.
        distance: The largest difference of the distribution functions (Kolmogorov-Smirnov).
        p_value: How likely a distance as large is where the two laws are equal.
    """

    first: Sequence[float]
    second: Sequence[float]
    probabilities: Sequence[float]
    distance: float
    p_value: float


@torch.no_grad()
def sample_sde(
    network: ScaledNetwork,
    x0: Float[Tensor, "path d"],
    steps: int = 200,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "path d"]:
    """Final states of the limit SDE at time 1, one for each initial state, by Euler-Maruyama.

    Arguments:
        network: The model, with any activation: its branch must be `V sigma(h)` or `V sigma(W h)`.
        x0: The initial states.
        steps: How many steps the unit of time has.
        generator: Makes the paths reproducible.

    Raises:
        TypeError, ValueError: If the branch is of another form, or the arguments do not fit.
    """
    check_form(network)
    check_count("steps", steps)
    check_generator(generator)
    check_states(network, x0)
    H = x0.clone()
    for _ in range(steps):
        noise = torch.randn(H.shape, dtype=H.dtype, device=H.device, generator=generator)
        H = H + (variance(network, H) / steps).sqrt().unsqueeze(-1) * noise
    return H


@torch.no_grad()
def sample_network(
    network: ScaledNetwork, x0: Float[Tensor, "path d"], generator: torch.Generator | None = None
) -> Float[Tensor, "path d"]:
    """Final states of networks with weights drawn anew for each initial state.

    Arguments:
        network: The model, its depth, scaling and initialisation.
        x0: The initial states.
        generator: Makes the weights reproducible.

    Raises:
        TypeError, ValueError: If the arguments do not fit.
    """
    check_kind("network", network, ScaledNetwork)
    check_generator(generator)
    check_states(network, x0)
    weights = network.draw(len(x0), generator, x0.dtype, x0.device)
    return states(network, weights, x0, network.depth**-network.beta)[-1].x


def variance(network: ScaledNetwork, H: Float[Tensor, "path d"]) -> Float[Tensor, " path"]:
    """`v(H)`, the variance of each entry that a layer adds, for independent weights."""
    if isinstance(network, OneMatrix):
        return network.activation(H).square().mean(-1)
    size = H.square().mean(-1).sqrt()
    if network.homogeneous:
        return (1 + network.slope**2) / 2 * size.square()
    z, weights = np.polynomial.hermite_e.hermegauss(NODES)
    g = torch.from_numpy(z).to(H)
    rule = torch.from_numpy(weights / weights.sum()).to(H)
    return network.activation(size.unsqueeze(-1) * g).square() @ rule


def compare_laws(first: Float[Tensor, " sample"], second: Float[Tensor, " other"]) -> LawComparison:
    """Quantiles and the Kolmogorov-Smirnov distance of two samples of numbers.

    Raises:
        TypeError, ValueError: If one is empty or not finite.
    """
    # Not above: loading it takes a fifth of a second.
    from scipy.stats import ks_2samp

    for name, some in (("first", first), ("second", second)):
        check_tensor(name, some)
        if some.dim() != 1 or not len(some) or not torch.isfinite(some).all():
            raise ValueError(
                f"{name} must be a vector of finite numbers, but got shape {tuple(some.shape)}"
                f"{'' if torch.isfinite(some).all() else ' with others'}."
            )
    a, b = (some.detach().double().cpu().numpy() for some in (first, second))
    test = ks_2samp(a, b)
    quantiles = [np.quantile(some, PROBABILITIES).tolist() for some in (a, b)]
    return LawComparison(*quantiles, PROBABILITIES, float(test.statistic), float(test.pvalue))  # pyright: ignore


def check_form(network: ScaledNetwork) -> None:
    """Raises a TypeError unless the branch is one whose law is known."""
    check_kind("network", network, ScaledNetwork)
    for kind in (OneMatrix, TwoMatrices):
        if isinstance(network, kind) and kept(network, "branch", kind):
            return
    raise TypeError(
        "The limit is known for V sigma(h) and V sigma(W h), but "
        f"{type(network).__name__} has a branch of its own."
    )


def check_states(network: ScaledNetwork, x0: Tensor) -> None:
    """Raises a TypeError or ValueError unless these are initial states of the network."""
    check_tensor("x0", x0)
    if x0.dim() != 2 or x0.shape[1] != network.d or not len(x0):
        raise ValueError(f"x0 must have shape (path, {network.d}), but got {tuple(x0.shape)}.")
