"""What theory says about a scaled residual network of given depth: exact moments and limits.

F1 to F8 hold for weights that are symmetric, independent over depth and of variance `1 / d`, for
any width `d`, depth `L` and `alpha = L**-beta`, in networks of two matrices or the identity.
`c = E sigma(g)^2` for a standard normal `g`: 1/2 for ReLU, `(1 + s^2) / 2` for a leaky slope `s`,
1 for the identity. What holds for one network is in `theory`.
"""

import math

import torch

from .._arguments import check_count, check_range


def activation_gain(slope: float) -> float:
    """`c = E sigma(g)^2 = (1 + slope^2) / 2`."""
    return (1 + slope**2) / 2


def log_growth(L: int, beta: float, c: float = 0.5) -> float:
    """`L log(1 + c alpha^2)`: the growths below leave double precision where this does not."""
    check_count("L", L, least=2)
    check_range("beta", beta, "-inf <", "< inf")
    return L * math.log1p(c * L ** (-2 * beta))


def state_growth(L: int, beta: float, c: float = 0.5) -> float:
    """F1: `E |h_L|^2 / |h_0|^2 = (1 + c alpha^2)^L`."""
    return exp(log_growth(L, beta, c))


def state_displacement(L: int, beta: float, c: float = 0.5) -> float:
    """F2: `E |h_L - h_0|^2 / |h_0|^2 = (1 + c alpha^2)^L - 1`; and `E h_L = h_0`."""
    growth = log_growth(L, beta, c)
    return math.expm1(growth) if growth < MAX_LOG else math.inf


def tangent_growth(L: int, beta: float) -> float:
    """F3: `E |q_L|^2 / |q_0|^2 = (1 + alpha^2 / 2)^L` for a fixed tangent `q_0` (res-3)."""
    return state_growth(L, beta)


def costate_growth(L: int, beta: float, c: float = 0.5) -> float:
    """F4: `E |p_0|^2 / |p_L|^2 = (1 + c alpha^2)^L`, for one output and a symmetric i.i.d. head.

    Stated for ReLU; the derivative of a leaky ReLU has the same second moment `c`.
    """
    return state_growth(L, beta, c)


def costate_displacement(L: int, beta: float, c: float = 0.5) -> float:
    """F4: `E |p_0 - p_L|^2 / |p_L|^2 = (1 + c alpha^2)^L - 1`, as in `costate_growth`."""
    return state_displacement(L, beta, c)


def state_fourth_moment(L: int, beta: float, d: int) -> float:
    """F5: `E |h_L|^4 / |h_0|^4` of res-3 with Gaussian weights,

    `[1 + a^2 (1 + 2/d) + a^4 (1/4 + 5/(4d)) (1 + 2/d)]^L`.
    """
    a2 = L ** (-2 * beta)
    per_layer = a2 * (1 + 2 / d) + a2**2 * (1 / 4 + 5 / (4 * d)) * (1 + 2 / d)
    return exp(L * math.log1p(per_layer))


def log_norm_limit(d: int) -> tuple[float, float]:
    """F6: at `beta = 1/2`, `log(|h_L|^2 / |h_0|^2)` of res-3 tends to a normal law in depth.

    Returns:
        Its mean `1/2 - 1/d` and variance `2/d`.
    """
    check_count("d", d)
    return 1 / 2 - 1 / d, 2 / d


def displacement_limit(L: int, beta: float) -> float:
    """F7: the leading order of F2 in depth, `c = 1/2`.

    `e^{1/2} - 1` at `beta = 1/2`, `L^{1 - 2 beta} / 2` above; below, F2 is
    `exp(L^{1 - 2 beta}/2 - ...)`, and `exp(L^{1-2 beta}/2 - L^{1-4 beta}/8)` is given here.
    """
    check_count("L", L, least=2)
    check_range("beta", beta, "-inf <", "< inf")
    if beta == 0.5:
        return math.expm1(0.5)
    if beta > 0.5:
        return L ** (1 - 2 * beta) / 2
    return exp(L ** (1 - 2 * beta) / 2 - L ** (1 - 4 * beta) / 8)


def displacement_quantile(L: int, beta: float, delta: float, c: float = 0.5) -> float:
    """F8: `|h_L - h_0|^2 / |h_0|^2` stays below `F2 / delta` with probability `1 - delta`."""
    check_range("delta", delta, "0 <", "<= 1")
    return state_displacement(L, beta, c) / delta


def displacement_bound(L: int, beta: float) -> float:
    """F8: `F2 <= (e^{1/2} - 1) L alpha^2` where `L alpha^2 <= 1`, for `c = 1/2`.

    Raises:
        ValueError: Where `L alpha^2 > 1`.
    """
    if beta < 0.5:
        raise ValueError(f"The bound holds for beta >= 1/2, but got beta={beta}.")
    return math.expm1(0.5) * L ** (1 - 2 * beta)


def one_matrix_growth_bounds(L: int, beta: float, low: float, high: float) -> tuple[float, float]:
    """Res-1 with `low |x| <= |sigma(x)| <= high |x|`: bounds of `E |h_L|^2 / |h_0|^2`,

    `(1 + low^2 alpha^2)^L` and `(1 + high^2 alpha^2)^L`; they meet for the identity.
    """
    return state_growth(L, beta, low**2), state_growth(L, beta, high**2)


MAX_LOG = math.log(torch.finfo(torch.float64).max)


def exp(x: float) -> float:
    """`e^x`, infinite where double precision ends."""
    return math.exp(x) if x < MAX_LOG else math.inf
