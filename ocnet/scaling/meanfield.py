"""Mean-field recursions: inner products of states and of costates, layer by layer, at any scaling.

In a wide network the entries of `g(h_k, u_k)` are Gaussian over the draws of the weights, and
independent of one another. With `C_kl = E h_k . h_l / |h_0|^2`, `rho_kl` the correlation of `h_k`
and `h_l`, and `r_kl` that of layers `k` and `l`,

    C_{k+1,l+1} - C_{k+1,l} - C_{k,l+1} + C_kl = alpha^2 sqrt(C_kk C_ll) f(r_kl, rho_kl)
    f = r kappa(rho) for V sigma(h),   f = r kappa(r rho) for V sigma(W h)

with `kappa(rho) = E sigma(g) sigma(g')` over standard normal `g, g'` of correlation `rho`. Costates
`p_k . p_l` obey the same from the last layer to the first, with

    f = r kappa'(rho)   and   f = r [(1 - 1/d) r kappa'(r rho) + kappa(r rho) / d],

`kappa'(rho) = E sigma'(g) sigma'(g')`, where the last term is what a finite width `d` adds. What it
adds to `V sigma(h)` is a drift: a layer acts on what the earlier ones made with correlated
weights, and `E V_k V_j = r_kj / d` leads to `h_{k+1} = (1 + b_k) h_k + ...` with
`b_k = alpha^2 kappa(1) / d sum_{j<k} r_kj`.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._arguments import check_kind
from ..init import Kind
from .models import is_leaky, OneMatrix, ScaledNetwork, TwoMatrices


Rows = Callable[[int], np.ndarray]
"""`k -> (r_k0, ..., r_kk)`: the correlations of a layer with itself and those before it."""

BLOCK = 256
"""How many rows of a correlation are computed at a time."""

DEEPEST = 12_000
"""The deepest network whose recursion fits in memory."""


class Growth(NamedTuple):
    """What the recursions say.

    Attributes:
        forward, backward: The root mean squares of the ratios; infinite where they overflow.
    """

    forward: float
    backward: float


def slope_of(network: ScaledNetwork) -> float:
    """The slope of a network that the recursions describe.

    Raises:
        TypeError: If they do not describe it: its branch or its activation is of another kind.
    """
    check_kind("network", network, ScaledNetwork)
    if not (is_leaky(network, OneMatrix) or is_leaky(network, TwoMatrices)):
        raise TypeError(
            "Theory describes V sigma(h) and V sigma(W h) with a leaky ReLU, but "
            f"{type(network).__name__} has a branch or an activation of its own: `measure` it."
        )
    return network.slope


def kappa(rho: np.ndarray, slope: float) -> np.ndarray:
    """`E sigma(g) sigma(g')` of a leaky ReLU; arc-cosine kernel of degree 1 for the ReLU.

    Source: Cho and Saul, NIPS 2009.
    """
    rho = rho.clip(-1, 1)
    even, odd = halves(slope)
    return odd * rho + even * 2 / math.pi * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho))


def kappa_derivative(rho: np.ndarray, slope: float) -> np.ndarray:
    """`E sigma'(g) sigma'(g')` of a leaky ReLU."""
    even, odd = halves(slope)
    return odd + even * 2 / math.pi * np.arcsin(rho.clip(-1, 1))


def halves(slope: float) -> tuple[float, float]:
    """The squares of the even and the odd part of a leaky ReLU: of `|x|` and of `x`."""
    return ((1 - slope) / 2) ** 2, ((1 + slope) / 2) ** 2


def rows(kind: Kind, n: int) -> Rows:
    """The correlations of each layer with those before it."""
    first = kind.first_row(n)
    if first is not None:
        reverse = first.double().numpy()[::-1].copy()
        return lambda k: reverse[n - 1 - k :]

    @functools.lru_cache(maxsize=2)
    def block(i: int) -> np.ndarray:
        return kind.correlation_rows(i * BLOCK, min(n, (i + 1) * BLOCK), n).double().numpy()

    return lambda k: block(k // BLOCK)[k % BLOCK, : k + 1]


def pair_sum(kind: Kind, n: int, f: Callable[[np.ndarray], np.ndarray]) -> float:
    """`sum_{k,l} f(r_kl)` over `n` layers; a sum over distances if the process is stationary."""
    first = kind.first_row(n)
    if first is not None:
        values = f(first.double().numpy())
        return float(n * values[0] + 2 * ((n - np.arange(1, n)) * values[1:]).sum())
    row = rows(kind, n)
    # The row ends with the diagonal, which counts once.
    return float(sum(2 * v.sum() - v[-1] for v in (f(row(k)) for k in range(n))))


def forward_growth(network: ScaledNetwork) -> float:
    """The root mean square of `|h_L - h_0| / |h_0|`."""
    ratio, _ = forward_recursion(network, costates=False)
    return ratio


def growth(network: ScaledNetwork) -> Growth:
    """The root mean squares of both ratios."""
    forward, pull = forward_recursion(network, costates=True)
    L, alpha = network.depth, network.depth**-network.beta
    drift = drift_of(network, alpha)
    # From the last layer to the first: the layer m steps before the last is L - 1 - m.
    source = lambda m, _: pull[L - 1 - m :, L - 1 - m][::-1]
    backward, _ = recursion(L, alpha, source, drift, costate=True)
    return Growth(forward, backward)


def forward_recursion(network: ScaledNetwork, costates: bool) -> tuple[float, np.ndarray]:
    """The forward ratio, and if asked for the factors `f` of the costates, a lower triangle."""
    L, slope, d = network.depth, slope_of(network), network.d
    if costates and L > DEEPEST:
        raise ValueError(f"Theory of costates takes at most {DEEPEST} layers, but got {L}.")
    one = isinstance(network, OneMatrix)
    correlations = rows(network.kind, L)
    pull = np.zeros((L, L) if costates else (0, 0), dtype=np.float32)

    def source(k: int, rho: np.ndarray) -> np.ndarray:
        r = correlations(k)
        of = rho if one else r * rho
        if costates:
            slopes, both = kappa_derivative(of, slope), kappa(of, slope)
            pull[k, : k + 1] = r * (slopes if one else (1 - 1 / d) * r * slopes + both / d)
        return r * kappa(of, slope)

    alpha = L**-network.beta
    ratio, _ = recursion(L, alpha, source, drift_of(network, alpha))
    return ratio, pull


def drift_of(network: ScaledNetwork, alpha: float) -> np.ndarray:
    """`b_k`, the share of the state itself that a layer adds on average; zero for two matrices."""
    L, slope = network.depth, slope_of(network)
    if not isinstance(network, OneMatrix):
        return np.zeros(L)
    correlations = rows(network.kind, L)
    before = np.array([correlations(k)[:-1].sum() for k in range(L)])
    return alpha**2 * float(kappa(np.ones(1), slope)[0]) / network.d * before


def recursion(
    L: int,
    alpha: float,
    source: Callable[[int, np.ndarray], np.ndarray],
    drift: np.ndarray,
    costate: bool = False,
) -> tuple[float, np.ndarray]:
    """The root mean square of the displacement after `L` layers, and `C_kk`.

    Arguments:
        L: The number of layers.
        alpha: The scaling.
        source: `f`: `(k, rho_k0 .. rho_kk) -> (f_k0 .. f_kk)`.
        drift: `b_k`.
        costate: Whether `f` multiplies `C_kl` itself, as for costates, instead of the product
            of the two sizes.
    """
    C, sizes = np.ones(1), np.ones(L + 1)
    with np.errstate(all="ignore"):
        for k in range(L):
            product = sizes[k] * sizes[: k + 1]
            f = source(k, C / product) * (C if costate else product)
            added = alpha**2 * f / ((1 + drift[k]) * (1 + drift[: k + 1]))
            new = np.empty(k + 2)
            new[0] = 1
            new[1 : k + 1] = 1 + np.cumsum(np.diff(C) + added[:k])
            new[k + 1] = 2 * new[k] - C[k] + added[k]
            C = new
            sizes[k + 1] = math.sqrt(max(C[k + 1], 0.0)) if math.isfinite(C[k + 1]) else math.inf
            if not math.isfinite(sizes[k + 1]):
                return math.inf, sizes
        # C is that of h_k / prod (1 + b): the drift moves the mean alone.
        mean = float(np.exp(np.log1p(drift).sum()))
        square = mean**2 * sizes[L] ** 2 - 2 * mean + 1
    return math.sqrt(max(square, 0.0)), sizes
