"""The weight of the stage cost in training, and matching learning rates for read-outs' heads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._arguments import check_kind
from ..networks import ResidualProblem
from .schedule import Schedule


MOMENTS = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2}
"""The entries in which optimisers keep past gradients, with the power of the gradient in each."""


class GammaSchedule:
    r"""`gamma_k` times a share that is a function of the step alone.

    Where a read-out has its own head, the gradient of that head is `gamma_k` times that of its
    loss. The head's rate `lr / gamma_k` makes up for that and follows the share; what the optimiser
    keeps of past gradients is rescaled to the current weight. So own heads learn as if `gamma`
    never changed.

        with schedule.applied(optimizer, step):
            record = next(steps)

    Arguments:
        problem: The problem; outside of the context it keeps the weights that it has now, so that
            costs measured there can be compared.
        schedule: The share, larger than 0, as a function of the step.

    Raises:
        ValueError: If the problem has no stage cost with `gamma > 0`.
    """

    def __init__(self, problem: Any, schedule: Schedule):
        check_kind("schedule", schedule, Schedule)
        if not isinstance(problem, ResidualProblem) or not any(problem.gamma):
            raise ValueError(
                "A schedule of gamma needs a residual network's stage cost with gamma > 0, which "
                f"{type(problem).__name__} does not have here."
            )
        self.problem = problem
        self.schedule = schedule
        self.gamma: tuple[float, ...] = problem.gamma
        own = map(problem.readouts.own_parameters, range(problem.depth))
        self.heads: set[int] = {id(p) for head in own for p in head}

    @contextmanager
    def applied(self, optimizer: torch.optim.Optimizer, step: int) -> Iterator[None]:
        """A context with the weights and learning rates of a step, the next one to take."""
        share = self.schedule(step)
        ratio = share / self.schedule(max(step - 1, 0))
        groups = [g for g in optimizer.param_groups if {id(p) for p in g["params"]} <= self.heads]
        rates = [group["lr"] for group in groups]
        for group in groups:
            reweigh(optimizer, group, ratio)
            # A step of Adam has the same length whatever factor the gradient has.
            if isinstance(optimizer, torch.optim.SGD):
                group["lr"] = group["lr"] / share
        self.problem.gamma = [share * weight for weight in self.gamma]
        try:
            yield
        finally:
            self.problem.gamma = self.gamma
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate


@torch.no_grad()
def reweigh(optimizer: torch.optim.Optimizer, group: dict[str, Any], ratio: float) -> None:
    """Rescales what is kept of a group's past gradients, as if the gradients had been rescaled."""
    if ratio == 1:
        return
    for parameter in group["params"]:
        for name, power in MOMENTS.items():
            kept = optimizer.state[parameter].get(name)
            if kept is not None:
                kept.mul_(ratio**power)
