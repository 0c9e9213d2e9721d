"""What theory says about one scaled network: of its model, initialisation, depth and scaling."""

import math
from functools import cached_property

import numpy as np

from .._arguments import check_kind, check_range
from ..init import Iid
from .meanfield import (
    drift_of,
    forward_growth,
    Growth,
    growth,
    kappa,
    kappa_derivative,
    pair_sum,
    slope_of,
)
from .models import Linear, OneMatrix, ScaledNetwork
from .predictions import activation_gain, state_displacement
from .regimes import Regime


TRUSTED = 1.0
"""Up to this ratio the mean field is right to a few percent for widths from 30 on; narrower
networks and larger ratios differ by more where weights are correlated."""


HUGE = 1e3
"""The logarithm of a ratio that counts as infinite."""

ZERO, ONE = np.zeros(1), np.ones(1)


class Theory:
    """What theory expects of one network, all from its model, initialisation, depth and scaling.

    Where layers are independent and the model has two matrices, or the identity for an
    activation, the ratios are exact at any width and depth (F2 and F4 of `predictions`).
    Elsewhere they are those of wide networks, from the recursions of `meanfield`.

    Arguments:
        network: A res-1, res-2 or res-3, or one like them with another slope; its weights are
            not read.

    Raises:
        TypeError: If theory does not describe the network's branch or activation.
    """

    network: ScaledNetwork

    def __init__(self, network: ScaledNetwork):
        check_kind("network", network, ScaledNetwork)
        slope_of(network)
        self.network = network

    def __repr__(self) -> str:
        n = self.network
        return (
            f"Theory({type(n).__name__}, {n.kind}, L={n.depth}, beta={n.beta:.3g}, d={n.d}: "
            f"{self.regime})"
        )

    @property
    def exact(self) -> bool:
        """Whether the ratios are exact, or the limit of wide networks."""
        two = not isinstance(self.network, OneMatrix)
        return isinstance(self.network.kind, Iid) and (two or self.network.slope == Linear.slope)

    @cached_property
    def ratios(self) -> Growth:
        """The root mean squares of both ratios."""
        if not self.exact:
            return growth(self.network)
        c = activation_gain(self.network.slope)
        ratio = math.sqrt(state_displacement(self.network.depth, self.network.beta, c))
        return Growth(ratio, ratio)

    @property
    def forward(self) -> float:
        """The root of `E |h_L - h_0|^2 / |h_0|^2`."""
        return self.ratios.forward

    @property
    def backward(self) -> float:
        """The root of `E |p_0 - p_L|^2 / |p_L|^2`."""
        return self.ratios.backward

    @property
    def valid(self) -> bool:
        """Whether the ratios may be trusted to ten percent: exact, or at most 1."""
        return self.exact or max(self.ratios) <= TRUSTED

    @property
    def critical_exponent(self) -> float:
        """The `beta` at which the forward ratio has a limit that is neither 0 nor infinite."""
        return critical_exponent(self.network)

    @property
    def backward_critical_exponent(self) -> float:
        """The same for the backward ratio."""
        return backward_critical_exponent(self.network)

    @property
    def drift(self) -> float:
        """`b` in `E h_L ~ e^b h_0`: what a finite width adds in the mean (one matrix only).

        With `H < 1/2` it is about `-c L^(1 - 2 beta) / (2 d)`: between the critical exponent and
        1/2 the states of a network of fixed width finally shrink to 0, at depths far beyond
        `(2 d / c)^(1 / (1 - 2 beta))`.
        """
        alpha = self.network.depth**-self.network.beta
        return float(np.log1p(drift_of(self.network, alpha)).sum())

    @property
    def regime(self) -> Regime:
        """What becomes of the network as it gets deeper."""
        return regime(self.network)

    def contour(self, level: float = 1.0) -> float:
        """The `beta` at which the forward ratio is `level` at this depth.

        It tends to the critical exponent as the depth grows.

        Raises:
            ValueError: Unless the level is positive and finite.
        """
        check_range("level", level, "0 <", "< inf")
        # Not above: loading it takes a fifth of a second.
        from scipy.optimize import brentq

        n, target = self.network, math.log(level)
        gap = lambda beta: max(-HUGE, min(HUGE, log_ratio(n.with_beta(beta)) - target))
        low, high = self.critical_exponent - 0.2, self.critical_exponent + 0.2
        while gap(high) > 0:
            high += 0.4
        while gap(low) < 0:
            low -= 0.4
        return float(brentq(gap, low, high, xtol=1e-4))  # pyright: ignore[reportArgumentType]


