"""`ocnet compare SPEC|RUN`: a control trained under Euler, compared under other solvers."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from .. import plot
from ..analysis.comparison import Comparison
from ..analysis.measurement import compare
from ..learning import History
from ..registry import named_solver, STEPS
from ..report import Section, write_report
from ..solver import Solver
from . import checks
from .options import (
    default_dtype,
    device_from,
    DeviceOption,
    new_folder,
    one_line,
    OutOption,
    reported,
    SeedOption,
    SetOption,
    StepsOption,
)
from .subject import DTYPES, Fit, subject_of_run, subject_of_spec
from .trust import check_trust, TrustOption


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(reported(compare_command))


def compare_command(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|RUN",
            callback=checks.problem_or_run,
            help="The problem, module:Class or path/to/file.py:Class, which is trained first; or "
            "the folder of a run of `ocnet train`, whose best model is compared.",
        ),
    ],
    steps: StepsOption = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Solvers, separated by commas: euler, heun, rk4, rk38, or a method of "
            "torchdiffeq (dopri5, dopri8, bosh3, midpoint, ...; torchdiffeq:rk4 for its own)."
        ),
    ] = "euler,heun,rk4,dopri5",
    settings: SetOption = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(1),
            help="Training steps at full depth; 30 epochs or until converged if not set.",
        ),
    ] = None,
    lr: Annotated[
        float,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(0),
            help="Learning rate of Adam.",
        ),
    ] = 0.01,
    batch_size: Annotated[
        int,
        typer.Option(
            parser=checks.whole,
            metavar="INTEGER",
            callback=checks.at_least(1),
            help="Samples of a training step.",
        ),
    ] = 128,
    rtol: Annotated[
        float,
        typer.Option(
            parser=checks.number,
            metavar="NUMBER",
            callback=checks.between(0, 1),
            help="Relative tolerance of adaptive methods.",
        ),
    ] = 1e-6,
    dtype: Annotated[
        str,
        typer.Option(
            callback=checks.one_of("auto", *DTYPES),
            help="float32 or float64; float64 for problems with a known optimum.",
        ),
    ] = "auto",
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure the memory too, which takes a minute or so.")
    ] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    trust: TrustOption = False,
    out: OutOption = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Train a control under Euler, or take a trained one, and compare Euler with ODE solvers.

    A control of a SPEC is trained at a quarter of the steps first, refined, and trained at twice as
    many, and so again: on classical problems the three optima give an estimate of the continuous
    optimum. With --out the report (report.html), its data (comparison.json) and its pictures are
    written there.
    """
    if out is None and show:
        raise typer.BadParameter("--open needs a report: give --out too.")
    target = device_from(device)
    if Path(spec).is_dir():
        for name, value in (("--set", settings), ("--iterations", iterations)):
            if value:
                raise typer.BadParameter(f"{name} belongs to a SPEC: {spec} was trained already.")
        check_trust([Path(spec)], trust)
        subject = subject_of_run(Path(spec), seed, target)
    else:

        def check(n: int) -> None:
            solvers_from(methods, n, rtol)
            if out is not None:
                new_folder(out)

        fit = lambda problem, generator: Fit(problem, iterations, lr, batch_size, generator, target)
        subject = subject_of_spec(spec, settings or [], dtype, steps, fit, seed, target, check)
    solvers = solvers_from(methods, subject.n if steps is None else steps, rtol)
    out = None if out is None else new_folder(out)
    with default_dtype(next(subject.control.parameters()).dtype):
        comparison = compare(
            subject.problem,
            subject.control,
            solvers,
            sample=subject.sample,
            coarse_costs=subject.coarse_costs,
            memory=memory,
            seed=seed,
            progress=True,
        )
    typer.echo(comparison.text())
    if out is not None:
        write(out, comparison, subject.histories)
        typer.echo(f"\nreport: {out / 'report.html'}")
        if show:
            webbrowser.open((out / "report.html").resolve().as_uri())


def solvers_from(methods: str, n: int, rtol: float) -> list[Solver]:
    """The solvers that the user named, or a usage error in one line."""
    try:
        return [solver_from(name.strip(), n, rtol) for name in methods.split(",")]
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(one_line(error), param_hint=f"--methods {methods}") from None


def solver_from(name: str, n: int, rtol: float) -> Solver:
    """The solver that a name on the command line means."""
    if name in STEPS:
        return named_solver(name, n)
    solver = named_solver(name, n, rtol=rtol, atol=rtol / 100)
    return solver if solver.is_fixed else solver.with_steps(1)


def write(out: Path, comparison: Comparison, histories: dict[str, History]) -> None:
    """Writes report, data and pictures to a folder."""
    pictures = {
        "differences": (
            plot.differences(comparison),
            "How far each solver is from the reference along the path, relative to the path's "
            "range. The line is the worst sample; where there are several, the shade reaches from "
            "the median to the 95% quantile. In the grey the two references disagree.",
        ),
        "trajectories": (
            plot.trajectories(comparison),
            "The state of the first sample under every solver, with the same control.",
        ),
        "control": (plot.controls(comparison), "The trained control over time, or depth."),
        "work_precision": (
            plot.work_precision(comparison),
            "The largest gap on the path, of the worst sample, against what it takes, at several "
            "steps or tolerances; lower and further left is better. The dotted line is 5%.",
        ),
        "training": (plot.histories(histories), "The cost of each training batch."),
    }
    verdict = Section(
        heading="Does it behave like its ODE?",
        lead=comparison.verdict,
        table=comparison.certificate_table("html"),
    )
    rows = Section(
        heading="The same control under every solver",
        table=comparison.table("html"),
        text=comparison.footnote,
    )
    shown = [
        Section(heading=name.replace("_", " ").capitalize(), figure=figure, caption=caption)
        for name, (figure, caption) in pictures.items()
        if figure is not None
    ]
    footer = {**comparison.provenance, "command": " ".join(comparison.provenance["command"])}
    write_report(
        out / "report.html",
        f"{comparison.problem}: Euler against ODE solvers",
        [verdict, rows, *shown],
        footer,
    )
    (out / "comparison.json").write_text(comparison.json(), encoding="utf-8")
    for name, (figure, _) in pictures.items():
        if figure is not None:
            figure.savefig(out / f"{name}.png", dpi=160)
