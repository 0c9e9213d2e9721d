"""Checks of a method's settings: one line names the wrong setting and its value."""

from .._arguments import check_real


LEAST_TOLERANCE, MOST_TOLERANCE = 1e-15, 0.1
"""A smaller residual is lost in rounding; a larger one says nothing about an optimum."""


def check_tolerance(value: object) -> None:
    """Raises a TypeError or ValueError unless a tolerance is a number from 1e-15 to 0.1."""
    check_real("tolerance", value, LEAST_TOLERANCE, MOST_TOLERANCE)
