"""`ocnet prune RUN`: the shallowest network within a tolerance, and blocks that can go."""

from typing import Annotated

import torch
import typer

from .. import plot
from ..analysis.pruning import at_random, last, least_cost, prune, remove_blocks
from ..networks import save_network
from . import checks
from .networks import NetworkRun, TrainedNetwork
from .options import new_folder, OutOption, reported, SeedOption
from .trust import check_trust, TrustOption


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
            help="Also remove so many blocks inside the stages, one at a time.",
        ),
    ] = 0,
    seed: SeedOption = 0,
    trust: TrustOption = False,
    out: OutOption = None,
) -> None:
    """Prune a trained residual network to the smallest depth within a tolerance.

    The depth is chosen on the validation data, the table is of the test data. The pruned network
    is saved as pruned.safetensors in RUN/prune, or in --out. With --inside the blocks that cost
    least to first order, -p_{k+1} . F_k, are removed one after another, next to the last blocks
    and random ones.
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
        generator = torch.Generator().manual_seed(seed)
        choices = {
            "least cost, first order": least_cost(validation),
            "last": last,
            "random": at_random(generator),
        }
        removals = {
            name: remove_blocks(trained.network, inside, choice, test, images)
            for name, choice in choices.items()
        }
        typer.echo(f"\ntest accuracy % while blocks go\n{plot.removal_table(removals)}")
        plot.removals(removals).savefig(out / "inside.png", dpi=160)
        save_network(removals["least cost, first order"].network, out / "pruned-inside.safetensors")
    typer.echo(f"\nnetworks and pictures: {out}")
