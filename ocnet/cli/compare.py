"""`ocnet compare SPEC`: train a control under Euler, then compare it under other solvers."""

import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..analysis.compare import compare
from ..analysis.comparison import Comparison
from ..catalogue import load_trainable_problem
from ..control import Control
from ..objective import evaluate
from ..plot import compare as plot
from ..problem import Problem, Sample, SolvedProblem
from ..report import Section, write_report
from ..run.config import Config
from ..solver import Euler, Heun, RK4, RK38, Solver, TorchDiffEq
from ..solver.ode import FIXED
from ..train import History, train
from .options import (
    default_dtype,
    device_from,
    DeviceOption,
    new_folder,
    one_line,
    OutOption,
    problem_from,
    reported,
    SeedOption,
    SetOption,
    SpecArgument,
    StepsOption,
)


DTYPES = {"float32": torch.float32, "float64": torch.float64}
OWN = {"euler": Euler, "heun": Heun, "rk4": RK4, "rk38": RK38}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(reported(compare_command))


def compare_command(
    spec: SpecArgument,
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
        typer.Option(help="Training steps at full depth; 30 epochs or until converged if not set."),
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 0.01,
    batch_size: Annotated[int, typer.Option(help="Samples of a training step.")] = 128,
    rtol: Annotated[float, typer.Option(help="Relative tolerance of adaptive methods.")] = 1e-6,
    dtype: Annotated[
        str,
        typer.Option(help="float32 or float64; float64 for problems with a known optimum."),
    ] = "auto",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    out: OutOption = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Train a control under Euler, then compare Euler with ODE solvers.

    The control is trained at half the steps first, refined, and trained at all of them: the two
    optima give the Richardson estimate of the true optimum. With --out the report (report.html),
    its data (comparison.json) and its pictures are written there.
    """
    if out is None and show:
        raise typer.BadParameter("--open needs a report: give --out too.")
    if iterations is not None and iterations < 1:
        raise typer.BadParameter(f"--iterations must be at least 1, but got {iterations}.")
    target = device_from(device)
    problem = problem_from(spec, settings, load_trainable_problem)
    precision = dtype_from(dtype, problem)
    n = problem.n_steps if steps is None else steps
    solvers = solvers_from(methods, n, rtol)
    if out is not None:
        out = new_folder(out)

    with default_dtype(precision):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        problem = problem_from(spec, settings, load_trainable_problem).to(target)
        fit = Fit(spec, problem, iterations, lr, batch_size, generator, target)
        control, coarse_cost = trained(fit, n)
        comparison = compare(
            problem,
            control,
            solvers,
            sample=fit.held_out(),
            coarse_cost=coarse_cost,
            seed=seed,
            progress=True,
        )
    typer.echo(comparison.text())
    if out is not None:
        write(out, comparison, fit.histories)
        typer.echo(f"\nreport: {out / 'report.html'}")
        if show:
            webbrowser.open((out / "report.html").resolve().as_uri())


def dtype_from(name: str, problem: Problem) -> torch.dtype:
    """The number type that the user named; double precision where the optimum is known."""
    if name == "auto":
        name = "float64" if isinstance(problem, SolvedProblem) else "float32"
    if name not in DTYPES:
        raise typer.BadParameter(f"--dtype must be float32 or float64, but got {name!r}.")
    return DTYPES[name]


def solvers_from(methods: str, n: int, rtol: float) -> list[Solver]:
    """The solvers that the user named, or a usage error in one line."""
    try:
        return [solver_from(name.strip(), n, rtol) for name in methods.split(",")]
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(one_line(error)) from None


def solver_from(name: str, n: int, rtol: float) -> Solver:
    """The solver that a name on the command line means."""
    if name in OWN:
        return OWN[name](n)
    method = name.removeprefix("torchdiffeq:")
    return TorchDiffEq(method, n if method in FIXED else None, rtol=rtol, atol=rtol / 100)


@dataclass
class Fit:
    """How a control is trained for a comparison.

    Attributes:
        spec: What names the problem.
        problem: The problem.
        iterations: Training steps; a default that suits the kind of problem if None.
        lr: The learning rate of Adam.
        batch_size: The samples of a step.
        generator: The source of randomness.
        device: Where to compute.
        histories: What training measured so far.
    """

    spec: str
    problem: Problem
    iterations: int | None
    lr: float
    batch_size: int
    generator: torch.Generator
    device: torch.device
    histories: dict[str, History] = field(default_factory=dict)

    @property
    def is_classical(self) -> bool:
        """Whether every sample is the same, so that there is one cost to minimise exactly."""
        if self.problem.data("train") is not None:
            return False
        one, other = (self.problem.sample(1, torch.Generator().manual_seed(s)).x0 for s in (0, 1))
        return torch.equal(one, other)

    def held_out(self) -> Sample:
        """What to compare on: the test data, or fresh samples."""
        fresh = torch.Generator().manual_seed(self.generator.initial_seed() + 1)
        sample = self.problem.data("test")
        sample = sample or self.problem.sample(1 if self.is_classical else 256, fresh)
        target = sample.target
        return Sample(sample.x0.to(self.device), None if target is None else target.to(self.device))

    def run(self, control: Control, n: int) -> None:
        """Trains a control under `n` Euler steps: L-BFGS on one cost, Adam on many."""
        if self.is_classical:
            config, n_steps = Config(self.spec, optimizer="lbfgs", batch_size=1), 30
        else:
            config = Config(self.spec, optimizer="adam", lr=self.lr, batch_size=self.batch_size)
            n_steps = self.epochs(30)
        optimizer = config.make_optimizer(self.problem, control)
        typer.echo(f"training {n} steps with {type(optimizer).__name__}", err=True)
        self.histories[f"{n} steps"] = train(
            self.problem,
            control,
            Euler(n),
            optimizer,
            n_steps=self.iterations or n_steps,
            batch_size=config.batch_size,
            generator=self.generator,
        )

    def epochs(self, count: int) -> int:
        """How many training steps make so many epochs; 1,000 where there is no data set."""
        data = self.problem.data("train")
        return 1000 if data is None else max(1, count * len(data.x0) // self.batch_size)


def trained(fit: Fit, n: int) -> tuple[Control, float | None]:
    """A control trained at `n` Euler steps from one at `n / 2`, and the optimal cost there.

    The coarse cost counts only where training reaches an optimum, which is on classical problems.
    """
    coarse = n // 2 if n % 2 == 0 else n
    control = fit.problem.initial_control(coarse, fit.generator).to(fit.device)
    fit.run(control, coarse)
    if coarse == n:
        return control, None
    coarse_cost = None
    if fit.is_classical:
        with torch.no_grad():
            cost, _ = evaluate(fit.problem, control, Euler(coarse), fit.held_out())
        coarse_cost = cost.mean().item()
    control = control.refine()
    fit.run(control, n)
    return control, coarse_cost


def write(out: Path, comparison: Comparison, histories: dict[str, History]) -> None:
    """Writes report, data and pictures to a folder."""
    certificate = comparison.certificate
    pictures = {
        "trajectories": (
            plot.trajectories(comparison),
            "The state of the first sample under every solver, with the same control.",
        ),
        "control": (plot.control(comparison), "The trained control over time, or depth."),
        "work_precision": (
            plot.work_precision(comparison),
            "Error of the final state against what it takes; lower and further left is better.",
        ),
        "training": (plot.history(histories), "The cost of each training batch."),
    }
    verdict = Section(
        heading="Does depth behave like time?",
        lead="" if certificate is None else certificate.verdict,
        table=comparison.certificate_table("html"),
    )
    rows = Section(heading="The same control under every solver", table=comparison.table("html"))
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
