"""What all commands share: their options, the folder they write to, and how errors are told."""

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..catalogue import load_problem
from ..problem import Problem


SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="The problem: module:Class or path/to/file.py:Class. `ocnet problems` lists some.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", "-n", help="Steps of the discretisation (layers of the network)."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="An argument of the problem's constructor; may be given several times.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
DeviceOption = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, mps or cuda:1.", metavar="DEVICE")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="An empty or new folder for all that the command writes."
    ),
]


def problem_from(
    spec: str,
    settings: list[str] | None,
    load: Callable[[str, Iterable[str]], Problem] = load_problem,
) -> Problem:
    """The problem that the user named, or a usage error in one line."""
    try:
        return load(spec, settings or ())
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(one_line(error)) from None


def device_from(name: str) -> torch.device:
    """The device that the user named; "auto" is the first accelerator, or else the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ValueError):
        raise typer.BadParameter(f"--device {name} is not on this machine.") from None
    return torch.device(name)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Makes new tensors of this type while it lasts: problems make theirs in the default one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def new_folder(out: Path) -> Path:
    """The folder to write to; a folder that holds files is refused, so nothing is overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise typer.BadParameter(f"--out {out} is not empty; choose a new folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"--out {out} cannot be made: {error.strerror}.") from None
    return out


def reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, telling what goes wrong in one line: exit code 2 for usage, 1 for the rest.

    The environment variable OCNET_TRACEBACK=1 shows the whole traceback, for whoever debugs a
    problem of their own.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if os.environ.get("OCNET_TRACEBACK"):
                raise
            typer.echo(f"ocnet: error: {one_line(error)}{origin(error)}", err=True)
            raise typer.Exit(1) from None

    return wrapped


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def origin(error: Exception) -> str:
    """Where an error comes from, if its message is not one that ocnet wrote for the user."""
    if isinstance(error, (ValueError, TypeError, ArithmeticError, OSError)) and not isinstance(
        error, UnicodeError
    ):
        return ""
    frame = traceback.extract_tb(sys.exc_info()[2])[-1]
    return f" ({type(error).__name__} at {Path(frame.filename).name}:{frame.lineno})"
