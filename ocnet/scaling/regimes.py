"""The regimes of deep networks: identity, ODE, SDE or explosion, and what decides between them."""

import math
from typing import Literal

from .._arguments import check_kind, check_range
from ..init import Kind


Regime = Literal["identity", "ODE", "SDE", "explosion"]

MEANING: dict[Regime, str] = {
    "identity": "as the network gets deeper its layers cancel out: the output tends to the input",
    "ODE": "deep networks tend to an ordinary differential equation driven by smooth weights",
    "SDE": "deep networks tend to a differential equation driven by noise, and stay random",
    "explosion": "states and gradients grow without bound as the network gets deeper",
}


def critical_exponent(kind: Kind) -> float:
    """The `beta` at which res-3 has a limit that is neither trivial nor infinite: `max(1/2, H)`."""
    check_kind("kind", kind, Kind)
    return max(0.5, kind.hurst)


def backward_critical_exponent(kind: Kind) -> float:
    """The same for the costates of wide networks: `max(1/2, 2 H - 1)`."""
    check_kind("kind", kind, Kind)
    return max(0.5, 2 * kind.hurst - 1)


def regime(beta: float, kind: Kind) -> Regime:
    """The regime of res-1, res-2 and res-3 in the limit of infinite depth.

    Below the critical exponent the network explodes, above it is the identity; at the exponent
    itself the limit is an ODE if neighbouring layers become equal (`H = 1`), and driven by noise
    otherwise: by Brownian motion (`H <= 1/2`, an SDE proper) or fractional noise.

    Raises:
        ValueError: Unless `beta` is finite.
    """
    check_range("beta", beta, "-inf <", "< inf")
    critical = critical_exponent(kind)
    if math.isclose(beta, critical, abs_tol=1e-9):
        return "ODE" if kind.hurst == 1 else "SDE"
    return "identity" if beta > critical else "explosion"
