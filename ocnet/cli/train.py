"""`ocnet train`, `ocnet resume`, `ocnet report`: runs that are folders."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tabulate import tabulate

from .. import plot
from ..analysis.memory import advice, expected_memory
from ..analysis.runs import read_run, RunRecord, table
from ..learning import NonFiniteCost
from ..learning.processes import rank
from ..report import Section, write_report
from ..run import Config, ConfigError, execute, Interrupted, Job, RunFolder
from ..run.config import PLACES
from . import checks, training_options as options
from .options import (
    DeviceOption,
    new_folder,
    one_line,
    OutOption,
    reported,
    SeedOption,
    SetOption,
    SpecArgument,
    StepsOption,
    wrong_problem,
)
from .trust import check_trust, TrustOption


RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", callback=checks.run, help="The folder of a run.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("train")(reported(train))
    app.command("resume")(reported(resume))
    app.command("report")(reported(report))


def train(
    spec: SpecArgument,
    steps: StepsOption = None,
    solver: options.Solver = "euler",
    gradient: options.Gradient = "backprop",
    epochs: options.Epochs = None,
    iterations: options.Iterations = None,
    batch_size: options.BatchSize = 128,
    optimizer: options.Optimizer = "adam",
    lr: options.LearningRate = None,
    weight_decay: options.WeightDecay = 0.0,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    clip: options.Clip = None,
    accumulate: options.Accumulate = 1,
    precision: options.Precision = "32",
    compile: options.Compile = False,
    capture: options.Capture = False,
    channels_last: options.ChannelsLast = None,
    sharded: options.Sharded = False,
    sync_norms: options.SyncNorms = False,
    ema: options.Ema = None,
    patience: options.Patience = None,
    evaluate_every: options.EvaluateEvery = None,
    checkpoint_every: options.CheckpointEvery = 60.0,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    settings: SetOption = None,
    depth: options.Depth = None,
    gamma: options.Gamma = None,
    gamma_schedule: options.GammaSchedule = "constant",
    gamma_warmup: options.GammaWarmup = 0,
    data: options.Data = None,
    tensorboard: options.TensorBoard = False,
    out: OutOption = None,
) -> None:
    """Train a control, and keep all there is to know about it in a folder.

    Ctrl-C saves and ends the run with code 130; `ocnet resume` goes on with it. Several
    processes: torchrun --nproc-per-node K -m ocnet train ...
    """
    given = dict(locals())
    asked = {name: value for name, value in given.items() if name in PLACES}
    arguments = [*(settings or ()), *shortcuts(depth=depth, gamma=gamma, data=data)]
    try:
        config = Config.of(lasting(spec), arguments, **asked)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(one_line(error)) from None
    try:
        finish(RunFolder(out or default_folder(spec)), config)
    except ConfigError as error:
        reason = error.__cause__
        assert isinstance(reason, Exception), "what did not fit is the reason"
        raise wrong_problem(spec, config.settings, reason) from None


def resume(
    run: RunArgument,
    epochs: options.Epochs = None,
    iterations: options.Iterations = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on where problem, data or configuration have changed."
        ),
    ] = False,
    trust: TrustOption = False,
) -> None:
    """Go on with a run from its last checkpoint, to the same end as if nothing had happened.

    With --epochs or --iterations the run gets a new length, counted from its beginning; a finished
    run goes on. From the current step on, schedules are those of a run of the new length, so that
    a cosine rises again; the patience starts again.
    """
    if epochs is not None and iterations is not None:
        raise typer.BadParameter(
            f"give --epochs or --iterations, but not both {epochs} and {iterations}."
        )
    check_trust([run], trust)
    length = {"epochs": epochs, "iterations": iterations}
    finish(RunFolder(run), None, accept_changes=accept_changes, **length)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", callback=checks.runs, help="Folders of runs.")
    ],
    out: OutOption = None,
) -> None:
    """Draw one run, into its own folder, or compare several, into --out."""
    records = [read_run(path) for path in runs]
    for record, path in zip(records, runs, strict=True):
        if not record.metrics:
            raise typer.BadParameter(f"RUN {path} has no steps to draw yet.")
    if out is None and len(runs) > 1:
        raise typer.BadParameter("Several runs need --out, a folder for the report.")
    typer.echo(table(records))
    folder = runs[0] if out is None else new_folder(out)
    typer.echo(f"\n{write_pages(folder, records)}")


def write_pages(folder: Path, records: list[RunRecord]) -> Path:
    """Writes the report and its pictures, and returns where the report is."""
    names = ", ".join(record.name for record in records)
    figures = {"training": plot.training(records), "validation": plot.validation(records)}
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
    settings = [[name, value] for name, value in first.config.options().items()]
    heading = "What was asked for" if len(records) == 1 else f"What was asked for in {first.name}"
    sections.append(Section(heading, table=tabulate(settings, tablefmt="html")))
    footer = {**first.provenance, "command": " ".join(first.provenance.get("command", []))}
    write_report(folder / "report.html", f"Training: {names}", sections, footer)
    return folder / "report.html"


def finish(folder: RunFolder, config: Config | None, **how: Any) -> None:
    """Carries a run to its end and tells how it went; `how` holds more arguments of `execute`."""
    note = lambda text: typer.echo(f"ocnet: {text}", err=True)
    try:
        result = execute(folder, config, before=tell, note=note, **how)
    except Interrupted as error:
        typer.echo(f"ocnet: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except NonFiniteCost as error:
        typer.echo(f"ocnet: error: {' '.join([str(error), *error.__notes__])}", err=True)
        raise typer.Exit(1) from None
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


def tell(job: Job) -> None:
    """Says what memory the run will take, what would make it fit, and what cannot be done."""
    memory = expected_memory(job)
    lines = [f"expected memory: {memory}"]
    if job.obstacle is not None:
        lines.append(f"--capture is left out: {job.obstacle}.")
    if not memory.fits:
        ways = "; ".join(advice(job, memory)) or "a smaller batch or network is needed"
        lines.append(f"That does not fit: {ways}.")
    if rank() == 0:
        typer.echo("\n".join(lines), err=True)


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
    """A folder below runs/ whose name tells the problem and the time."""
    return Path("runs") / f"{spec.rpartition(':')[2]}-{time.strftime('%Y%m%d-%H%M%S')}"
