"""One control under several solvers: what each costs, how far off it is, what it takes."""

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from tqdm import tqdm

from .._arguments import as_number, check_count, check_generator, check_kind, check_sequence
from ..certificate import certify, FINE_STEPS, Measured, Optima, Path
from ..checks import misspelt, mixing_in_training, refuse
from ..control import Control, OpenLoop
from ..origin import provenance
from ..problem import check_not_empty, Problem, Sample
from ..solver import Euler, ExplicitRungeKutta, Solver, SolverError, TorchDiffEq
from .comparison import Comparison, Curve, Difference, Row, WorkPoint
from .effort import peak, seconds


TOLERANCES = (1e-3, 1e-5, 1e-7)
"""Relative tolerances at which an adaptive method is measured for the work-precision diagram."""


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
    memory: bool = False,
    fine_steps: int = FINE_STEPS,
    seed: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Solves one problem with one control under several solvers.

    Errors, orders and the certificate are measured in double precision against two references of
    different kind; wall time and memory in the problem's own precision, with the gradient, as one
    step of training needs it.

    Arguments:
        problem, control: What to solve; parameters are left as they are.
        solvers: The solvers, at least one.
        sample: The inputs; the problem's test data or 256 samples if None.
        generator: Makes the draws reproducible.
        reference: The first reference; Dormand and Prince at rtol 1e-9 if None.
        coarse_cost: The optimal cost at half as many Euler steps, to estimate the optimum.
        repeats: How often to time each solver.
        memory: Whether to measure the memory too, which takes much longer than the rest.
        fine_steps: At least how many steps the second reference takes over the horizon.
        seed: Noted in the provenance.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
        ProblemError: If a function of the problem mixes the samples of a batch.
    """
    check_kind("problem", problem, Problem)
    check_kind("control", control, Control)
    check_sequence("solvers", solvers, "solvers")
    if not solvers:
        raise ValueError("solvers must hold at least one solver, but got none.")
    for solver in (*solvers, *([] if reference is None else [reference])):
        check_kind("reference" if solver is reference else "Each of solvers", solver, Solver)
    check_generator(generator)
    check_count("repeats", repeats)
    check_count("fine_steps", fine_steps)
    if coarse_cost is not None:
        as_number("coarse_cost", coarse_cost)
    if sample is not None:
        check_kind("sample", sample, Sample)
    if sample is None:
        sample = problem.data("test") or problem.sample(256, generator)
    check_not_empty(sample)
    # On copies, and not in training mode: comparing leaves no trace in running statistics.
    problem, control = copy.deepcopy(problem).eval(), copy.deepcopy(control).eval()
    refuse([*misspelt(problem), *mixing_in_training(problem, control, sample)])
    kept = [solver for solver in solvers if not without_states(solver)]
    network = first_of(Euler, kept) or first_of(ExplicitRungeKutta, kept)
    n = solvers[0].n if network is None else network.n
    measured = Measured.of(problem, control, sample, n, reference, fine_steps)
    measure = Measurement(problem, control, sample, measured, repeats, memory, reference)
    bar = tqdm(solvers, desc="comparing", disable=None if progress else True)
    rows = tuple(map(measure.row, bar))
    optimum = getattr(measured.problem, "optimal_cost", None)
    known = None if optimum is None else optimum(measured.sample.x0).mean().item()
    certificate = None
    if network is not None:
        path = measure.paths.get(repr(network))
        optima = None if coarse_cost is None else between_depths(network, path, coarse_cost)
        certificate = certify(measured, network, path=path, optima=optima, known=known)
    device = next((p.device for p in control.parameters()), torch.device("cpu"))
    return Comparison(
        problem=type(problem).__name__,
        rows=rows,
        certificate=certificate,
        curves=tuple(curve(name, path) for name, path in measure.paths.items()),
        differences=tuple(measure.differences()),
        points=tuple(measure.points(solvers)),
        control=control_curve(measured.control),
        optimum=known,
        provenance={**provenance(device), "seed": seed},
    )


def first_of(
    kind: type[ExplicitRungeKutta], solvers: Iterable[Solver]
) -> ExplicitRungeKutta | None:
    """The first solver of a kind, or None."""
    return next((solver for solver in solvers if isinstance(solver, kind)), None)


def between_depths(network: Solver, path: Path | None, coarse_cost: float) -> Optima | None:
    """The estimate of the optimum from those at `n / 2` and `n` steps of an Euler network."""
    if path is None:
        return None
    fine = path.cost.mean().item()
    rate = 2**network.order
    steps = (network.n // 2, network.n)
    return Optima(steps, (coarse_cost, fine), (rate * fine - coarse_cost) / (rate - 1), "")


class Measurement:
    """Measures solvers: accuracy on copies in double precision, effort on the originals.

    Arguments:
        problem, control, sample: What to solve.
        exact: The copies, with their references.
        repeats: How often to time each solver.
        memory: Whether to measure the memory.
        reference: The reference that was asked for, or None.

    Attributes:
        paths: What each solver gave, by its name.
        times: The seconds that each took, by its name.
    """

    def __init__(
        self,
        problem: Problem,
        control: Control,
        sample: Sample,
        exact: Measured,
        repeats: int,
        memory: bool,
        reference: Solver | None,
    ):
        self.problem, self.control, self.sample = problem, control, sample
        self.exact = exact
        self.repeats = repeats
        self.memory = memory
        self.method = getattr(reference, "method", "dopri5" if reference is None else None)
        self.paths: dict[str, Path] = {}
        self.times: dict[str, float] = {}

    def time(self, solver: Solver, repeats: int) -> float:
        """The seconds that a solver takes, measured once."""
        name = repr(solver)
        if name not in self.times:
            self.times[name] = seconds(self.problem, self.control, solver, self.sample, repeats)
        return self.times[name]

    def row(self, solver: Solver) -> Row:
        """What one solver does."""
        exact, nan = self.exact, math.nan
        try:
            path = exact.path(solver)
            with torch.no_grad():
                scores = exact.problem.score(path.final, exact.sample.target)
            time = self.time(solver, self.repeats)
            held = self.memory and peak(self.problem, self.control, solver, self.sample) or None
        except SolverError as error:
            return Row(
                repr(solver), nan, nan, nan, nan, None, 0, nan, None, {},
                note=f"stops at t={error.time:.3g}",
            )  # fmt: skip
        except ValueError as error:
            if not without_states(solver):
                raise
            return Row(repr(solver), nan, nan, nan, nan, None, 0, nan, None, {}, note=str(error))
        self.paths[repr(solver)] = path
        reference = exact.first
        known = reference is not None
        return Row(
            solver=repr(solver),
            cost=path.cost.mean().item(),
            cost_error=(path.cost.mean() - reference.cost.mean()).abs().item() if known else nan,
            state_error=self.distance(path),
            path_gap=exact.gap(path).path.max().item() if known else nan,
            order=self.order(solver, path) if known else None,
            evaluations=path.evaluations,
            seconds=time,
            memory=held,
            scores={name: value.mean().item() for name, value in scores.items()},
            is_reference=self.is_reference(solver),
        )

    def is_reference(self, solver: Solver) -> bool:
        """Whether the first reference uses the same method, so that it cannot tell its error."""
        return isinstance(solver, TorchDiffEq) and solver.method == self.method

    def yardstick(self, solver: Solver) -> Path | None:
        """What a solver's error is measured against: not against its own method."""
        return self.exact.second if self.is_reference(solver) else self.exact.first

    def distance(self, path: Path, yardstick: Path | None = None) -> float:
        """The largest Euclidean distance between final states of the batch."""
        yardstick = yardstick or self.exact.first
        if yardstick is None:
            return math.nan
        off = path.pieces[-1].x[-1] - yardstick.pieces[-1].x[-1]
        return off.norm(dim=-1).max().item()

    def order(self, solver: Solver, path: Path) -> float | None:
        """`log2` of how much the error of the final state falls when the steps are halved."""
        if not solver.is_fixed or self.exact.first is None or self.exact.second is None:
            return None
        finer = self.exact.path(solver.with_steps(2 * solver.n))
        errors = [self.distance(state) for state in (path, finer)]
        largest = path.pieces[-1].x[-1].abs().max().item()
        floor = max(1e-9 * max(largest, 1e-300), 20 * self.distance(self.exact.second))
        if not min(errors) > floor or not all(map(math.isfinite, errors)):
            return None
        return math.log2(errors[0] / errors[1])

    def differences(self) -> Iterable[Difference]:
        """How far each solver is off along the path, over the samples."""
        first = self.exact.first
        if first is None:
            return
        t = [t for piece in first.pieces for t in piece.times]
        for name, path in self.paths.items():
            off = self.exact.differences(path)
            ranked = off.sort(1).values
            last = ranked.shape[1] - 1
            median, most, worst = (
                ranked[:, math.ceil(share * last)].tolist() for share in (0.5, 0.95, 1.0)
            )
            yield Difference(name, t, median, most, worst)

    def points(self, solvers: Sequence[Solver]) -> Iterable[WorkPoint]:
        """Work and precision of each solver at several settings."""
        if self.exact.first is None:
            return
        for solver in solvers:
            for setting in settings_of(solver):
                try:
                    path = self.exact.path(setting)
                    time = self.time(setting, 1)
                except SolverError:
                    continue
                except ValueError:
                    if not without_states(setting):
                        raise
                    continue
                error = self.exact.gap(path, self.yardstick(setting)).path.max().item()
                yield WorkPoint(family(solver), repr(setting), path.evaluations, time, error)


