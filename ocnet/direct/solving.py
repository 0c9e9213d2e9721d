"""`solve`: from a problem to its optimal control and what proves it."""

import time
from typing import Any, get_args

import torch
from torch import Tensor

from .._arguments import check_kind
from ..checks import differentiating, moving_the_start, naming, refuse, sampled
from ..control import Control
from ..problem import Batch, Problem
from ..solver import ExplicitRungeKutta, RK4
from ..supervised import default_steps
from .answer.assembly import assembled, Computed
from .answer.solution import Seconds, Solution
from .answer.undefined import FailedGradient
from .answer.warm import warm
from .compiled import Formulas, kernel_of, reads_of, traced, Unsupported
from .constants import Code
from .interior_point.interior_point import InteriorPoint
from .method import Method, Outcome, replaced
from .multistart import best_of, check_starts
from .transcription.autograd import Autograd
from .transcription.check import check_start, share_checks
from .transcription.guess import Guess, guessed, States
from .transcription.precision import computing_in, in_precision
from .transcription.start import COLD, cold, NOTHING, WARM
from .transcription.transcription import Transcription


@naming()
def solve(
    problem: Problem | Batch,
    *,
    method: Method | None = None,
    solver: ExplicitRungeKutta | None = None,
    start: Solution | Control | States | tuple[States, Control] | None = None,
    starts: int = 1,
    seed: int = 0,
    compile: bool | None = None,
    dtype: torch.dtype | None = torch.float64,
    gradient_of_failed: FailedGradient = "nan",
) -> Solution:
    """The control that minimises the cost of a problem, and what proves it.

    The problem is discretised by the solver's steps with the control constant over each, and
    solved with all its constraints. If initial states or parameters require gradients, so do
    cost, control, states and costates of the solution.

    Arguments:
        problem: A problem, whose one initial state `problem.sample` draws, or
            `problem.batch(x0, ...)`: many instances, each with a status of its own.
        method: How to solve it; `InteriorPoint()` by default.
        solver: The steps; `RK4(100)` by default.
        start: What to start from, on any grid: a solution of a similar problem; an open-loop
            control; states at equal distances, shape `(nodes, *state_shape)` or `(nodes, *batch,
            *state_shape)`; a function from a time to such a state; or a pair of states and control.
            Where the final time is free, the horizon of a guess is `[t0, t1]`.
        starts: The number of starts from which each instance is solved, as one batch: the cold one,
            and others with random controls, final time and static parameters. The best is the
            answer, `reason` says how many agreed, and `iterations` counts all of them.
        seed: The seed of these random numbers.
        compile: Whether to work in machine code made of the problem's formulas, which needs a C
            compiler: by default where that is possible; always if True, never if False. The first
            solution of a new problem waits for the compiler, later ones and later processes do not.
            What cannot be compiled (`ocnet.direct.compiled`) is computed by torch.
        dtype: The precision to compute in: double by default, whatever torch's default is. A
            problem with other tensors is copied, and `solution.batch` holds the copy. None takes
            the precision of the initial states.
        gradient_of_failed: The gradient through an instance that did not converge: "nan",
            with a warning, or "raise" for a RuntimeError in the backward pass.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
        ProblemError: If a function of the problem fails or cannot be right; it names function,
            file and line.
        UnsafeCache: If others could have written the compiled code (`ocnet.direct.compiled`).

    A problem that cannot be solved is not an error: its solution's `status` and `reason` say why.
    Nor is an instance given with NaN or infinite values: it is "invalid", its results are NaN, and
    the other instances are solved as if it were not there.
    """
    given = problem if isinstance(problem, Batch) else single(problem)
    check_kind("problem", given.problem, Problem)
    check_kind("parameters", given.parameters, dict)
    check_kind("x0", given.x0, Tensor)
    method = InteriorPoint() if method is None else method
    solver = RK4(default_steps(given.problem)) if solver is None else solver
    check_ways(method, solver, compile, gradient_of_failed)
    batch = in_precision(given, dtype)
    with computing_in(batch.x0.dtype):
        share_checks(given, batch)
        nlp = Transcription(batch, solver, Autograd(), reads_of)
        guess = NOTHING
        if isinstance(start, Solution):
            check_start(batch, start)
        elif start is not None:
            guess = guessed(nlp, start)
        check_starts(starts, seed, start is not None)
        # The copy has been checked by now; the next call makes another one of the same problem.
        share_checks(given, batch)
        began = time.perf_counter()
        formulas = traced_if_possible(nlp)
        tracing = time.perf_counter() - began
        backend = compiled_if_possible(nlp, compile, formulas, method)
        with differentiating(*batch[:3]):
            if starts > 1:
                outcome, notes = best_of(nlp, method, starts, seed)
            else:
                before = start if isinstance(start, Solution) else None
                outcome, unused = improved(nlp, method, before, guess)
                notes = {i: f"started cold, as {line}" for i, line in unused.items()}
        seconds = Seconds(tracing, time.perf_counter() - began - tracing, 0.0)
        by = Computed(solver, method, backend, gradient_of_failed, seconds)
        return assembled(nlp, batch, outcome, by, notes)


