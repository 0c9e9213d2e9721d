"""The coefficients of explicit Runge-Kutta methods."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Tableau(NamedTuple):
    """The coefficients of an explicit Runge-Kutta method.

        k_i = f(t + c_i h, x + h sum_{j<i} a_ij k_j, u(t + c_i h)),   x <- x + h sum_i b_i k_i

    Attributes:
        a: The stage coefficients, row `i` of length `i`.
        b: The weights.
        c: The nodes.
        order: The order of the method.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int


EULER = Tableau(a=((),), b=(1.0,), c=(0.0,), order=1)
HEUN = Tableau(a=((), (1.0,)), b=(1 / 2, 1 / 2), c=(0.0, 1.0), order=2)
KUTTA = Tableau(
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    order=4,
)
KUTTA_38 = Tableau(
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    order=4,
)


def weighted(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """`sum_j weights[j] * slopes[j]`, without the terms that are zero."""
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight != 0:
            if total is None:
                total = slope if weight == 1 else weight * slope
            else:
                total = total.add(slope, alpha=weight)
    assert total is not None, "every row of a tableau has a non-zero entry"
    return total
