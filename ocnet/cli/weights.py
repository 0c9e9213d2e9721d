"""`ocnet weights`: what training did to the weights over depth."""

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from .. import plot
from ..run import Job, load_checkpoint, RunFolder
from ..scaling import layer_weights, training_effect
from . import checks
from .networks import tell_changes
from .options import new_folder, OutOption, reported


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("weights")(reported(weights_command))


def weights_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            callback=checks.runs,
            help="Folders of runs, of one depth or several.",
        ),
    ],
    out: OutOption = None,
) -> None:
    """Compare the weights over depth before and after training; over several runs fit exponents.

    For example:  ocnet weights runs/depth-16 runs/depth-32 runs/depth-64 --out weights
    """
    pairs = [before_and_after(run) for run in runs]
    pairs.sort(key=lambda pair: len(pair[0]))
    effect = training_effect([before for before, _ in pairs], [after for _, after in pairs])
    typer.echo(effect.text())
    if out is not None:
        folder = new_folder(out)
        plot.training_effect(effect).savefig(folder / "weights.png", dpi=160)
        (folder / "weights.txt").write_text(effect.text() + "\n", encoding="utf-8")
        typer.echo(f"\npicture: {folder / 'weights.png'}")


def before_and_after(run: Path) -> tuple[Tensor, Tensor]:
    """The weights of a run as its seed drew them, and the trained ones.

    Raises:
        FileNotFoundError: If there is no checkpoint yet.
    """
    folder = RunFolder(run)
    job = Job(folder.config())
    before = layer_weights(job.control)
    state = load_checkpoint(folder.best) if folder.best.exists() else folder.latest()
    if state is None:
        raise FileNotFoundError(f"{run} has no checkpoint yet: `ocnet resume {run}` first.")
    job.load_model(state.get("job", state))
    tell_changes(run, state, job)
    return before, layer_weights(job.control)
