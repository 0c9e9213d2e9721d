"""The one loop that takes gradient steps, with its guards; it minimises an `Objective`."""

import abc
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn, Tensor

from ..problem import Sample
from ..solver import SolverError
from .failure import check_finite_data, LastGood, non_finite, non_finite_gradient, total_norm
from .history import Record
from .processes import whole


Gradient = Callable[[Tensor, Tensor | None], Tensor]
"""Maps inputs and targets to the costs and the norm of their gradient, in one tensor."""

Update = Callable[[Callable[[], Tensor]], None]
"""Takes a step, given a closure that computes a gradient and returns the cost."""


class Objective(abc.ABC):
    """What gradient steps minimise: a cost, or the costs of several systems side by side.

    Attributes:
        tracked: A module whose running statistics a cost that is not finite spoils, or None.
        side_by_side: How many independent systems there are, or None for one cost.
        skips: Whether an update with a gradient that overflows is left out.
    """

    tracked: nn.Module | None = None
    side_by_side: int | None = None
    skips: bool = False

    @abc.abstractmethod
    def backward(self, sample: Sample) -> Tensor:
        """The cost of a batch, or one for each system; its gradient is added to the parameters'.

        With several systems, the gradient of each one is that of its own cost.
        """

    @abc.abstractmethod
    def value(self, sample: Sample) -> Tensor:
        """The cost of a batch, or one for each system, without a gradient."""

    @abc.abstractmethod
    def place(self, sample: Sample) -> tuple[int, float] | None:
        """The index and time of the first state that is not finite, or None if all are finite."""

    def prepared(
        self, gradient: Gradient, optimizer: torch.optim.Optimizer
    ) -> tuple[Gradient, Update]:
        """The function that computes a gradient, and the one that takes a step with it."""
        return gradient, lambda closure: optimizer.step(closure)  # pyright: ignore


def descent(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    samples: Iterable[Sample],
    *,
    clip: float | None = None,
    start: int = 0,
) -> Iterator[Record]:
    """Gradient steps, one for each batch, each with the record of what it measured.

    After a cost or a gradient that is not finite, the parameters are those that last gave a finite
    cost. A line search that calls the closure under `torch.no_grad()` gets only the cost, finite
    or not. With several systems side by side, a cost that is not finite stops none of them.

    Arguments:
        objective: What to minimise.
        optimizer: It holds the parameters.
        samples: The batches, on the device of the parameters.
        clip: The norm that a longer gradient is scaled to, or None.
        start: The index of the first step.

    Raises:
        NonFiniteCost: As soon as a cost or a gradient is not finite.
        SolverError: If an adaptive solver breaks down.
        ValueError: If the cost depends on no parameter, or a batch holds values that are not
            finite.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    alone = objective.side_by_side is None
    # Systems side by side are not put back: one that diverges would put all of them back.
    last_good = LastGood(parameters if alone else [], objective.tracked if alone else None)

    def computed(x0: Tensor, target: Tensor | None) -> Tensor:
        """The costs and the norm of their gradient, which is then clipped."""
        optimizer.zero_grad()
        costs = objective.backward(Sample(x0, target)).reshape(-1)
        gradients = [g for p in parameters if (g := p.grad) is not None]
        if not gradients:
            raise ValueError("The cost must depend on a parameter that the optimizer holds.")
        grad_norm = total_norm(gradients)
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, grad_norm)
        return torch.cat((costs, whole(grad_norm).to(costs).reshape(1)))

    gradient, update = objective.prepared(computed, optimizer)
    finite = True
    for step, sample in enumerate(samples, start):
        first: list[list[float]] = []

        def closure(
            step: int = step, sample: Sample = sample, first: list[list[float]] = first
        ) -> Tensor:
            nonlocal finite
            if not torch.is_grad_enabled():
                return objective.value(sample).sum()
            try:
                measured = gradient(*sample)
            except SolverError:
                last_good.restore()
                raise
            # The one place where the host waits for the device.
            values = measured.tolist()
            if not math.isfinite(sum(values)):
                if alone:
                    error = failure(objective, step, values, sample, parameters)
                    if error is not None:
                        last_good.restore()
                        raise error
                elif finite:
                    finite = False
                    check_finite_data(step, sample)
            if not first:
                first.append(values)
                # These parameters gave a finite cost; the updated ones may not.
                last_good.keep()
            return measured[0] if alone else measured[:-1].sum()

        update(closure)
        (*costs, grad_norm) = first[0]
        yield Record(step, sum(costs), grad_norm, () if alone else tuple(costs))


def failure(
    objective: Objective,
    step: int,
    measured: list[float],
    sample: Sample,
    parameters: list[Tensor],
) -> Exception | None:
    """The error for a non-finite cost or gradient; None if both are finite or the step is skipped.

    Arguments:
        objective: What is minimised.
        step, sample: The step and its batch.
        measured: The cost and the norm of its gradient.
        parameters: What is trained, with its gradient.
    """
    cost, grad_norm = measured
    if not math.isfinite(cost):
        return non_finite(step, cost, sample, objective.place(sample), parameters)
    if math.isfinite(grad_norm) or objective.skips:
        return None
    return non_finite_gradient(step, cost, sample, parameters)
