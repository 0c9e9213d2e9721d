"""Finds problems: one by the name that a user types, or all that a package holds."""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from .problem import Problem
from .registry import as_object


__all__ = ["construct", "load_problem", "load_trainable_problem", "problem_class", "problems_of"]


def load_problem(spec: str, settings: Iterable[str] = ()) -> Problem:
    """The problem that `module:Class` or `path/to/file.py:Class` names.

    Arguments:
        spec: Where the class is. Modules are looked up in the working directory first.
        settings: Arguments of its constructor, each as "key=value"; a value is a Python literal,
            an initialisation or a loss such as `FractionalNoise(0.8)`, or else a string.

    Raises:
        ValueError: If something cannot be found or does not fit; the message names it.
        TypeError: If the class is not a problem.
    """
    return construct(problem_class(spec), dict(map(parse_setting, settings)))


def problem_class(spec: str) -> type[Problem]:
    """The class that a SPEC names; a file is run once by each call.

    Raises:
        ValueError, TypeError: As `load_problem`.
    """
    place, colon, name = spec.rpartition(":")
    if not (place and colon and name):
        raise ValueError(f"SPEC must be module:Class or path/to/file.py:Class, but got {spec!r}.")
    module = module_from_file(place) if place.endswith(".py") else module_from_name(place)
    kind = getattr(module, name, None)
    if kind is None:
        known = ", ".join(c.__name__ for c in problems_in(module)) or "none"
        raise ValueError(f"{place} has no class {name!r}; its problems are: {known}.")
    if not (inspect.isclass(kind) and issubclass(kind, Problem)):
        raise TypeError(f"{spec} is not an ocnet.Problem.")
    return kind


def load_trainable_problem(spec: str, settings: Iterable[str] = ()) -> Problem:
    """Like `load_problem`, but refuses problems with constraints, which training does not enforce.

    Raises:
        ValueError: Also if the problem has constraints.
    """
    return trainable(spec, load_problem(spec, settings))


def trainable(spec: str, problem: Problem) -> Problem:
    """The problem itself, if it can be trained.

    Raises:
        ValueError: If it has constraints.
    """
    if problem.constraints:
        raise ValueError(
            f"{spec} has constraints ({', '.join(problem.constraints)}), which training does not "
            "keep: use `ocnet solve`."
        )
    return problem


def construct(kind: type[Problem], arguments: dict[str, Any]) -> Problem:
    """A problem made from named arguments, with a clear line for those it does not take."""
    if inspect.isabstract(kind):
        missing = ", ".join(sorted(kind.__abstractmethods__))
        raise TypeError(f"{kind.__name__} must implement: {missing}.")
    parameters = inspect.signature(kind).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in arguments:
            if name not in parameters:
                known = ", ".join(parameters) or "none"
                raise ValueError(f"{kind.__name__} takes no argument {name!r}, only: {known}.")
    return kind(**arguments)


def parse_setting(setting: str) -> tuple[str, Any]:
    """The name and the value in "key=value"."""
    key, equals, text = setting.partition("=")
    if not (equals and key.isidentifier()):
        raise ValueError(f"A setting must be key=value, but got {setting!r}.")
    return key, as_object(text)


def module_from_name(name: str) -> ModuleType:
    """An importable module, looked up in the working directory first."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"There is no module {name!r}; run from the folder that holds it, or name a file: "
                "path/to/file.py:Class."
            ) from None
        raise


def module_from_file(path: str) -> ModuleType:
    """A module read from a file."""
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path!r}.")
    name = Path(path).stem
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None, "a file ending in .py has a loader"
    module = importlib.util.module_from_spec(found)
    sys.modules.setdefault(name, module)
    found.loader.exec_module(module)
    return module


def problems_in(module: ModuleType) -> list[type[Problem]]:
    """The concrete problems that a module defines itself, in the order of the file."""
    return [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, Problem)
        and kind.__module__ == module.__name__
        and not inspect.isabstract(kind)
        and not kind.__name__.startswith("_")
    ]


def problems_of(package: str = "problems") -> dict[str, type[Problem]]:
    """Every concrete problem of a package, by its SPEC."""
    root = module_from_name(package)
    names = [m.name for m in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.")]
    modules = [root, *map(importlib.import_module, sorted(names))]
    return {f"{m.__name__}:{kind.__name__}": kind for m in modules for kind in problems_in(m)}
