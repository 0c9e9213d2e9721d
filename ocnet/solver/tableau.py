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


def check_tableau(tableau: Tableau) -> None:
    """Raises a TypeError or ValueError unless a tableau is one of an explicit, consistent method.

    The stages must come one after the other. The sums must be `sum_i b_i = 1` and
    `c_i = sum_j a_ij`, because otherwise the method does not even have order one.
    """
    if not isinstance(tableau, Tableau):
        raise TypeError(f"tableau must be a Tableau, but got {tableau!r}.")
    a, b, c, order = tableau
    stages = len(b)
    if stages == 0 or len(a) != stages or len(c) != stages:
        raise ValueError(
            f"a, b and c must have one entry for each stage, but got {len(a)}, {len(b)}, {len(c)}."
        )
    for i, row in enumerate(a):
        if len(row) != i:
            raise ValueError(
                f"The method must be explicit: row {i} of a must have {i} entries, but got {row}."
            )
        if abs(sum(row) - c[i]) > CONSISTENT:
            raise ValueError(f"Must have c[{i}] = sum of row {i} of a, but got c={c} and {row}.")
        if i > 0 and not any(row):
            raise ValueError(f"Row {i} of a must have an entry that is not zero, but got {row}.")
    if not abs(sum(b) - 1) <= CONSISTENT:
        raise ValueError(f"The weights b must sum to 1, but got b={b}.")
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"order must be a positive integer, but got {order!r}.")


CONSISTENT = 1e-6
"""How far the sums of a tableau may be off."""

EULER = Tableau(a=((),), b=(1.0,), c=(0.0,), order=1)
HEUN = Tableau(a=((), (1.0,)), b=(1 / 2, 1 / 2), c=(0.0, 1.0), order=2)
MIDPOINT = Tableau(a=((), (1 / 2,)), b=(0.0, 1.0), c=(0.0, 1 / 2), order=2)
HEUN_3 = Tableau(
    a=((), (1 / 3,), (0.0, 2 / 3)), b=(1 / 4, 0.0, 3 / 4), c=(0.0, 1 / 3, 2 / 3), order=3
)
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


def moved(x: Tensor, v: Tensor, h: float | Tensor) -> Tensor:
    """`x + h v`: how a layer, a Runge-Kutta stage and a costate move."""
    return x.add(v, alpha=h) if isinstance(h, (int, float)) else x + h * v


def stage_state(
    tableau: Tableau, i: int, h: float | Tensor, x: Tensor, slopes: Sequence[Tensor]
) -> Tensor:
    """`X_i = x + h sum_{j<i} a_ij k_j`, the state of stage `i`.

    After the last stage, the step goes to `x + h sum_i b_i k_i`: see `moved` and `weighted`.

    Arguments:
        tableau: The method.
        i: The stage.
        h: The width of the step, a number or a tensor that broadcasts with the state.
        x: The state that it starts from.
        slopes: The slopes `k_j` of the stages before.
    """
    return moved(x, weighted(tableau.a[i], slopes), h) if slopes else x


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
