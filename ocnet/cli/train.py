"""`ocnet train`, `ocnet resume`, `ocnet report`: runs that are folders."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..run import Config, execute, Interrupted, RunFolder
from .options import (
    DeviceOption,
    OutOption,
    reported,
    SeedOption,
    SetOption,
    SpecArgument,
    StepsOption,
)


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("train")(reported(train))
    app.command("resume")(reported(resume))


def train(
    spec: SpecArgument,
    steps: StepsOption = None,
    solver: Annotated[
        str, typer.Option(help="euler, heun, rk4, rk38 or a method of torchdiffeq.")
    ] = "euler",
    gradient: Annotated[
        str, typer.Option(help="backprop; to save memory checkpoint, or adjoint (torchdiffeq).")
    ] = "backprop",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data set.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Optimiser steps [1000].")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples of one optimiser step.")] = 128,
    optimizer: Annotated[str, typer.Option(help="sgd, adam, adamw or lbfgs.")] = "adam",
    lr: Annotated[
        float | None, typer.Option(help="Learning rate [sgd 0.1, adam 0.01, adamw 0.001, lbfgs 1].")
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of the optimiser.")] = 0.0,
    schedule: Annotated[str, typer.Option(help="constant, cosine or step.")] = "constant",
    warmup: Annotated[int, typer.Option(help="Iterations over which the rate first grows.")] = 0,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    accumulate: Annotated[
        int, typer.Option(help="Parts in which a batch is computed, to save memory.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="32, bf16 or 16.")] = "32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the layers.")] = False,
    sync_norms: Annotated[
        bool, typer.Option("--sync-norms", help="Batch norm over all processes.")
    ] = False,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the moving average of the weights.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without improvement.")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Iterations between validations [an epoch].")
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    settings: SetOption = None,
    depth: Annotated[int | None, typer.Option(help="Short for --set depth=...")] = None,
    gamma: Annotated[float | None, typer.Option(help="Short for --set gamma=...")] = None,
    data: Annotated[Path | None, typer.Option(help="Short for --set data=..., a folder.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the metrics for TensorBoard, too.")
    ] = False,
    out: OutOption = None,
) -> None:
    """Train a control, and keep all there is to know about it in a folder.

    Ctrl-C saves and ends the run with code 130; `ocnet resume` goes on with it. Several
    processes: torchrun --nproc-per-node K -m ocnet train ...
    """
    config = Config(
        problem=lasting(spec),
        settings=[*(settings or ()), *shortcuts(depth=depth, gamma=gamma, data=data)],
        solver=solver,
        gradient=gradient,
        steps=steps,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        clip=clip,
        ema=ema,
        patience=patience,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        device=device,
        precision=precision,
        compile=compile,
        accumulate=accumulate,
        sync_norms=sync_norms,
        seed=seed,
        tensorboard=tensorboard,
    )
    folder = RunFolder(out or default_folder(spec))
    finish(folder, config)


def resume(run: RunArgument) -> None:
    """Go on with a run from its last checkpoint, to the same end as if nothing had happened."""
    finish(RunFolder(run), None)


def finish(folder: RunFolder, config: Config | None) -> None:
    """Carries a run to its end and tells how it went."""
    try:
        result = execute(folder, config)
    except Interrupted as error:
        typer.echo(f"ocnet: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if result is None:
        return
    typer.echo(
        f"{folder.path}: {result['steps']} steps, the best model is of {result['best_step']}"
    )
    for split in ("validation", "test"):
        if split in result:
            measures = ", ".join(f"{name} {value:.6g}" for name, value in result[split].items())
            typer.echo(f"{split}: {measures}")


def shortcuts(**values: object) -> list[str]:
    """The settings that have an option of their own, in the form of --set."""
    given = {name: value for name, value in values.items() if value is not None}
    # A run is resumed from anywhere.
    absolute = {k: v.resolve() if isinstance(v, Path) else v for k, v in given.items()}
    return [f"{name}={value}" for name, value in absolute.items()]


def lasting(spec: str) -> str:
    """The SPEC with an absolute path, so that a run can be resumed from anywhere."""
    place, _, name = spec.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else spec


def default_folder(spec: str) -> Path:
    """A folder below runs/ that tells the problem and the time."""
    return Path("runs") / f"{spec.rpartition(':')[2]}-{time.strftime('%Y%m%d-%H%M%S')}"
