"""What one solution with its gradient takes: wall time and memory."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import profile, ProfilerActivity

from ..certificate.measured import identity
from ..control import Control
from ..evaluation import evaluate
from ..problem import Problem, Sample
from ..solver import Solver


BUDGET = 0.5
"""Once its timing has taken so many seconds, a solver is not timed again."""


def gradient_step(
    problem: Problem, control: Control, solver: Solver, sample: Sample
) -> Callable[[], None]:
    """One solution with its gradient, as a function to be measured.

    Arguments:
        problem, control, solver, sample: What to solve.
    """
    parameters = [p for p in (*control.parameters(), *problem.parameters()) if p.requires_grad]

    def step() -> None:
        cost, _ = evaluate(problem, control, solver, sample)
        if cost.requires_grad:
            torch.autograd.grad(cost.mean(), parameters, allow_unused=True)
        if sample.x0.is_cuda:
            torch.cuda.synchronize()

    return step


class Effort:
    """What solutions with their gradients take.

    Arguments:
        problem, control, sample: What to solve.
        repeats: How often to time a solver at most; less often, but at least once, where that
            takes longer than `BUDGET`.
        with_memory: Whether to measure the memory too.
    """

    problem: Problem
    control: Control
    sample: Sample

    def __init__(
        self, problem: Problem, control: Control, sample: Sample, repeats: int, with_memory: bool
    ):
        self.problem, self.control, self.sample = problem, control, sample
        self.repeats = repeats
        self.with_memory = with_memory
        self.found: dict[str, float] = {}

    def seconds(self, solver: Solver, again: bool = True) -> float:
        """The median seconds of one solution with its gradient, measured once for each solver.

        Arguments:
            solver: What is timed; solvers that print alike are taken for the same.
            again: Whether to run once to warm up, and then several times.
        """
        name = identity(solver)
        if name not in self.found:
            step = gradient_step(self.problem, self.control, solver, self.sample)
            if again:
                step()
            self.found[name] = statistics.median(timed(step, self.repeats if again else 1))
        return self.found[name]

    def memory(self, solver: Solver) -> int | None:
        """The peak of bytes, or None if that was not asked for."""
        if not self.with_memory:
            return None
        return peak(self.problem, self.control, solver, self.sample)


def timed(step: Callable[[], None], repeats: int) -> list[float]:
    """The seconds of some calls, at most `repeats` and about as many as `BUDGET` allows."""
    taken = []
    while not taken or (len(taken) < repeats and sum(taken) < BUDGET):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return taken


def peak(problem: Problem, control: Control, solver: Solver, sample: Sample) -> int:
    """The peak bytes of one solution with its gradient. Arguments: those of `gradient_step`."""
    step = gradient_step(problem, control, solver, sample)
    step()
    return peak_bytes(step, sample.x0.is_cuda)


@contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable while the context lasts, unless the user has set it.

    Arguments:
        name: The variable.
        value: Its value.
    """
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def peak_bytes(run: Callable[[], object], cuda: bool) -> int:
    """The peak of the memory in use during a run, beyond what was in use before."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    # On a machine without a GPU, the profiler's library prints what it misses on the terminal.
    with setting("KINETO_LOG_LEVEL", "99"):
        # Older versions of torch warn that earlier cycles would be lost, but there is only one.
        with profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
        ) as profiler:
            run()
    assert profiler.profiler and profiler.profiler.kineto_results, "the profiler ran"
    events: list[Any] = profiler.profiler.kineto_results.events()
    events = [event for event in events if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return peak
