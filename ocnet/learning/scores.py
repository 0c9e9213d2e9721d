"""Mean cost and scores over a data set."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .._arguments import check_count, check_kind
from ..control import Control
from ..modes import mode
from ..problem import check_not_empty, Problem, Sample
from ..solver import Solver
from ..solver.base import acting
from ..solver.recompute import statistics, tracking
from .engine import Engine
from .processes import rank, share_first, total, world_size


@torch.no_grad()
def measure(
    problem: Problem,
    control: Control | None,
    solver: Solver,
    sample: Sample,
    *,
    batch_size: int = 1000,
    engine: Engine | None = None,
) -> dict[str, float]:
    """The mean cost and the mean scores in evaluation mode, over all processes.

    Arguments:
        problem, control, solver: What to measure.
        sample: All samples to measure it on, at least one for each process.
        batch_size: How many of them at a time.
        engine: The precision and the device; those of the parameters if None.

    Returns:
        The means under "cost" and the names of `problem.score`.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
    """
    check_kind("problem", problem, Problem)
    control = acting(problem, control)
    check_kind("control", control, Control)
    check_kind("solver", solver, Solver)
    check_kind("sample", sample, Sample)
    check_count("batch_size", batch_size)
    if engine is None:
        p = next(control.parameters(), None)
        engine = Engine(sample.x0.device if p is None else p.device)
    check_kind("engine", engine, Engine)
    check_not_empty(sample)
    n = len(sample.x0)
    cost = engine.mean_cost(problem, control)
    # Each process follows the statistics of its own share; a checkpoint keeps the first one's.
    share_first(statistics(tracking(cost)))
    sums: dict[str, Tensor] = {}
    with mode(False, problem, control):
        for part in parts(sample, batch_size):
            part = engine.to_device(part)
            with engine.autocast():
                measured = cost.measures(solver, part)
            for name, value in measured.items():
                sums[name] = sums.get(name, 0) + value.double().sum()
    return {name: total(value).item() / n for name, value in sums.items()}


def parts(sample: Sample, batch_size: int) -> Iterator[Sample]:
    """This process's share of the samples, in batches."""
    mine = slice(rank(), None, world_size())
    x0s = sample.x0[mine].split(batch_size)
    if sample.target is None:
        return map(Sample, x0s)
    return map(Sample, x0s, sample.target[mine].split(batch_size))
