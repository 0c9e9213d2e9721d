"""One control under several solvers: what each costs, how far off it is, what it takes."""

import copy
import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from torch.profiler import profile, ProfilerActivity
from tqdm import tqdm

from ..control import Control, OpenLoop
from ..objective import evaluate
from ..problem import Problem, Sample
from ..provenance import provenance
from ..solver import Euler, Solver, SolverError
from .certificate import depth_certificate, DepthCertificate, double, doubled, reference_solver


@dataclass(frozen=True)
class Row:
    """What one solver did.

    Attributes:
        solver: The solver.
        cost: The mean cost.
        cost_error: Its distance from the reference's.
        state_error: The largest Euclidean distance of a final state from the reference's.
        order: The observed order of the final state, from twice as many steps; None if the
            method is adaptive or the error is at rounding level.
        evaluations: How often the vector field was evaluated, without the backward pass.
        seconds: The median wall time of one solution with its gradient.
        memory: The peak of bytes allocated for it.
        scores: The mean of the problem's further measures, such as the accuracy.
        note: Why there are no figures, if there are none.
    """

    solver: str
    cost: float
    cost_error: float
    state_error: float
    order: float | None
    evaluations: int
    seconds: float
    memory: int
    scores: dict[str, float]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """What a picture shows of one solver: the first sample's path and the path of the cost.

    Attributes:
        solver: The solver.
        t: The times.
        x: The state of the first sample at those times, flattened, at most eight components.
    """

    solver: str
    t: list[float]
    x: list[list[float]]


@dataclass(frozen=True)
class Comparison:
    """One control under several solvers.

    Attributes:
        problem: The name of the problem.
        rows: One row a solver.
        certificate: The depth certificate of the first Euler solver, if there is one.
        curves: The trajectories, where the state keeps its shape.
        control: The control of the problem over time, `(t, u)` flattened to eight components;
            empty for layers and policies.
        optimum: The known optimal cost, or None.
        provenance: Command, versions, machine and seed.
    """

    problem: str
    rows: tuple[Row, ...]
    certificate: DepthCertificate | None
    curves: tuple[Curve, ...]
    control: tuple[list[float], list[list[float]]]
    optimum: float | None
    provenance: dict[str, Any]

    def table(self, tablefmt: str = "simple") -> str:
        """The rows as a table for the terminal, or in another format of tabulate."""
        scores = list(self.rows[0].scores) if self.rows else []
        headers = [
            "solver", "cost J", "|J - J_ref|", "|x(T) - x_ref(T)|", "order", "f evaluations",
            "time (ms)", "memory (kB)", *scores,
        ]  # fmt: skip
        cells = [
            [
                row.solver,
                f"{row.cost:.8g}" if not row.note else row.note,
                f"{row.cost_error:.1e}",
                f"{row.state_error:.1e}",
                "-" if row.order is None else f"{row.order:.2f}",
                str(row.evaluations),
                f"{1e3 * row.seconds:.1f}",
                f"{row.memory / 1e3:.0f}",
                *(f"{row.scores.get(score, math.nan):.4g}" for score in scores),
            ]
            for row in self.rows
        ]
        align = ("left", *["right"] * (len(headers) - 1))
        return tabulate(
            cells, headers=headers, tablefmt=tablefmt, disable_numparse=True, colalign=align
        )

    def certificate_table(self, tablefmt: str = "simple") -> str:
        """The depth certificate as a table, or nothing if there is none."""
        if self.certificate is None:
            return ""
        certificate = self.certificate
        between = "optima at n/2 and n" if certificate.reoptimised else "this control at n and 2n"
        cells = [
            ["J_Euler(u)", f"{certificate.cost:.8g}"],
            ["J_ODE(u)", f"{certificate.ode_cost:.8g}"],
            [f"Richardson J* ({between})", f"{certificate.richardson_cost:.8g}"],
        ]
        if self.optimum is not None:
            cells.append(["known J*", f"{self.optimum:.8g}"])
        cells.append(["observed order of J_Euler", f"{certificate.order:.2f}"])
        return tabulate(
            cells,
            headers=["depth certificate", f"n = {certificate.n}"],
            tablefmt=tablefmt,
            disable_numparse=True,
            colalign=("left", "right"),
        )

    def text(self) -> str:
        """Table, certificate and verdict for the terminal."""
        parts = [self.table(), self.certificate_table()]
        if self.certificate is not None:
            parts.append(self.certificate.verdict)
        return "\n\n".join(part for part in parts if part)

    def json(self) -> str:
        """All of it as JSON; what is not a number is null."""
        return json.dumps(finite(dataclasses.asdict(self)), indent=1, allow_nan=False)


