"""What all commands share: their options, the folder they write to, and how errors are told."""

import functools
import os
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..catalogue import load_problem
from ..origin import is_own
from ..problem import Problem
from . import checks


SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        callback=checks.problem_spec,
        help="The problem: module:Class or path/to/file.py:Class. `ocnet problems` lists some.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps",
        "-n",
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Steps of the discretisation (layers of the network).",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        callback=checks.named_settings,
        help="An argument of the problem's constructor; may be given several times.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.seed,
        help="Seed of everything random.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        callback=checks.device,
        metavar="DEVICE",
        help="Where to compute: auto, cpu, cuda, mps or cuda:1.",
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        callback=checks.one_of("train", "validation", "test"), help="train, validation or test."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        callback=checks.usable,
        help="An empty or new folder for all that the command writes.",
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
        raise wrong_problem(spec, settings, error) from None


def wrong_problem(spec: str, settings: list[str] | None, error: Exception) -> typer.BadParameter:
    """The usage error that says which SPEC and which settings do not go together."""
    given = "".join(f" --set {text}" for text in settings or ())
    return typer.BadParameter(f"{one_line(error)}{origin(error)}", param_hint=f"SPEC {spec}{given}")


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
    """A context in which new tensors have this type: problems make theirs in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def new_folder(out: Path) -> Path:
    """The folder to write to; a folder that holds files is refused, so nothing is overwritten."""
    checks.usable(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be made: {error.strerror}.") from None
    return out


def reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, reporting what goes wrong in one line: exit code 2 for usage, 130 for an
    interrupt, 1 for the rest.

    The environment variable OCNET_TRACEBACK=1 shows the whole traceback, for whoever debugs a
    problem of their own.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            if os.environ.get("OCNET_TRACEBACK"):
                raise
            typer.echo("ocnet: interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if os.environ.get("OCNET_TRACEBACK"):
                raise
            typer.echo(f"ocnet: error: {one_line(error)}{origin(error)}", err=True)
            raise typer.Exit(1) from None

    return wrapped


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return textwrap.shorten(str(error), 600, placeholder=" ...") or type(error).__name__


def origin(error: Exception) -> str:
    """Where an error comes from, if its message is not one that ocnet wrote for the user.

    That is the last line of the user's own code, if any was involved, or else the last line of all.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, SyntaxError):
        return ""
    last = frames[-1]
    told = (ValueError, TypeError, ArithmeticError, OSError)
    by_ocnet = Path(last.filename).is_relative_to(Path(__file__).parents[1])
    if by_ocnet and isinstance(error, told) and not isinstance(error, UnicodeError):
        return ""
    frame = next((f for f in reversed(frames) if is_own(f.filename)), last)
    return f" ({type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {frame.line})"
