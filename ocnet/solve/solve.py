"""`solve`: from a problem to its optimal control and what proves it."""

import torch

from ..checks import naming
from ..control.base import equal_times
from ..problem import Batch, Problem
from ..solver import ExplicitRungeKutta, RK4
from ..trajectory import Trajectory
from .compiled import Kernel, kernel, Unsupported
from .implicit import attach, needs_derivatives
from .interior_point import InteriorPoint
from .iterate import linearise
from .method import accuracy, Method, Outcome
from .optimality import hamiltonian, multipliers, optimality, violations
from .solution import as_control, Solution
from .start import COLD, cold, WARM, warm
from .status import describe
from .transcription import Transcription


@naming()
def solve(
    problem: Problem | Batch,
    *,
    method: Method | None = None,
    solver: ExplicitRungeKutta | None = None,
    start: Solution | None = None,
    compile: bool | None = None,
) -> Solution:
    """The control that minimises the cost of a problem, and what proves it.

    The problem is discretised by the solver's steps with the control constant over each, and
    solved with all its constraints. If initial states or parameters require gradients, so do
    cost, control, states and costates of the solution.

    Arguments:
        problem: A problem, whose one initial state `problem.sample` draws, or
            `problem.batch(x0, ...)`: many instances, each with a status of its own.
        method: How to solve it; `InteriorPoint()` by default.
        solver: The steps; `RK4(problem.n_steps)` by default.
        start: A solution of a similar problem to start from, on any grid.
        compile: Whether to work in machine code made of the problem's formulas, which needs a C
            compiler: where that can be done by default, always or never. The first solution of
            a new problem waits for the compiler, later ones and later processes do not. What
            cannot be compiled (`ocnet.solve.compiled`) is computed by torch.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
        ProblemError: If a function of the problem fails or cannot be right; it names function,
            file and line.
        UnsafeCache: If others could have written the compiled code (`ocnet.solve.compiled`).

    A problem that cannot be solved is not an error: its solution's `status` and `reason` tell why.
    """
    batch = problem if isinstance(problem, Batch) else single(problem)
    method = InteriorPoint() if method is None else method
    solver = RK4(batch.problem.n_steps) if solver is None else solver
    if not isinstance(solver, ExplicitRungeKutta):
        raise TypeError(
            f"solver must be an explicit Runge-Kutta method, but got {type(solver).__name__}."
        )
    nlp = Transcription(batch, solver)
    nlp.kernel, backend = machine_code(nlp, compile)
    it = cold(nlp) if start is None else warm(nlp, start)
    outcome = method.run(nlp, it, COLD if start is None else WARM)
    return assembled(nlp, batch, solver, method, outcome, backend)


def machine_code(nlp: Transcription, compile: bool | None) -> tuple[Kernel | None, str]:
    """The compiled functions, or None, and what `Solution.backend` says."""
    if compile is False:
        return None, "torch"
    try:
        return kernel(nlp), "machine code"
    except Unsupported as reason:
        if compile:
            raise
        return None, f"torch, because {reason}"


def single(problem: Problem) -> Batch:
    """The problem from the one initial state that it samples."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ocnet.Problem, but got {type(problem).__name__}.")
    x0, target = problem.sample(1, torch.Generator().manual_seed(0))
    return problem.batch(problem.embed(x0)[0], None if target is None else target[0])


def assembled(
    nlp: Transcription, batch: Batch, solver: ExplicitRungeKutta, method: Method, outcome: Outcome,
    backend: str,
) -> Solution:  # fmt: skip
    """The solution that an outcome amounts to.

    Arguments:
        nlp: The discretised problem.
        batch: The problem as it was given.
        solver: The steps.
        method: What found the outcome.
        outcome: Where it ended.
        backend: What computed it.
    """
    it, shape, problem = outcome.it, nlp.shape, nlp.problem
    tolerance = accuracy(method, it.z.dtype)
    with torch.no_grad():
        lin = linearise(nlp, it)
        words = describe(nlp, outcome, lin, tolerance)
        violation, conditions = violations(lin), optimality(nlp, it, lin)
        running, final = (v.sum((0, 2)) for v in (lin.along.values[1], lin.end.values[0]))
        energy = hamiltonian(nlp, it, lin)
        found = multipliers(nlp, it)
    cost = running + final
    if needs_derivatives(nlp):
        it, cost = attach(nlp, it, lin, torch.full_like(nlp.scale, tolerance / 10))
    x = it.z[..., : nlp.nx].reshape(nlp.n + 1, *shape, *problem.state_shape)
    u = it.u.reshape(nlp.n, *shape, *(problem.control_shape or ()))
    final_time = torch.full_like(cost, problem.t1)
    if nlp.points.free_time:
        final_time = problem.t0 + it.z[0, :, nlp.nx] * (problem.t1 - problem.t0)
    t1 = float(final_time.detach()[0]) if len(final_time) == 1 else problem.t1
    times = torch.tensor(equal_times(problem.t0, t1, nlp.n)).to(x)
    evaluations = nlp.n * len(solver.tableau.b) * int(outcome.iterations.max())
    return Solution(
        batch,
        solver,
        as_control(problem.t0, t1, u.detach()),
        Trajectory(times, x.unbind(), u.unbind(), running.reshape(shape), evaluations),
        cost.reshape(shape),
        (it.costate[..., : nlp.nx] / nlp.scale[:, None]).reshape(x.shape),
        energy.reshape(nlp.n, *shape),
        type(conditions)(*(v.reshape(shape) for v in conditions)),
        violation.reshape(shape),
        found,
        final_time.reshape(shape),
        {k: v.reshape((*shape, *v.shape[1:])) for k, v in nlp.points.constants(it.z[0]).items()},
        outcome.iterations.reshape(shape),
        *zip(*words, strict=True),
        backend=backend,
    )
