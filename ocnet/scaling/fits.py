"""Exponents of power laws with their error bars."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Exponent(NamedTuple):
    """An exponent that was measured.

    Attributes:
        value: The exponent.
        error: Its error bar, two standard errors.
    """

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} +- {self.error:.2f}"

    @property
    def is_flat(self) -> bool:
        """Whether it is zero within its error bar."""
        return abs(self.value) <= self.error


UNKNOWN = Exponent(math.nan, math.nan)
"""Where nothing can be fitted."""


def fitted(depths: Sequence[float], logs: Float[Tensor, "depth draw"]) -> Exponent:
    """`q` in `value ~ depth^q` by least squares over all draws, from logarithms of the values.

    The error bar is two standard errors, from the residuals around the line: noise and curvature.

    Arguments:
        depths: The depths.
        logs: `log value` of each draw at each depth.
    """
    y = logs.double()
    if len(depths) < 2 or not torch.isfinite(y).all():
        return UNKNOWN
    x = torch.tensor(depths, dtype=torch.float64).log()[:, None].expand_as(y)
    dx, dy = x - x.mean(), y - y.mean()
    slope = (dx * dy).sum() / dx.square().sum()
    free = y.numel() - 2
    variance = (dy - slope * dx).square().sum() / free if free else torch.tensor(math.nan)
    return Exponent(slope.item(), 2 * (variance / dx.square().sum()).sqrt().item())
