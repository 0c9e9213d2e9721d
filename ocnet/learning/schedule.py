"""Schedules: a share, of the learning rate or of the stage cost, as a function of the step."""

import abc
import math
from collections.abc import Sequence

import torch

from .._arguments import check_count, check_range, check_sequence


class Schedule(abc.ABC):
    """A function of the step alone, so that a resumed run needs no saved state for it.

    Use it in the loop that `training` feeds, before a step is taken:

        schedule.apply(optimizer, step)

    Arguments:
        warmup: The number of steps in which the share first grows linearly from `1 / warmup` to 1.
    """

    def __init__(self, warmup: int = 0):
        check_count("warmup", warmup, least=0)
        self.warmup = warmup

    @abc.abstractmethod
    def share(self, step: int) -> float:
        """The share at a step, without the warm-up."""

    def __call__(self, step: int) -> float:
        """The share at a step."""
        return min(1.0, (step + 1) / max(self.warmup, 1)) * self.share(step)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Sets the learning rates for a step: the share times the optimiser's initial rates."""
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
            rate = group["initial_lr"] * self(step)
            if isinstance(group["lr"], torch.Tensor):
                # A recorded step reads the rate from the same place in memory.
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


class ConstantSchedule(Schedule):
    """A constant learning rate after the warm-up."""

    def share(self, step: int) -> float:
        return 1.0


class CosineSchedule(Schedule):
    """`(1 + cos(pi s)) / 2`, where `s` goes from 0 at the end of the warm-up to 1 at `n_steps`.

    Arguments:
        n_steps: The number of steps of the run.
        warmup: The number of steps in which the rate first grows linearly.

    Raises:
        ValueError: Unless the warm-up is shorter than the run.
    """

    def __init__(self, n_steps: int, warmup: int = 0):
        super().__init__(warmup)
        check_count("n_steps", n_steps)
        if not warmup < n_steps:
            raise ValueError(f"Must have warmup < n_steps, but got {warmup=} and {n_steps=}.")
        self.n_steps = n_steps

    def share(self, step: int) -> float:
        s = (step - self.warmup) / (self.n_steps - self.warmup)
        return (1 + math.cos(math.pi * min(max(s, 0.0), 1.0))) / 2


class StepSchedule(Schedule):
    """`factor` to the power of the number of milestones that were reached.

    Arguments:
        milestones: Steps, in increasing order.
        factor: What the share is multiplied with at each.
        warmup: The number of steps in which the rate first grows linearly.

    Raises:
        TypeError, ValueError: Unless the milestones are steps that increase, and the factor a
            number of at least 0.
    """

    def __init__(self, milestones: Sequence[int], factor: float = 0.1, warmup: int = 0):
        super().__init__(warmup)
        check_sequence("milestones", milestones, "steps")
        milestones = list(milestones)
        for milestone in milestones:
            check_count("milestones", milestone, least=0)
        if milestones != sorted(set(milestones)):
            raise ValueError(f"milestones must increase, but got {milestones}.")
        check_range("factor", factor, "0 <=", "< inf")
        self.milestones = milestones
        self.factor = factor

    def share(self, step: int) -> float:
        return self.factor ** sum(step >= milestone for milestone in self.milestones)
