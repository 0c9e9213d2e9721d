"""`ocnet bounds RUN`: bounds on a network's losses from its SubResNets."""

from pathlib import Path
from typing import Annotated

import typer

from .. import plot
from ..analysis.bounds import loss_bounds
from . import checks
from .networks import NetworkRun, TrainedNetwork
from .options import new_folder, OutOption, reported, SplitOption
from .trust import check_trust, TrustOption


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("bounds")(reported(bounds))


def bounds(
    run: NetworkRun,
    shallow: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SHALLOW...]",
            callback=checks.runs,
            help="Runs of shallower networks, trained without stage cost; the network's own "
            "SubResNets if there are none.",
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(0),
            help="Weight of the stage cost; as trained, or 0.02.",
        ),
    ] = None,
    split: SplitOption = "train",
    trust: TrustOption = False,
    out: OutOption = None,
) -> None:
    """Bound the losses of a trained residual network by those of shallower ones.

    A table with every M and a picture in RUN/bounds, or in --out. The theorems assume globally
    optimal training: here the bounds are evaluated; `ocnet.analysis.growth.grow` certifies them.
    """
    out = checks.usable(run / "bounds" if out is None else out) or run
    check_trust([run, *(shallow or ())], trust)
    trained = TrainedNetwork(run)
    others = [TrainedNetwork(path).network for path in shallow or ()]
    if gamma is None:
        gamma = max(trained.network.problem.gamma, default=0.0) or 0.02
    found = loss_bounds(
        trained.network,
        trained.data(split),
        gamma,
        trained.config.descent.weight_decay,
        {network.depth: network for network in others} or None,
    )
    new_folder(out)
    typer.echo(f"N = {found.depth}, gamma = {gamma:g}, {split} data\n{found.table()}")
    typer.echo(found.verdict)
    plot.bounds(found).savefig(out / "bounds.png", dpi=160)
    typer.echo(f"picture: {out / 'bounds.png'}")