def check_ways(method: Any, solver: Any, compile: Any, gradient_of_failed: Any) -> None:
    """Raises a TypeError or ValueError unless `solve` can compute in the way that is asked for.

    Arguments:
        method: An instance of `Method`.
        solver: An explicit Runge-Kutta method.
        compile: A boolean or None.
        gradient_of_failed: A word of `FailedGradient`.
    """
    if not isinstance(solver, ExplicitRungeKutta):
        raise TypeError(
            f"solver must be an explicit Runge-Kutta method, but got {type(solver).__name__}."
        )
    if gradient_of_failed not in get_args(FailedGradient):
        raise ValueError(
            f'gradient_of_failed must be "nan" or "raise", but got {gradient_of_failed!r}.'
        )
    if compile is not None and not isinstance(compile, bool):
        raise TypeError(f"compile must be True, False or None, but got {compile!r}.")
    if not isinstance(method, Method):
        raise TypeError(f"method must be a method such as InteriorPoint(), but got {method!r}.")


def improved(
    nlp: Transcription, method: Method, start: Solution | None, guess: Guess
) -> tuple[Outcome, dict[int, str]]:
    """Where a method ends from a start, and why some instances could not make use of it.

    Invalid instances are left out, so that they do not affect the others.

    Arguments:
        nlp: The discretised problem.
        method: How to solve it.
        start: A solution to start from, or None.
        guess: What to start from where there is no solution.
    """
    valid = torch.ones_like(nlp.scale, dtype=torch.bool)
    valid[list(nlp.invalid)] = False
    usable = torch.zeros_like(valid)
    groups, unused = [], {}
    if start is not None:
        it, wrong = warm(nlp, start)
        unused = {i: line for i, line in wrong.items() if bool(valid[i])}
        usable = valid.clone()
        usable[list(unused)] = False
        groups.append((usable, it, nlp.scale, WARM))
    if bool((valid & ~usable).any()) or start is None:
        it = cold(nlp, guess)
        groups.append((valid & ~usable, it, nlp.scale, COLD))
    for which, it, scale, mu in groups:
        if bool(which.all()):
            nlp.scale = scale
            return method.run(nlp, it, mu), unused
    none = torch.zeros_like(valid, dtype=torch.int64)
    out = Outcome(groups[-1][1], none + Code.INVALID.value, none, valid & False)
    scales = groups[-1][2].clone()
    for which, it, scale, mu in groups:
        at = which.nonzero()[:, 0]
        if len(at) > 0:
            nlp.scale = scale
            part = nlp.take(at)
            out = replaced(out, at, method.run(part, it.take(at), mu))
            scales[at] = part.scale
    nlp.scale = scales
    return out, unused


def traced_if_possible(nlp: Transcription) -> Formulas | Unsupported:
    """The problem's formulas, or why there are none.

    Where the time occurs in none of them, all points may share one time.

    Raises:
        ValueError: If a static parameter occurs in none of them: its guess would be the answer.
    """
    try:
        formulas = traced(nlp)
    except Unsupported as reason:
        return reason
    for name in formulas.unread(nlp):
        raise ValueError(
            f"The static parameter {name!r} acts in no function of {type(nlp.problem).__name__}: "
            "let it act in dynamics, costs or constraints, or make it an ordinary parameter."
        )
    if not formulas.read_time():
        nlp.share_time()
    return formulas


def compiled_if_possible(
    nlp: Transcription, compile: bool | None, formulas: Formulas | Unsupported, method: Method
) -> str:
    """Hands the problem its machine code; returns the text for `Solution.backend`.

    Arguments:
        nlp: The discretised problem.
        compile: Whether to do so; None to do so where it is possible.
        formulas: Its formulas, or why there are none.
        method: How it is to be solved.

    Raises:
        Unsupported: If there is no machine code, but there must be.
    """
    if compile is False:
        return "torch, because compile=False"
    try:
        if isinstance(formulas, Unsupported):
            raise formulas
        nlp.backend = kernel_of(nlp, formulas)
    except Unsupported as reason:
        if compile:
            raise
        return f"torch, because {reason}"
    if method.by_torch is None:
        return "machine code"
    return f"torch, because {method.by_torch}; derivatives by machine code"


def single(problem: Problem) -> Batch:
    """The problem from the one initial state that it samples."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ocnet.Problem, but got {type(problem).__name__}.")
    refuse(moving_the_start(problem, list(problem.static_parameters)))
    x0, target = sampled(problem)
    return problem.batch(problem.embed(x0)[0], None if target is None else target[0])
