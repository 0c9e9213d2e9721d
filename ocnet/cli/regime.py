"""`ocnet regime`: what initialisation and scaling do to a deep network."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from .. import plot
from ..control import Control
from ..init import parse_kind
from ..problem import Problem
from ..scaling.diagnosis import diagnose
from . import checks
from .options import (
    new_folder,
    OutOption,
    problem_from,
    reported,
    SeedOption,
    SetOption,
    StepsOption,
)
from .subject import subject_of_run


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("regime")(reported(regime_command))


def regime_command(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|RUN",
            callback=checks.problem_or_run,
            help="A problem, or the folder of a run: its trained network is measured as it is.",
        ),
    ],
    settings: SetOption = None,
    steps: StepsOption = None,
    depths: Annotated[
        list[int] | None,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(2),
            help="A depth to draw networks of; may be given several times.",
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(-10, 10),
            help="How the step shrinks with depth, L**-beta; from the step if not given.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="KIND",
            callback=checks.kind,
            help="Initialise the weights so: iid, iid:gaussian, fbm:0.8, smooth:rbf:0.1, repeated.",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(1),
            help="Controls to draw at each depth.",
        ),
    ] = 4,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Name the regime of a network (identity, ODE, SDE, explosion), and say what to change.

    For example:  ocnet regime problems.depth_scaling:Res3 --set beta=1.0 --init fbm:0.8
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    problem, control = (
        network_of_run(Path(spec), settings, kind, depths)
        if Path(spec).is_dir()
        else (problem_from(spec, settings), None)
    )
    chosen = None if kind is None else parse_kind(kind)
    found = diagnose(
        problem, control, n=steps, depths=depths or None, beta=beta, kind=chosen, draws=draws,
        generator=generator,
    )  # fmt: skip
    typer.echo(found.text())
    if out is not None:
        folder = new_folder(out)
        plot.diagnosis(found).savefig(folder / "regime.png", dpi=160)
        (folder / "regime.txt").write_text(found.text() + "\n", encoding="utf-8")
        typer.echo(f"\npicture: {folder / 'regime.png'}")


def network_of_run(
    run: Path, settings: list[str] | None, kind: str | None, depths: list[int] | None
) -> tuple[Problem, Control]:
    """The trained problem and control of a run, and a usage error for options of a SPEC.

    Arguments:
        run: The folder of the run.
        settings, kind, depths: Options that go with a SPEC alone.
    """
    for name, value in (("--set", settings), ("--init", kind), ("--depths", depths)):
        if value:
            raise typer.BadParameter(f"{name} goes with a SPEC, not with a RUN, but got {value}.")
    found = subject_of_run(run, 0, torch.device("cpu"))
    return found.problem, found.control
