"""Public functions, classes and methods say what they do, or their base's definition does."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.public import public_places


def undocumented(value: Any, name: str) -> Iterator[str]:
    """The names of a public function or class, and of its methods, that have no docstring."""
    if inspect.isfunction(value) and not value.__doc__:
        yield name
    if not inspect.isclass(value) or not value.__module__.startswith("ocnet"):
        return
    if not vars(value).get("__doc__"):
        yield name
    bases = [base for base in value.__mro__ if base.__module__.startswith("ocnet")]
    for member in {member for base in bases for member in vars(base) if member[0] != "_"}:
        found = [vars(base)[member] for base in bases if member in vars(base)]
        if any(map(is_method, found)) and not any(one.__doc__ for one in found):
            yield f"{name}.{member}"


def is_method(value: object) -> bool:
    """Whether a member of a class is a method or a property."""
    return inspect.isroutine(value) or isinstance(value, property)


@pytest.mark.parametrize("place", public_places())
def test_what_is_public_has_a_docstring(place: str) -> None:
    module = importlib.import_module(place)
    assert not [n for name in module.__all__ for n in undocumented(getattr(module, name), name)]