def without_states(solver: Solver) -> bool:
    """Whether a solver keeps no states between the first and the last to be compared."""
    return isinstance(solver, ExplicitRungeKutta) and solver.gradient == "reversible"


def family(solver: Solver) -> str:
    """The name of a method without its steps or tolerances."""
    return solver.method if isinstance(solver, TorchDiffEq) else type(solver).__name__


def settings_of(solver: Solver) -> list[Solver]:
    """The solver with other steps, or tolerances."""
    if solver.is_fixed:
        depths = {max(1, solver.n // 4), max(1, solver.n // 2), solver.n, 2 * solver.n}
        return [solver.with_steps(n) for n in sorted(depths)]
    found = []
    for rtol in TOLERANCES:
        other = copy.copy(solver)
        other.rtol, other.atol = rtol, rtol / 100  # pyright: ignore[reportAttributeAccessIssue]
        found.append(other)
    return found


def curve(name: str, path: Path) -> Curve:
    """The first sample's path, where the state keeps its shape."""
    piece, *others = path.pieces
    if others:
        return Curve(name, [], [])
    x = piece.x[:, 0]
    return Curve(name, list(piece.times), x[:, :8].tolist())


@torch.no_grad()
def control_curve(control: Control) -> tuple[list[float], list[list[float]]]:
    """The control at 400 times, its first eight components; nothing for layers and policies."""
    if not isinstance(control, OpenLoop):
        return [], []
    t = torch.linspace(control.t0, control.t1, 400, dtype=torch.float64).tolist()
    return t, control.values(t).flatten(1)[:, :8].tolist()
