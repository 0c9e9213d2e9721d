"""One control under several solvers: what each costs, how far off it is, what it takes."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm

from ..checks import misspelt, mixing_in_training, refuse
from ..control import Control, OpenLoop
from ..objective import evaluate
from ..problem import check_not_empty, Problem, Sample
from ..provenance import provenance
from ..solver import Euler, Solver, SolverError
from .certificate import (
    certificate_of,
    double,
    doubled,
    Outcome,
    outcome,
    reference_solver,
)
from .comparison import Comparison, Curve, Row
from .effort import effort


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
        ProblemError: If a function of the problem mixes the samples of a batch.
    """
    if not solvers:
        raise ValueError("solvers must hold at least one solver, but got none.")
    if sample is None:
        sample = problem.data("test") or problem.sample(256, generator)
    check_not_empty(sample)
    # On copies, and not in training mode: comparing leaves no trace in running statistics.
    problem, control = copy.deepcopy(problem).eval(), copy.deepcopy(control).eval()
    refuse([*misspelt(problem), *mixing_in_training(problem, control, sample)])
    exact = Exact.of(problem, control, sample, reference or reference_solver())
    rows = tuple(
        measure(problem, control, solver, sample, exact, repeats)
        for solver in tqdm(solvers, desc="comparing", disable=None if progress else True)
    )
    euler = next((s for s in solvers if isinstance(s, Euler)), None)
    certificate = None
    if euler is not None and exact.reference is not None:
        certificate = certificate_of(euler, exact.solved, exact.reference, coarse_cost)
    optimum = getattr(exact.problem, "optimal_cost", None)
    device = next((p.device for p in control.parameters()), torch.device("cpu"))
    return Comparison(
        problem=type(problem).__name__,
        rows=rows,
        certificate=certificate,
        curves=tuple(curve(exact, solver) for solver in solvers),
        control=control_curve(exact.control),
        optimum=None if optimum is None else optimum(exact.sample.x0).mean().item(),
        provenance={**provenance(device), "seed": seed},
    )


@dataclass(frozen=True)
class Exact:
    """Copies in double precision, in which errors are measured, and what they are measured against.

    Attributes:
        problem, control, sample: The copies.
        reference: What the tight solver gives; None if it breaks down.
    """

    problem: Problem
    control: Control
    sample: Sample
    reference: Outcome | None

    @classmethod
    def of(cls, problem: Problem, control: Control, sample: Sample, reference: Solver) -> "Exact":
        """The copies, solved by the tight solver once."""
        problem, control = double(problem, control)
        sample = doubled(sample)
        try:
            return cls(problem, control, sample, outcome(problem, control, reference, sample))
        except SolverError:
            return cls(problem, control, sample, None)

    def solved(self, solver: Solver) -> Outcome:
        """What another solver gives."""
        return outcome(self.problem, self.control, solver, self.sample)


def measure(
    problem: Problem,
    control: Control,
    solver: Solver,
    sample: Sample,
    exact: Exact,
    repeats: int,
) -> Row:
    """One row: accuracy on the copies in double precision, effort on the originals."""
    try:
        J, x, evaluations = exact.solved(solver)
        with torch.no_grad():
            scores = exact.problem.score(x, exact.sample.target)
        seconds, memory = effort(problem, control, solver, sample, repeats)
    except SolverError as error:
        nan, note = math.nan, f"stops at t={error.time:.3g}"
        return Row(repr(solver), nan, nan, nan, None, 0, nan, 0, {}, note)
    reference = exact.reference
    return Row(
        solver=repr(solver),
        cost=J,
        cost_error=math.nan if reference is None else abs(J - reference.cost),
        state_error=math.nan if reference is None else distance(x, reference.x, exact.problem),
        order=None if reference is None else observed_order(exact, solver, x, reference.x),
        evaluations=evaluations,
        seconds=seconds,
        memory=memory,
        scores={name: value.mean().item() for name, value in scores.items()},
    )


def distance(x: torch.Tensor, x_ref: torch.Tensor, problem: Problem) -> float:
    """The largest Euclidean distance between final states of the batch."""
    rank = len(problem.state_shape)
    return (x - x_ref).flatten(x.dim() - rank).norm(dim=-1).max().item()


def observed_order(
    exact: Exact, solver: Solver, x: torch.Tensor, x_ref: torch.Tensor
) -> float | None:
    """`log2` of how much the error of the final state `x` falls when the steps are halved."""
    if not solver.is_fixed:
        return None
    finer = exact.solved(solver.with_steps(2 * solver.n)).x
    errors = [distance(state, x_ref, exact.problem) for state in (x, finer)]
    floor = 1e-9 * max(x_ref.abs().max().item(), 1.0)
    return math.log2(errors[0] / errors[1]) if min(errors) > floor else None


@torch.no_grad()
def curve(exact: Exact, solver: Solver) -> Curve:
    """The first sample's path, at least at fifty times where the solver can give them."""
    sample = exact.sample
    first = Sample(sample.x0[:1], None if sample.target is None else sample.target[:1])
    if not solver.is_fixed:
        solver = solver.with_steps(max(solver.n, 50))
    try:
        _, trajectory = evaluate(exact.problem, exact.control, solver, first)
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
