"""The code that a run's folder makes a command execute: it is named, and refused if it is foreign.

A run names its problem, a Python file or a module, and whoever works with the run executes that. A
folder that came from elsewhere may name anything.
"""

import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated

import typer

from ..run import RunFolder


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Execute the problem's code also where it is inside RUN or outside of the working "
        "directory.",
    ),
]


def check_trust(runs: Iterable[Path], trusted: bool) -> None:
    """Tells what code the problems of some runs execute, and refuses foreign code.

    Arguments:
        runs: The folders of the runs.
        trusted: Whether the user trusts them.

    Raises:
        typer.BadParameter: If a run's code is a file inside its folder or outside of the working
            directory, or a module inside its folder.
    """
    for run in runs:
        spec = RunFolder(run).config().problem
        code = code_of(spec)
        if code is None:
            continue
        typer.echo(f"ocnet: {run} executes {code}", err=True)
        place = spec.rpartition(":")[0]
        reason = None
        if code.is_relative_to(run.resolve()):
            reason = "is inside the folder of the run"
        elif place.endswith(".py") and not code.is_relative_to(Path.cwd().resolve()):
            reason = f"is outside of the working directory {Path.cwd()}"
        if reason is not None and not trusted:
            raise typer.BadParameter(
                f"{run} would execute {code}, which {reason}: give --trust if you trust it."
            )


def code_of(spec: str) -> Path | None:
    """The file that a SPEC makes Python execute, found without executing anything; None if none.

    For a module, it is found from the place of the outermost package and the parts of its name.
    """
    place = spec.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place).resolve()
    first, *rest = place.split(".")
    # As the catalogue looks it up: in the working directory first.
    found = PathFinder.find_spec(first, [str(Path.cwd()), *sys.path])
    if found is None:
        return None
    roots = list(found.submodule_search_locations or ())
    if not roots:
        return None if found.origin is None else Path(found.origin).resolve()
    path = Path(roots[0]).joinpath(*rest)
    file = path.with_suffix(".py") if rest else path / "__init__.py"
    return (file if file.is_file() else path).resolve()
