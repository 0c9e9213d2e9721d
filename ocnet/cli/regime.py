"""`ocnet regime`: what initialisation and scaling do to a deep network."""

from typing import Annotated

import torch
import typer

from .. import plot
from ..scaling.diagnosis import diagnose
from . import checks
from .options import (
    new_folder,
    OutOption,
    problem_from,
    reported,
    SeedOption,
    SetOption,
    SpecArgument,
    StepsOption,
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("regime")(reported(regime_command))


def regime_command(
    spec: SpecArgument,
    settings: SetOption = None,
    steps: StepsOption = None,
    beta: Annotated[
        float | None,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(-10, 10),
            help="How the step shrinks with depth, L**-beta; from the step if not given.",
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

    For example:  ocnet regime problems.depth_scaling:Res3 --set beta=1.0
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    problem = problem_from(spec, settings)
    found = diagnose(problem, n=steps, beta=beta, draws=draws, generator=generator)
    typer.echo(found.text())
    if out is not None:
        folder = new_folder(out)
        plot.diagnosis(found).savefig(folder / "regime.png", dpi=160)
        (folder / "regime.txt").write_text(found.text() + "\n", encoding="utf-8")
        typer.echo(f"\npicture: {folder / 'regime.png'}")
