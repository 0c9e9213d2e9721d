"""What the settings of a method may be: one line names the setting and the value that is not."""

import math
from numbers import Integral, Real


MOST_ITERATIONS = 1_000_000
"""The most iterations that may be asked for: what counts them also makes room for each."""

LEAST_TOLERANCE, MOST_TOLERANCE = 1e-15, 0.1
"""A smaller residual is lost in rounding; a larger one says nothing about an optimum."""


def check_integer(name: str, value: object, least: int = 1, most: int = MOST_ITERATIONS) -> None:
    """Raises unless a setting is an integer between two others.

    Arguments:
        name: The setting's name.
        value: Its value.
        least, most: The smallest and the largest value that it may have.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is too small or too large.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, but got {value!r}.")
    if not least <= int(value) <= most:
        raise ValueError(f"{name} must be from {least} to {most}, but got {value!r}.")


def check_real(name: str, value: object, least: float, most: float) -> None:
    """Raises unless a setting is a number between two others.

    Arguments:
        name: The setting's name.
        value: Its value.
        least, most: The smallest and the largest value that it may have.

    Raises:
        TypeError: If it is not a real number.
        ValueError: If it is NaN, too small or too large.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, but got {value!r}.")
    if math.isnan(value) or not least <= float(value) <= most:
        raise ValueError(f"{name} must be from {least:g} to {most:g}, but got {value!r}.")


def check_tolerance(value: object) -> None:
    """Raises a TypeError or ValueError unless a tolerance is a number from 1e-15 to 0.1."""
    check_real("tolerance", value, LEAST_TOLERANCE, MOST_TOLERANCE)