def log_ratio(network: ScaledNetwork) -> float:
    """The logarithm of the forward ratio; infinite where that is."""
    theory = Theory(network)
    ratio = theory.forward if theory.exact else forward_growth(network)
    return math.log(ratio) if ratio > 0 else -math.inf


def critical_exponent(network: ScaledNetwork) -> float:
    """The `beta` at which a wide network has a limit that is neither trivial nor infinite.

    `max(H, 1/4)` for `V sigma(h)`: the sum of the layers grows like `L^H`, and where its increments
    oppose each other (`H < 1/4`), the products of two of them like `L^(1/2)` at twice the order.
    `max(1/2, H)` for `V sigma(W h)`, where `E sigma(g) != 0` lets the sum of `V` through;
    `max(1/2, 2 H - 1)` with the identity, where only the products of `V` and `W` add up.
    """
    return exponent_of(network, carries=float(kappa(ZERO, slope_of(network))[0]) > 0)


def backward_critical_exponent(network: ScaledNetwork) -> float:
    """The same for the costates: `max(H, 1/4)`, and `max(1/2, 2 H - 1)` for two matrices."""
    slope_of(network)
    return exponent_of(network, carries=False)


def exponent_of(network: ScaledNetwork, carries: bool) -> float:
    """The critical exponent; with two matrices, `carries` says if the sum of `V` passes through."""
    check_kind("network", network, ScaledNetwork)
    H = network.kind.hurst
    if isinstance(network, OneMatrix):
        return max(0.25, H)
    return max(0.5, H if carries else 2 * H - 1)


def regime(network: ScaledNetwork) -> Regime:
    """The regime of a wide scaled network in the limit of infinite depth.

    Below the critical exponent the network explodes, and above it the network is the identity. At
    the exponent itself the limit is an ODE if neighbouring layers become equal (`H = 1`); otherwise
    it is driven by Brownian motion or by fractional noise.
    """
    critical = critical_exponent(network)
    if math.isclose(network.beta, critical, abs_tol=1e-9):
        return "ODE" if network.kind.hurst == 1 else "SDE"
    return "identity" if network.beta > critical else "explosion"


def S_h(network: ScaledNetwork) -> float:
    """`E |h_L - h_0|^2 / |h_0|^2 ~ alpha^2 S_h` to first order in `alpha^2`, at any width:

    `sum_{k,l} r kappa(1)` for `V sigma(h)`, `sum_{k,l} r kappa(r)` for `V sigma(W h)`.
    """
    slope = slope_of(network)
    of = np.ones_like if isinstance(network, OneMatrix) else np.asarray
    return pair_sum(network.kind, network.depth, lambda r: r * kappa(of(r), slope))


def S_p(network: ScaledNetwork) -> float:
    """`E |p_0 - p_L|^2 / |p_L|^2 ~ alpha^2 S_p` to first order in `alpha^2`, at any width `d`:

    `sum_{k,l} r kappa'(1)` for `V sigma(h)`, and for `V sigma(W h)`
    `sum_{k,l} r [r (d-1)/d kappa'(r) + kappa(r)/d]`.
    """
    slope, d = slope_of(network), network.d
    if isinstance(network, OneMatrix):
        return pair_sum(network.kind, network.depth, lambda r: r * kappa_derivative(ONE, slope))
    term = lambda r: r * ((1 - 1 / d) * r * kappa_derivative(r, slope) + kappa(r, slope) / d)
    return pair_sum(network.kind, network.depth, term)
