"""Public functions, classes and methods say what they do, and what their arguments are."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
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


def functions(value: Any, name: str) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """A public function, or the public methods of a class, each with its docstring."""
    if inspect.isfunction(value):
        yield name, value, value.__doc__ or ""
    if not inspect.isclass(value) or not value.__module__.startswith("ocnet"):
        return
    for key, member in vars(value).items():
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function) or (key[0] == "_" and key != "__init__"):
            continue
        bases = [vars(base).get(key) for base in value.__mro__]
        docs = [value.__doc__] if key == "__init__" else [base.__doc__ for base in bases if base]
        yield f"{name}.{key}", function, next((doc for doc in docs if doc), "")


def block(docstring: str) -> str:
    """The lines of a docstring's block of arguments or attributes."""
    found = re.search(
        r"^(?:Arguments|Attributes):\n((?: +.*\n|\n)+)", inspect.cleandoc(docstring) + "\n", re.M
    )
    return found[1] if found else ""


@pytest.mark.parametrize("place", public_places())
def test_four_arguments_have_a_block_that_names_each(place: str) -> None:
    module = importlib.import_module(place)
    missing = []
    for name in module.__all__:
        for label, function, docstring in functions(getattr(module, name), name):
            wanted = set(inspect.signature(function).parameters) - {"self", "cls"}
            if not function.__module__.startswith("ocnet") or len(wanted) < 4:
                continue
            rows = re.findall(r"^ +(\*{0,2}\w+(?:, \*{0,2}\w+)*): ", block(docstring), re.M)
            named = {part.strip("*") for row in rows for part in row.split(", ")}
            missing += [f"{label}: {sorted(wanted - named)}"] * bool(wanted - named)
    assert not missing


@pytest.mark.parametrize("place", public_places())
def test_no_argument_is_described_by_its_name_alone(place: str) -> None:
    """Such as "problem: The problem."; a line states a shape, a unit, a constraint or a use."""
    module = importlib.import_module(place)
    empty = []
    for name in module.__all__:
        for label, _, docstring in functions(getattr(module, name), name):
            rows = re.findall(r"^ +(\w+): (?:The|A|An) (\w+)\.$", block(docstring), re.M)
            empty += [f"{label}: {row}" for row in rows if row[0] == row[1]]
    assert not empty
