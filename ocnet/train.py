"""The one training loop."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from .control import Control
from .control.base import check_count
from .objective import evaluate
from .problem import Problem, Sample
from .solver import Solver, SolverError
from .trajectory import Trajectory


class Record(NamedTuple):
    """What one step of training measured, before it updated the parameters.

    Attributes:
        step: The index of the step.
        cost: The mean cost of the batch.
        grad_norm: The Euclidean norm of the gradient.
    """

    step: int
    cost: float
    grad_norm: float


@dataclass(frozen=True)
class History:
    """What training measured, one record a step; `ocnet.plot.history` draws it."""

    records: Sequence[Record]

    @property
    def cost(self) -> list[float]:
        """The mean cost of the batch at each step."""
        return [record.cost for record in self.records]

    @property
    def grad_norm(self) -> list[float]:
        """The norm of the gradient at each step."""
        return [record.grad_norm for record in self.records]


class NonFiniteCost(FloatingPointError):
    """A cost that is infinite or not a number; the last good parameters are back in place.

    Attributes:
        step: The step of training.
        layer: The first layer whose state is not finite, or None if all are.
        time: The time of that layer.
    """

    def __init__(self, message: str, step: int, layer: int | None, time: float | None):
        super().__init__(message)
        self.step = step
        self.layer = layer
        self.time = time


def train(
    problem: Problem,
    control: Control,
    solver: Solver,
    optimizer: torch.optim.Optimizer,
    *,
    n_steps: int,
    batch_size: int = 1,
    data: Iterable | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> History:
    """Minimises the expected cost by gradient steps, and shows how it goes.

    Arguments:
        problem: What to solve.
        control: The control to train, in place.
        solver: How to discretise.
        optimizer: Any of torch.optim, L-BFGS included; it holds the parameters to train,
            usually `control.parameters()`, and `problem.parameters()` where there are any.
        n_steps: The number of optimiser steps.
        batch_size: The number of samples that `problem.sample` draws at each step.
        data: Batches to use instead, pairs of inputs and targets such as a DataLoader yields;
            gone through again and again.
        generator: Makes the draws reproducible.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        NonFiniteCost: As soon as the cost is not finite.
        SolverError: If an adaptive solver breaks down.
        ValueError: If the data hold values that are not finite.
    """
    check_count("n_steps", n_steps)
    batches = batches_of(problem, batch_size, generator) if data is None else endless(data)
    steps = training(problem, control, solver, optimizer, batches)
    records = []
    # Two a second at most: a bar must not slow down a step of a millisecond.
    with tqdm(total=n_steps, disable=None if progress else True, mininterval=0.5) as bar:
        for _ in range(n_steps):
            record = next(steps)
            records.append(record)
            bar.set_postfix_str(f"cost {record.cost:.4g}", refresh=False)
            bar.update()
    return History(records)


def training(
    problem: Problem,
    control: Control,
    solver: Solver,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Sample],
) -> Iterator[Record]:
    """The training loop itself, one record for each batch.

    A generator: the caller's `for` loop is the place for schedules, logging, checkpoints and
    early stopping. Arguments and errors: as of `train`.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    device = parameters[0].device
    good = [p.detach().clone() for p in parameters]
    for step, (x0, target) in enumerate(batches):
        sample = Sample(x0.to(device), target if target is None else target.to(device))
        first: list[Tensor] = []

        def closure(step: int = step, sample: Sample = sample, first: list = first) -> Tensor:
            optimizer.zero_grad()
            try:
                costs, trajectory = evaluate(problem, control, solver, sample)
            except SolverError:
                restore(parameters, good)
                raise
            cost = costs.mean()
            if not torch.isfinite(cost):
                restore(parameters, good)
                raise non_finite(step, cost, sample, trajectory)
            cost.backward()
            if not first:
                gradients = [p.grad for p in parameters if p.grad is not None]
                first.extend((cost.detach(), torch.nn.utils.get_total_norm(gradients)))
                # These parameters gave a finite cost; what the update makes of them may not.
                restore(good, parameters)
            return cost

        optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
        cost, grad_norm = (value.item() for value in first)
        yield Record(step, cost, grad_norm)


@torch.no_grad()
def restore(parameters: list[Tensor], good: list[Tensor]) -> None:
    """Overwrites `parameters` with `good` ones."""
    torch._foreach_copy_(parameters, good)  # pyright: ignore[reportPrivateImportUsage]


def non_finite(
    step: int, cost: Tensor, sample: Sample, trajectory: Trajectory
) -> NonFiniteCost | ValueError:
    """The error that tells where a cost stopped being finite."""
    for name, value in zip(("x0", "target"), sample, strict=True):
        if value is not None and value.is_floating_point() and not torch.isfinite(value).all():
            kind = "NaN" if torch.isnan(value).any() else "infinite values"
            return ValueError(f"{name} holds {kind}, in the batch of step {step}.")
    layer = trajectory.first_non_finite()
    if layer is None:
        where, time = "though every state is finite", None
    else:
        time = float(trajectory.t[layer])
        where = f"the state first at layer {layer}, time t={time:.6g}"
    message = (
        f"Non-finite cost {cost.item()} at step {step}, {where}; "
        "the parameters are back at their last good values. A smaller learning rate may help."
    )
    return NonFiniteCost(message, step, layer, time)


def batches_of(
    problem: Problem, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Sample]:
    """Endless batches drawn from the problem."""
    check_count("batch_size", batch_size)
    while True:
        yield problem.sample(batch_size, generator)


def endless(data: Iterable) -> Iterator[Sample]:
    """The batches of `data`, again and again.

    Raises:
        ValueError: If there are none.
    """
    while True:
        empty = True
        for x0, target in data:
            empty = False
            yield Sample(x0, target)
        if empty:
            raise ValueError("data holds no batches.")
