"""`ocnet depth RUN`: a trained residual network along its depth."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import plot
from ..analysis.depth import depth_profile
from ..analysis.early_exit import calibrate
from ..networks import borrow_statistics
from . import checks
from .networks import BatchSizeOption, TrainedNetwork
from .options import new_folder, OutOption, reported, SplitOption
from .trust import check_trust, TrustOption


NO_RATE = "No rate is fitted to the distance: that takes two states that differ from the last."


STATISTICS = {
    "own": "each state with statistics of its own",
    "network": "all states with the network's statistics",
}
"""Whose batch-norm statistics the intermediate outputs use, in words."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("depth")(reported(depth))


def depth(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", callback=checks.runs, help="Runs of residual networks."),
    ],
    split: SplitOption = "test",
    batch_size: BatchSizeOption = None,
    statistics: Annotated[
        str,
        typer.Option(
            callback=checks.one_of(*STATISTICS),
            help="Whose batch-norm statistics the intermediate outputs use: own, which each state "
            "has for itself, or network, those of the last state.",
        ),
    ] = "own",
    trust: TrustOption = False,
    out: OutOption = None,
) -> None:
    """Read trained residual networks along their depth.

    Tables: loss, accuracy and change of every intermediate output, weights, distance to the last
    state; then accuracy against average depth for predictions that leave early, calibrated on
    the validation data. Pictures and arrays go to RUN/depth, or to --out.
    """
    out = checks.usable(runs[0] / "depth" if out is None else out) or runs[0]
    check_trust(runs, trust)
    trained = dict(zip(names(runs), map(TrainedNetwork, runs), strict=True))
    profiles = {}
    for name, one in trained.items():
        sample = one.data(split)
        if statistics == "network":
            borrow_statistics(one.network)
        profiles[name] = profile = depth_profile(one.network, sample, batch_size)
        typer.echo(f"{name}: {split} data, {STATISTICS[profile.statistics]}\n{profile.table()}")
        typer.echo(f"{profile.turnpike or NO_RATE}\n")
        exits = calibrate(one.network, one.data("validation"))
        typer.echo(f"{name}: predictions that leave early\n{exits.table(sample)}\n")
    pictures = {
        "outputs": plot.depth_outputs(profiles),
        "changes": plot.depth_changes(profiles),
        "turnpike": plot.turnpike(profiles),
    }
    # Last, so that an earlier error leaves no folder behind.
    new_folder(out)
    for name, profile in profiles.items():
        np.savez(out / f"{name}.npz", **vars(profile))
    for name, picture in pictures.items():
        picture.savefig(out / f"{name}.png", dpi=160)
    typer.echo(f"pictures and arrays: {out}")


def names(runs: list[Path]) -> list[str]:
    """A name for each run: its folder, with the folders above it where two have the same name.

    Raises:
        ValueError: If a run is given twice.
    """
    parts = [run.resolve().parts for run in runs]
    for n in range(1, max(map(len, parts)) + 1):
        found = ["-".join(some[-n:]) for some in parts]
        if len(set(found)) == len(found):
            return found
    raise ValueError(f"Each run can be given only once, but got {', '.join(map(str, runs))}.")
