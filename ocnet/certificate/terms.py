"""The terms of a depth certificate: spreads, orders, advice, optima, and numbers in words."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor


CLOSE = 0.05
"""What lies within this share of its scale is called close."""

Outcome = Literal["behaves", "does not", "not asymptotic yet", "could not be estimated"]


class Spread(NamedTuple):
    """The spread of a gap over the samples.

    Attributes:
        worst: The largest.
        most: The 95% quantile.
        mean: The mean over all samples.
    """

    worst: float
    most: float
    mean: float

    @classmethod
    def of(cls, gaps: Tensor) -> "Spread":
        """The spread of the gaps of all samples, shape `(batch,)`."""
        # The next larger gap is taken, because infinite gaps cannot be interpolated.
        ranked = gaps.sort().values
        most = ranked[math.ceil(0.95 * (len(ranked) - 1))]
        return cls(ranked[-1].item(), most.item(), gaps.mean().item())


class Order(NamedTuple):
    """The observed order of the worst gap, from twice as many steps.

    Attributes:
        value: The order, or None.
        nominal: The order of the method.
        note: Why there is none.
    """

    value: float | None
    nominal: int
    note: str

    @property
    def is_asymptotic(self) -> bool:
        """Whether the gap falls as the method's should."""
        return self.value is not None

    def __str__(self) -> str:
        return self.note if self.value is None else f"{self.value:.2f}"

    @property
    def brief(self) -> str:
        """The order in a cell of a table: a number, "not yet", or a dash."""
        if self.value is not None:
            return f"{self.value:.2f}"
        return "not yet" if self.note.startswith("not asymptotic yet") else "-"


class Advice(NamedTuple):
    """A depth that was run.

    Attributes:
        n: The steps.
        gap: The worst sample's gap there, the larger of its gaps of path and cost.
        is_enough: Whether the network of that depth behaves like its ODE.
        missed_knots: How many of the control's knots its steps do not end at.
    """

    n: int
    gap: float
    is_enough: bool
    missed_knots: int = 0


@dataclass(frozen=True)
class Optima:
    """Optimal costs of the discretised problem at several depths; costs are means over the batch.

    Attributes:
        steps: The numbers of steps.
        costs: The optimal cost with each.
        optimum: The estimate of the continuous optimum by extrapolation, or None.
        note: How it was estimated, or why it could not be.
        euler: The optimal cost with as many Euler steps as the solution has, or None.
        at: Which of `steps` the solution has.
        scale: What a difference of costs is measured against.
    """

    steps: tuple[int, ...]
    costs: tuple[float, ...]
    optimum: float | None
    note: str
    euler: float | None = None
    at: int = -1
    scale: float = 1.0

    def off(self, cost: float | None) -> float | None:
        """How far a cost is from the continuous optimum, relative to the scale."""
        if self.optimum is None or cost is None or not math.isfinite(cost):
            return None
        return abs(cost - self.optimum) / self.scale


def extrapolated(costs: tuple[float, ...], scale: float) -> tuple[float | None, str]:
    """Richardson's estimate from three grids, each twice as fine; None if they do not fit an order.

    Arguments:
        costs: The optimal costs, the coarsest first.
        scale: What counts as large: changes below 1e-9 of it are rounding.
    """
    first, second = costs[0] - costs[1], costs[1] - costs[2]
    if not all(map(math.isfinite, costs)):
        return None, "not all of the optima are finite"
    if abs(second) <= 1e-9 * scale:
        return costs[2], "does not change any more"
    ratio = first / second
    order = math.log2(ratio) if ratio > 0 else -math.inf
    if not 0.5 <= order <= 4.7:
        return None, f"not asymptotic yet: it changes by {-first:.2g}, then by {-second:.2g}"
    return costs[2] - second / (2.0 ** round(order) - 1), f"order {order:.2f}"


def told(gap: float) -> str:
    """A gap in words: per cent, or times its scale; never more digits than it has."""
    if not math.isfinite(gap):
        return "more than any number (it is not finite)"
    if gap >= 10:
        return f"{gap:.2g} times the scale"
    if gap < 1e-10:
        return "less than 1e-8%"
    return f"{100 * gap:.3g}%" if gap >= 1 else f"{100 * gap:.2g}%"


def up_to(gap: float) -> str:
    """A gap as a bound, in words."""
    words = told(gap)
    return words if words.startswith(("less", "more")) else f"up to {words}"


def number(value: float | None, note: str = "not asymptotic yet") -> str:
    """A cost, or why there is none."""
    if value is None:
        return note
    return f"{value:.8g}" if math.isfinite(value) else "not finite"