def compare(
    problem: Problem,
    control: Control,
    solvers: Sequence[Solver],
    *,
    sample: Sample | None = None,
    generator: torch.Generator | None = None,
    reference: Solver | None = None,
    coarse_cost: float | None = None,
    repeats: int = 5,
    seed: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Solves one problem with one control under several solvers.

    Errors and orders are measured in double precision against a tight reference; wall time and
    memory in the problem's own precision, with the gradient, as one step of training needs it.

    Arguments:
        problem, control: What to solve; parameters are left as they are.
        solvers: The solvers, at least one.
        sample: The inputs; the problem's test data or 256 samples if None.
        generator: Makes the draws reproducible.
        reference: The tight solver; Dormand and Prince at rtol 1e-9 if None.
        coarse_cost: The optimal cost at half as many steps, for the certificate.
        repeats: How often to time each solver.
        seed: Noted in the provenance.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        ValueError: If there are no solvers.
    """
    if not solvers:
        raise ValueError("solvers must hold at least one solver, but got none.")
    if sample is None:
        sample = problem.data("test") or problem.sample(256, generator)
    # On copies, and not in training mode: comparing leaves no trace in running statistics.
    problem, control = copy.deepcopy(problem).eval(), copy.deepcopy(control).eval()
    exact, u = double(problem, control)
    exact_sample = doubled(sample)
    reference = reference or reference_solver()
    try:
        with torch.no_grad():
            J_ref, x_ref = final(exact, u, reference, exact_sample)
    except SolverError:
        J_ref, x_ref = math.nan, None
    rows = tuple(
        measure(problem, control, exact, u, solver, sample, exact_sample, J_ref, x_ref, repeats)
        for solver in tqdm(solvers, desc="comparing", disable=None if progress else True)
    )
    euler = next((s for s in solvers if isinstance(s, Euler)), None)
    certificate = None
    if euler is not None and x_ref is not None:
        certificate = depth_certificate(
            problem, control, euler, sample, coarse_cost=coarse_cost, reference=reference
        )
    optimum = getattr(exact, "optimal_cost", None)
    device = next((p.device for p in control.parameters()), torch.device("cpu"))
    return Comparison(
        problem=type(problem).__name__,
        rows=rows,
        certificate=certificate,
        curves=tuple(curve(exact, u, solver, exact_sample) for solver in solvers),
        control=control_curve(u),
        optimum=None if optimum is None else optimum(exact_sample.x0).mean().item(),
        provenance={**provenance(device), "seed": seed},
    )


def final(
    problem: Problem, control: Control, solver: Solver, sample: Sample
) -> tuple[float, torch.Tensor]:
    """The mean cost and the final states."""
    cost, trajectory = evaluate(problem, control, solver, sample)
    return cost.mean().item(), trajectory.states[-1]


def measure(
    problem: Problem,
    control: Control,
    exact: Problem,
    u: Control,
    solver: Solver,
    sample: Sample,
    exact_sample: Sample,
    J_ref: float,
    x_ref: torch.Tensor | None,
    repeats: int,
) -> Row:
    """One row: accuracy on the copies `exact` and `u` in double precision, effort on the rest."""
    try:
        with torch.no_grad():
            cost, trajectory = evaluate(exact, u, solver, exact_sample)
            x = trajectory.states[-1]
            scores = exact.score(x, exact_sample.target)
        seconds, memory = effort(problem, control, solver, sample, repeats)
    except SolverError as error:
        nan, note = math.nan, f"stops at t={error.time:.3g}"
        return Row(repr(solver), nan, nan, nan, None, 0, nan, 0, {}, note)
    J = cost.mean().item()
    return Row(
        solver=repr(solver),
        cost=J,
        cost_error=abs(J - J_ref),
        state_error=math.nan if x_ref is None else distance(x, x_ref, exact),
        order=None if x_ref is None else observed_order(exact, u, solver, exact_sample, x_ref),
        evaluations=trajectory.evaluations,
        seconds=seconds,
        memory=memory,
        scores={name: value.mean().item() for name, value in scores.items()},
    )


def distance(x: torch.Tensor, x_ref: torch.Tensor, problem: Problem) -> float:
    """The largest Euclidean distance between final states of the batch."""
    rank = len(problem.state_shape)
    return (x - x_ref).flatten(x.dim() - rank).norm(dim=-1).max().item()


@torch.no_grad()
def observed_order(
    problem: Problem, control: Control, solver: Solver, sample: Sample, x_ref: torch.Tensor
) -> float | None:
    """`log2` of how much the error of the final state falls when the steps are halved."""
    if not solver.is_fixed:
        return None
    errors = [
        distance(final(problem, control, solver.with_steps(n), sample)[1], x_ref, problem)
        for n in (solver.n, 2 * solver.n)
    ]
    floor = 1e-9 * max(x_ref.abs().max().item(), 1.0)
    return math.log2(errors[0] / errors[1]) if min(errors) > floor else None


def effort(
    problem: Problem, control: Control, solver: Solver, sample: Sample, repeats: int
) -> tuple[float, int]:
    """The median seconds and the peak bytes of one solution with its gradient."""
    parameters = [p for p in (*control.parameters(), *problem.parameters()) if p.requires_grad]
    cuda = sample.x0.is_cuda

    def gradient() -> None:
        cost, _ = evaluate(problem, control, solver, sample)
        torch.autograd.grad(cost.mean(), parameters, allow_unused=True)
        if cuda:
            torch.cuda.synchronize()

    gradient()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        gradient()
        seconds.append(time.perf_counter() - start)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradient()
        return statistics.median(seconds), torch.cuda.max_memory_allocated() - before
    # The profiler's library reports to the terminal what it misses on a machine without a GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # One cycle; older versions of torch warn that they would forget the ones before.
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        gradient()
    assert profiler.profiler and profiler.profiler.kineto_results, "the profiler ran"
    events: list[Any] = profiler.profiler.kineto_results.events()
    events = [event for event in events if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return statistics.median(seconds), peak


@torch.no_grad()
def curve(problem: Problem, control: Control, solver: Solver, sample: Sample) -> Curve:
    """The first sample's path, at least at fifty times where the solver can give them."""
    first = Sample(sample.x0[:1], None if sample.target is None else sample.target[:1])
    if not solver.is_fixed:
        solver = solver.with_steps(max(solver.n, 50))
    try:
        _, trajectory = evaluate(problem, control, solver, first)
    except SolverError as error:
        trajectory = error.trajectory
    if len({x.shape for x in trajectory.states}) > 1:
        return Curve(repr(solver), [], [])
    x = trajectory.x[:, 0].flatten(1)[:, :8]
    return Curve(repr(solver), trajectory.t.tolist(), x.tolist())


@torch.no_grad()
def control_curve(control: Control) -> tuple[list[float], list[list[float]]]:
    """The control at 400 times, its first eight components; nothing for layers and policies."""
    if not isinstance(control, OpenLoop):
        return [], []
    t = torch.linspace(control.t0, control.t1, 400, dtype=torch.float64).tolist()
    return t, control.values(t).flatten(1)[:, :8].tolist()


def finite(tree: Any) -> Any:
    """The same nested values with null for what JSON has no number for."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
