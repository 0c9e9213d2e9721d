"""Checks of arguments: one line names the wrong argument and its value."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def shown(value: Any) -> str:
    """A value as a message shows it: in one short line."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_kind(name: str, value: Any, *kinds: type) -> None:
    """Raises a TypeError unless an argument is of one of some classes.

    Arguments:
        name: The argument's name.
        value: Its value.
        kinds: The classes.
    """
    if not isinstance(value, kinds):
        names = ["None" if kind is type(None) else article(kind.__name__) for kind in kinds]
        wanted = " or ".join(names)
        raise TypeError(f"{name} must be {wanted}, but got {shown(value)}.")


def article(noun: str) -> str:
    """A noun with its article."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def check_generator(generator: Any) -> None:
    """Raises a TypeError unless an argument is a torch.Generator or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, but got {shown(generator)}.")


def check_function(name: str, value: Any) -> None:
    """Raises a TypeError unless an argument can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function or a module, but got {shown(value)}.")


def check_tensor(name: str, value: Any, kind: str = "floating point numbers") -> None:
    """Raises a TypeError unless an argument is a tensor of floating point numbers."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor of {kind}, but got {shown(value)}.")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a tensor of {kind}, but got {value.dtype}.")


def check_sequence(name: str, value: Any, kind: str = "numbers") -> None:
    """Raises a TypeError unless an argument is a sequence other than a string."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, Tensor)):
        raise TypeError(f"{name} must be a sequence of {kind}, but got {shown(value)}.")


def check_all(name: str, values: Any, kind: type) -> None:
    """Raises a TypeError unless an argument holds several things of a class.

    Arguments:
        name: The argument's name.
        values: A sequence of them, or a dictionary of them by name.
        kind: The class.
    """
    some = values.values() if isinstance(values, Mapping) else values
    if isinstance(some, (str, bytes, Tensor)) or not isinstance(some, Iterable):
        raise TypeError(f"{name} must hold {article(kind.__name__)} each, but got {shown(values)}.")
    for value in some:
        check_kind(f"Each of {name}", value, kind)


def as_number(name: str, value: Any) -> float:
    """A number, or a tensor that holds one, as a Python float.

    Raises:
        TypeError: If it is neither.
    """
    try:
        if isinstance(value, (str, bool)):
            raise TypeError
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, but got {shown(value)}.") from None


def check_range(name: str, value: Any, low: str, high: str) -> None:
    """Raises a TypeError or ValueError unless a number lies between two others.

    Arguments:
        name: The argument's name.
        value: Its value.
        low, high: The bounds with their signs, such as "0 <" and "< inf"; either may be empty.
    """
    number = as_number(name, value)
    above, below = low.split(), high.split()
    inside = not math.isnan(number)
    if above:
        bound = float(above[0])
        inside = inside and (number > bound if above[1] == "<" else number >= bound)
    if below:
        bound = float(below[1])
        inside = inside and (number < bound if below[0] == "<" else number <= bound)
    if not inside:
        need = " ".join([*above, name, *below])
        raise ValueError(f"Must have {need}, but got {name}={shown(value)}.")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raises a TypeError or ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, but got {shown(value)}.")
    if value < least:
        raise ValueError(f"Must have {name} >= {least}, but got {name}={value}.")


def check_integer(name: str, value: object, least: int = 1, most: int = 1_000_000) -> None:
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


def as_device(device: Any) -> torch.device:
    """A device, or the one that a name means.

    Raises:
        TypeError, ValueError: If there is no such device.
    """
    check_kind("device", device, str, torch.device)
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(
            f'device must be such as "cpu", "cuda" or "cuda:0", but got {device!r}.'
        ) from None


def check_float_type(dtype: Any) -> None:
    """Raises a TypeError unless an argument is a type of floating point numbers."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a type of floating point numbers, but got {shown(dtype)}.")
