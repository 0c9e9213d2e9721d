"""What one solution with its gradient takes: wall time and memory."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import profile, ProfilerActivity

from ..control import Control
from ..evaluation import evaluate
from ..problem import Problem, Sample
from ..solver import Solver


BUDGET = 0.5
"""Seconds after which a solver is not timed once more."""


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


def seconds(
    problem: Problem, control: Control, solver: Solver, sample: Sample, repeats: int
) -> float:
    """The median seconds of one solution with its gradient.

    Arguments:
        problem, control, solver, sample: What to solve.
        repeats: How often to time it at most, after once to warm up; less often, but once, where
            that takes longer than `BUDGET`.
    """
    step = gradient_step(problem, control, solver, sample)
    step()
    taken = []
    while not taken or (len(taken) < repeats and sum(taken) < BUDGET):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def peak(problem: Problem, control: Control, solver: Solver, sample: Sample) -> int:
    """The peak bytes of one solution with its gradient. Arguments: as of `gradient_step`."""
    step = gradient_step(problem, control, solver, sample)
    step()
    return peak_bytes(step, sample.x0.is_cuda)


def peak_bytes(run: Callable[[], object], cuda: bool) -> int:
    """The most memory that lives at once during a run, beyond what lived before."""
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    # The profiler's library reports to the terminal what it misses on a machine without a GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # One cycle; older versions of torch warn that they would forget the ones before.
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
