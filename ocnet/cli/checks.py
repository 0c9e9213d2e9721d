"""Checks of options: in an error, typer names the option, and a check the value and its rule.

Each check returns a value that passes, and lets an option that was not given pass.
"""

import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer

from ..init import parse_kind
from ..run.checkpoint import PART
from ..run.lock import LOCK, OWNER


def whole(text: Any) -> int:
    """A whole number as it was typed."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"must be a whole number, but got {text!r}.") from None


def number(text: Any) -> float:
    """A number as it was typed."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number, but got {text!r}.") from None


def at_least(least: int) -> Callable[[Any], Any]:
    """Whole numbers that are not less than a bound."""

    def check(value: Any) -> Any:
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one < least:
                raise typer.BadParameter(f"must be at least {least}, but got {one}.")
        return value

    return check


def between(
    low: float, high: float = math.inf, *, low_itself: bool = False, high_itself: bool = False
) -> Callable[[Any], Any]:
    """Finite numbers in an interval.

    Arguments:
        low, high: Its ends.
        low_itself, high_itself: Whether they belong to it.
    """

    def check(value: Any) -> Any:
        if value is None:
            return value
        above = value >= low if low_itself else value > low
        below = value <= high if high_itself else value < high
        if not (above and below):
            sign, end = ">=" if low_itself else ">", "<=" if high_itself else "<"
            top = f" and {end} {high:g}" if math.isfinite(high) else " and finite"
            raise typer.BadParameter(f"must be {sign} {low:g}{top}, but got {value}.")
        return value

    return check


def one_of(*choices: str) -> Callable[[Any], Any]:
    """One of some words."""

    def check(value: Any) -> Any:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"must be one of {', '.join(choices)}, but got {value!r}.")
        return value

    return check


def named_settings(values: list[str] | None) -> list[str] | None:
    """Texts of the form key=value, each key once."""
    seen = set()
    for text in values or ():
        key, equals, _ = text.partition("=")
        if not (equals and key.isidentifier()):
            raise typer.BadParameter(f"must be key=value, but got {text!r}.")
        if key in seen:
            raise typer.BadParameter(f"{key!r} is given twice, the second time as {text!r}.")
        seen.add(key)
    return values


def problem_spec(value: str) -> str:
    """A text that can name a problem."""
    place, colon, name = value.rpartition(":")
    if not (colon and place and name.isidentifier()):
        raise typer.BadParameter(
            f"SPEC must be module:Class or path/to/file.py:Class, but got {value!r}."
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise typer.BadParameter(f"There is no file {place!r}.")
    return value


def device(value: str) -> str:
    """A device that is on this machine, or "auto"."""
    known = re.fullmatch(r"(auto|cpu|cuda|mps)(:\d+)?", value)
    try:
        if known is None:
            raise ValueError
        if value != "auto":
            torch.empty(0, device=value)
    except (RuntimeError, AssertionError, ValueError):
        reason = "must be on this machine" if known else "must be auto, cpu, cuda, mps or cuda:1"
        raise typer.BadParameter(f"{reason}, but got {value!r}.") from None
    return value


def seed(value: int) -> int:
    """A seed that every generator takes."""
    if not 0 <= value < 2**63:
        raise typer.BadParameter(f"must be >= 0 and < 2**63, but got {value}.")
    return value


def usable(out: Path | None) -> Path | None:
    """A folder that can be written to and is new or empty, before anything is computed for it."""
    if out is None:
        return out
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file and not empty; choose a new folder.")
    if out.is_dir():
        there = [p.name for p in out.iterdir() if p.suffix != PART and p.name not in (LOCK, OWNER)]
        if there:
            raise typer.BadParameter(
                f"{out} is not empty: it holds {there[0]}; choose a new folder."
            )
    parent = next(path for path in (out, *out.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be made: {error.strerror}: {parent}.") from None
    return out


def run(path: Path) -> Path:
    """The folder of a run."""
    if not path.is_dir():
        raise typer.BadParameter(f"There is no folder {str(path)!r}.")
    if not (path / "config.json").is_file():
        raise typer.BadParameter(f"{path} is not a run: it has no config.json.")
    return path


def problem_or_run(value: str) -> str:
    """A text that can name a problem, or the folder of a run."""
    return str(run(Path(value))) if Path(value).is_dir() else problem_spec(value)


def kind(text: str | None) -> str | None:
    """The words of an initialisation."""
    if text is not None:
        try:
            parse_kind(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return text


def runs(paths: list[Path] | None) -> list[Path] | None:
    """Folders of runs, each given once."""
    given = paths or []
    for path in given:
        run(path)
    twice = [path for path in given if sum(os.path.samefile(path, p) for p in given) > 1]
    if twice:
        raise typer.BadParameter(f"each run can be given only once, but got {twice[0]} twice.")
    return paths


def image_folder(path: Path | None) -> Path | None:
    """A folder with data."""
    if path is not None and not path.is_dir():
        raise typer.BadParameter(f"There is no folder {str(path)!r}.")
    return path
