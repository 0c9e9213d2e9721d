"""Turns the point where a method ended into the solution that the user gets."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from ...control.base import equal_times
from ...problem import Batch
from ...solver import ExplicitRungeKutta
from ...trajectory import Trajectory
from ..constants import Code, LAST_BARRIER
from ..method import accuracy, Method, Outcome
from ..transcription.backend import Linearisation
from ..transcription.iterate import largest, linearise
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import given_violations, violations
from .consistency import checked_again
from .implicit import needs_derivatives, with_derivatives
from .optimality import hamiltonian, multipliers, optimality
from .solution import as_control, Seconds, Solution
from .soundness import doubted
from .stall import stall
from .status import describe
from .undefined import FailedGradient


MOST_STALLS = 3
"""The number of instances that a solution explains, at most."""


class Computed(NamedTuple):
    """How an outcome was computed.

    Attributes:
        solver: The steps.
        method: The method that found it.
        backend: The text for `Solution.backend`.
        gradient_of_failed: How to treat a gradient through an instance that did not converge.
        seconds: How long each part took so far.
    """

    solver: ExplicitRungeKutta
    method: Method
    backend: str
    gradient_of_failed: FailedGradient
    seconds: Seconds


def assembled(
    nlp: Transcription, batch: Batch, outcome: Outcome, by: Computed, notes: dict[int, str]
) -> Solution:
    """The solution made from an outcome.

    Arguments:
        nlp: The discretised problem.
        batch: The problem as it was given.
        outcome: Where it ended.
        by: How it was computed.
        notes: Further remarks on some instances, by their numbers.
    """
    it, shape, problem = outcome.it, nlp.shape, nlp.problem
    tolerance = accuracy(by.method, it.z.dtype)
    with torch.no_grad():
        lin = linearise(nlp, it) if outcome.lin is None else outcome.lin
        seconds, words = judged(nlp, outcome, lin, by, notes)
        invalid = outcome.code == Code.INVALID.value
        nothing = Iterate(*(torch.full_like(v, torch.nan) for v in it))
        it = it if not nlp.invalid else nothing.where(invalid, it)
        violation = torch.maximum(violations(nlp, lin), largest(given_violations(nlp, lin)))
        conditions = optimality(nlp, it, lin)
        running, final = (v.sum((0, 2)) for v in (lin.along.values[1], lin.end.values[0]))
        energy, found = hamiltonian(nlp, it, lin), multipliers(nlp, it)
        bad = [i for i, (status, _) in enumerate(words) if status not in ("converged", "invalid")]
        stalls = {i: stall(nlp, it, lin, i, words[i][0] != "infeasible") for i in bad[:MOST_STALLS]}

    def of_valid(value: Tensor) -> Tensor:
        return value.masked_fill(invalid, torch.nan).reshape(shape)

    cost = (running + final).masked_fill(invalid, torch.nan)
    if needs_derivatives(nlp):
        it, cost = with_derivatives(
            nlp, batch, it, cost, lin, LAST_BARRIER * tolerance, words, by.gradient_of_failed
        )
    x = it.z[..., : nlp.nx].reshape(nlp.n + 1, *shape, *problem.state_shape)
    u = it.u.reshape(nlp.n, *shape, *(problem.control_shape or ()))
    final_time = torch.full_like(cost, problem.t1)
    if nlp.points.free_time:
        final_time = problem.t0 + it.z[0, :, nlp.nx] * (problem.t1 - problem.t0)
    alone = len(final_time) == 1 and not nlp.invalid
    t1 = float(final_time.detach()[0]) if alone else problem.t1
    times = torch.tensor(equal_times(problem.t0, t1, nlp.n)).to(x)
    evaluations = nlp.n * len(by.solver.tableau.b) * int(outcome.iterations.max())
    return Solution(
        batch,
        by.solver,
        as_control(problem.t0, t1, u.detach()),
        Trajectory(times, x.unbind(), u.unbind(), of_valid(running), evaluations),
        cost.reshape(shape),
        (it.costate[..., : nlp.nx] / nlp.scale[:, None]).reshape(x.shape),
        energy.reshape(nlp.n, *shape),
        type(conditions)(*map(of_valid, conditions)),
        of_valid(violation),
        found,
        final_time.reshape(shape),
        {k: v.reshape((*shape, *v.shape[1:])) for k, v in nlp.points.constants(it.z[0]).items()},
        outcome.iterations.reshape(shape),
        *zip(*words, strict=True),
        backend=by.backend,
        seconds=seconds,
        stalls=stalls,
    )


def judged(
    nlp: Transcription, outcome: Outcome, lin: Linearisation, by: Computed, notes: dict[int, str]
) -> tuple[Seconds, list[tuple[str, str]]]:
    """How long everything took, and the status and reason of each instance.

    Arguments:
        nlp: The discretised problem.
        outcome: Where it ended.
        lin: The linearisation there.
        by: How it was computed.
        notes: Further remarks on some instances, by their numbers.
    """
    tolerance = accuracy(by.method, outcome.it.z.dtype)
    began = time.perf_counter()
    words = describe(nlp, outcome, lin, tolerance)
    words = checked_again(nlp, by.solver, outcome, lin, words, tolerance)
    checking = time.perf_counter() - began
    words = doubted(nlp, outcome, words)
    for i, line in notes.items():
        words[i] = (words[i][0], f"{words[i][1]}; {line}")
    return by.seconds._replace(checking=checking), words
