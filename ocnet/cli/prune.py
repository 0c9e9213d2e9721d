"""`ocnet prune RUN`: the shallowest network within a tolerance, and blocks that can go."""

from collections.abc import Callable
from typing import Annotated

import torch
import typer

from .. import plot
from ..analysis.criteria import (
    at_random,
    last,
    least_angle,
    least_cost,
    least_distance,
    least_readout,
    tried,
)
from ..analysis.pruning import accuracy, prune
from ..analysis.removal import Choice, Removal, remove_blocks
from ..networks import ResNet, save_network
from ..problem import Sample
from . import checks
from .networks import NetworkRun, TrainedNetwork
from .options import new_folder, OutOption, reported, SeedOption
from .trust import check_trust, TrustOption


CRITERIA = ("try", "costate", "distance", "angle", "readout", "last", "random")
"""The ways to choose the block that is removed next."""

TRIED_ON = 1000
"""The most validation samples on which blocks are chosen; the choice is checked on all of them."""


def choices(sample: Sample, seed: int) -> dict[str, Choice]:
    """The criteria of `CRITERIA` on a sample."""
    some = Sample(*(None if z is None else z[:TRIED_ON] for z in sample))  # pyright: ignore
    generator = torch.Generator().manual_seed(seed)
    found = (
        tried(some), least_cost(some), least_distance(some), least_angle(some),
        least_readout(some), last, at_random(generator),
    )  # fmt: skip
    return dict(zip(CRITERIA, found, strict=True))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("prune")(reported(prune_command))


def prune_command(
    run: NetworkRun,
    tolerance: Annotated[
        float,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(0, 100, low_itself=True, high_itself=True),
            help="Accuracy that may be lost on the validation data, in points.",
        ),
    ] = 0.5,
    tune: Annotated[
        int,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(0),
            help="Epochs of fine-tuning after pruning.",
        ),
    ] = 0,
    inside: Annotated[
        int,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(0),
            help="Also remove at most so many blocks inside the stages, one at a time.",
        ),
    ] = 0,
    criterion: Annotated[
        str,
        typer.Option(
            callback=checks.one_of(*CRITERIA),
            help="Which block goes next: try (the loss without each), costate (its first-order "
            "change), distance, angle, readout, last or random.",
        ),
    ] = "try",
    every: Annotated[
        bool, typer.Option("--compare", help="Also show what the other criteria remove.")
    ] = False,
    seed: SeedOption = 0,
    trust: TrustOption = False,
    out: OutOption = None,
) -> None:
    """Prune a trained residual network to the smallest depth within a tolerance.

    The depth is chosen on the validation data, the table is of the test data. The pruned network
    is saved as pruned.safetensors in RUN/prune, or in --out. With --inside, blocks are
    removed one after another, and after each the accuracy on the validation data is checked:
    pruned-inside.safetensors has as many removed as stay within the tolerance.
    """
    out = checks.usable(run / "prune" if out is None else out) or run
    check_trust([run], trust)
    trained = TrainedNetwork(run)
    validation, test = trained.data("validation"), trained.data("test")
    epochs = (lambda network: trained.tune(network, tune)) if tune > 0 else None
    pruning = prune(trained.network, validation, test, tolerance, epochs)
    new_folder(out)
    typer.echo(f"SubResNet-{pruning.m} is within {tolerance:g} points on the validation data\n")
    typer.echo(pruning.table())
    save_network(pruning.network, out / "pruned.safetensors")
    plot.pruning_depths(pruning).savefig(out / "prune.png", dpi=160)
    if inside > 0:
        images = list(trained.data("train").x0[:5000].split(500))
        ways = choices(validation, seed)
        removals = {
            name: remove_blocks(
                trained.network, inside, ways[name], validation, images,
                tolerance=tolerance, test=test,
            )
            for name in (CRITERIA if every else (criterion,))
        }  # fmt: skip
        typer.echo(f"\ntest accuracy % while blocks go\n{plot.removal_table(removals)}")
        plot.removals(removals).savefig(out / "inside.png", dpi=160)
        chosen = removals[criterion]
        typer.echo(f"\nvalidation data, --criterion {criterion}: {chosen.verdict}")
        if epochs is not None:
            heal(chosen, epochs, validation)
        save_network(chosen.network, out / "pruned-inside.safetensors")
    typer.echo(f"\nnetworks and pictures: {out}")


def heal(removal: Removal, tune: Callable[[ResNet], None], validation: Sample) -> None:
    """Fine-tunes what is left, and says what that did to the accuracy."""
    before = accuracy(removal.network, validation)
    tune(removal.network)
    after = accuracy(removal.network, validation)
    text = f"fine-tuned: {100 * before:.2f}% becomes {100 * after:.2f}%"
    if after < removal.accuracy[0] - removal.tolerance / 100 - 1e-12:
        whole = f"{100 * removal.accuracy[0]:.2f}%"
        text += f", over {removal.tolerance:g} points less than the whole's {whole}"
    typer.echo(text)
