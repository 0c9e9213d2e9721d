"""`ocnet train`, `ocnet resume`, `ocnet report`: runs that are folders."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from ..analysis.memory import advice, expected_memory
from ..analysis.runs import read_run, RunRecord, table
from ..plot import history
from ..report import Section, write_report
from ..run import Config, execute, Interrupted, Job, RunFolder
from ..train import NonFiniteCost
from .options import (
    DeviceOption,
    new_folder,
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
    app.command("report")(reported(report))


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
    weight_decay: Annotated[
        float, typer.Option(help="Weight decay; of a residual network, that of its branches.")
    ] = 0.0,
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


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    out: OutOption = None,
) -> None:
    """Draw one run, into its own folder, or compare several, into --out."""
    records = [read_run(path) for path in runs]
    for record, path in zip(records, runs, strict=True):
        if not record.metrics:
            raise typer.BadParameter(f"{path} has no steps to draw yet.")
    if out is None and len(runs) > 1:
        raise typer.BadParameter("Several runs need --out, a folder for the report.")
    typer.echo(table(records))
    folder = runs[0] if out is None else new_folder(out)
    typer.echo(f"\n{write_pages(folder, records)}")


def write_pages(folder: Path, records: list[RunRecord]) -> Path:
    """Writes the report and its pictures, and returns where the report is."""
    names = ", ".join(record.name for record in records)
    figures = {"training": history.training(records), "validation": history.validation(records)}
    captions = {
        "training": "Each step of training; the strong line is a running mean.",
        "validation": "The validation data; a dot marks the best model, which is kept.",
    }
    (folder / "pictures").mkdir(exist_ok=True)
    sections = [Section(heading="Result", table=table(records, "html"))]
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(folder / "pictures" / f"{name}.png", dpi=160)
            caption = captions[name]
            sections.append(Section(name.capitalize(), figure=figure, caption=caption))
    first = records[0]
    settings = [[name, value] for name, value in dataclasses.asdict(first.config).items()]
    heading = "What was asked for" if len(records) == 1 else f"What was asked for in {first.name}"
    sections.append(Section(heading, table=tabulate(settings, tablefmt="html")))
    footer = {**first.provenance, "command": " ".join(first.provenance.get("command", []))}
    write_report(folder / "report.html", f"Training: {names}", sections, footer)
    return folder / "report.html"


def finish(folder: RunFolder, config: Config | None) -> None:
    """Carries a run to its end and tells how it went."""
    try:
        result = execute(folder, config, before=tell_memory)
    except Interrupted as error:
        typer.echo(f"ocnet: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except NonFiniteCost as error:
        typer.echo(f"ocnet: error: {' '.join([str(error), *error.__notes__])}", err=True)
        raise typer.Exit(1) from None
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
    typer.echo(f"report: {write_pages(folder.path, [read_run(folder.path)])}")


def tell_memory(job: Job) -> None:
    """Says what memory the run will take, and what would make it fit if it does not."""
    memory = expected_memory(job)
    typer.echo(f"expected memory: {memory}", err=True)
    if not memory.fits:
        ways = "; ".join(advice(job, memory)) or "a smaller batch or network is needed"
        typer.echo(f"That does not fit: {ways}.", err=True)


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
