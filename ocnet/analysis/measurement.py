"""One control under several solvers: the cost, the error and the effort of each."""

import copy
from collections.abc import Sequence

import torch
from tqdm import tqdm

from .._arguments import as_number, check_count, check_generator, check_kind, check_sequence
from ..certificate import certificate_of, FINE_STEPS, Measured, Optima
from ..certificate.terms import extrapolated
from ..checks import misspelt, mixing_in_training, refuse
from ..control import Control, OpenLoop
from ..control.absent import NoControl
from ..origin import provenance
from ..problem import check_not_empty, Problem, Sample
from ..solver import Euler, Solver
from ..solver.base import acting
from ..supervised import samples
from .comparison import Comparison
from .effort import Effort
from .rows import Measurement, without_states


def compare(
    problem: Problem,
    control: Control | None,
    solvers: Sequence[Solver],
    *,
    sample: Sample | None = None,
    generator: torch.Generator | None = None,
    reference: Solver | None = None,
    coarse_costs: Sequence[float] = (),
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
        problem, control: What to solve, without a control if that is None; parameters are left as
            they are.
        solvers: The solvers, at least one.
        sample: The inputs; the problem's test data or 256 samples if None.
        generator: Makes the draws reproducible.
        reference: The first reference; Dormand and Prince at rtol 1e-9 if None.
        coarse_costs: The optimal costs at a quarter and at half as many Euler steps, to estimate
            the optimum in continuous time.
        repeats: How often to time each solver.
        memory: Whether to measure the memory too, which takes much longer than the rest.
        fine_steps: The second reference takes at least so many steps over the horizon.
        seed: Noted in the provenance.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
        ProblemError: If a function of the problem mixes the samples of a batch.
    """
    check_kind("problem", problem, Problem)
    control = acting(problem, control)
    check_kind("control", control, Control)
    check_sequence("solvers", solvers, "solvers")
    if not solvers:
        raise ValueError("solvers must hold at least one solver, but got none.")
    for solver in (*solvers, *([] if reference is None else [reference])):
        check_kind("reference" if solver is reference else "Each of solvers", solver, Solver)
    check_generator(generator)
    check_count("repeats", repeats)
    check_count("fine_steps", fine_steps)
    check_sequence("coarse_costs", coarse_costs)
    for cost in coarse_costs:
        as_number("Each of coarse_costs", cost)
    if sample is not None:
        check_kind("sample", sample, Sample)
    if sample is None:
        sample = samples(problem, "test") or problem.sample(256, generator)
    check_not_empty(sample)
    # On copies, and not in training mode: comparing leaves no trace in running statistics.
    problem, control = copy.deepcopy(problem).eval(), copy.deepcopy(control).eval()
    refuse([*misspelt(problem), *mixing_in_training(problem, control, sample)])
    kept = [solver for solver in solvers if not without_states(solver)]
    network = network_among(kept)
    n = solvers[0].n if network is None else network.n
    measured = Measured.of(problem, control, sample, n, reference, fine_steps)
    effort = Effort(problem, control, sample, repeats, memory)
    measure = Measurement(measured, effort, reference)
    bar = tqdm(solvers, desc="comparing", disable=None if progress else True)
    rows = tuple(map(measure.row, bar))
    optimum = getattr(measured.problem, "optimal_cost", None)
    known = None if optimum is None else optimum(measured.sample.x0).mean().item()
    certificate = None
    if network is not None:
        is_known = len(coarse_costs) and isinstance(network, Euler)
        optima = between_depths(network, measured, coarse_costs) if is_known else None
        certificate = certificate_of(measured, network, optima=optima, known=known)
    device = next((p.device for p in control.parameters()), torch.device("cpu"))
    return Comparison(
        problem=type(problem).__name__,
        rows=rows,
        certificate=certificate,
        curves=tuple(measure.curves),
        differences=tuple(measure.differences),
        points=tuple(measure.points(solvers)),
        control=control_curve(measured.control),
        optimum=known,
        provenance={**provenance(device), "seed": seed},
    )


def network_among(solvers: Sequence[Solver]) -> Solver | None:
    """The solver whose depth is certified: the first Euler, or else the first of fixed steps."""
    is_euler = [solver for solver in solvers if isinstance(solver, Euler)]
    return next((solver for solver in [*is_euler, *solvers] if solver.is_fixed), None)


def between_depths(network: Solver, measured: Measured, coarse_costs: Sequence[float]) -> Optima:
    """What the optima at `n / 4`, `n / 2` and `n` steps say about the one in continuous time.

    The control is admissible in continuous time, so the optimum there costs no more than the
    control does: a higher estimate cannot be right.

    Arguments:
        network: The network, whose control is optimal for its steps.
        measured: The problem and its references.
        coarse_costs: The optimal costs at fewer steps, each at twice as many as the one before.
    """
    costs = (*coarse_costs, measured.path(network).cost.mean().item())
    steps = tuple(network.n // 2**k for k in reversed(range(len(costs))))
    first = measured.first
    if first is None or len(costs) < 3:
        reason = "unknown: it takes optima at three depths, of n a multiple of 4"
        return Optima(steps, costs, None, reason)
    scale = measured.cost_scale.mean().item()
    estimate, note = extrapolated(costs[-3:], scale)
    if estimate is not None and not estimate <= first.cost.mean().item() + 1e-3 * scale:
        note = f"not asymptotic yet: {estimate:.6g} is more than this control costs in the ODE"
        estimate = None
    return Optima(steps, costs, estimate, note)


@torch.no_grad()
def control_curve(control: Control) -> tuple[list[float], list[list[float]]]:
    """The control at 400 times, its first eight components; nothing for layers and policies."""
    if not isinstance(control, OpenLoop) or isinstance(control, NoControl):
        return [], []
    t = torch.linspace(control.t0, control.t1, 400, dtype=torch.float64).tolist()
    return t, control.values(t).flatten(1)[:, :8].tolist()
