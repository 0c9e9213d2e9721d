"""Schedulers of the learning rate in `train`: torch's, and those of this library."""

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from .._arguments import check_kind
from .schedule import Schedule


class Rates:
    """Steps a scheduler at the right moments.

    Arguments:
        scheduler: A scheduler of torch for the optimiser, a `Schedule`, or None.
        optimizer: The optimiser.
        validates: Whether there are validations, which `ReduceLROnPlateau` needs.

    Raises:
        TypeError, ValueError: If the scheduler is neither, is of another optimiser, or needs
            validations that there are not.
    """

    def __init__(self, scheduler: Any, optimizer: torch.optim.Optimizer, validates: bool):
        check_kind("scheduler", scheduler, LRScheduler, Schedule, type(None))
        self.scheduler = scheduler
        self.optimizer = optimizer
        if not isinstance(scheduler, LRScheduler):
            return
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                f"scheduler must be one of the optimizer that trains, but this "
                f"{type(scheduler).__name__} is of another {type(scheduler.optimizer).__name__}."
            )
        if isinstance(scheduler, ReduceLROnPlateau) and not validates:
            raise ValueError("ReduceLROnPlateau needs validation=..., whose cost it sees.")

    def before(self, step: int) -> None:
        """Sets the rates of a step, the next one to take."""
        if isinstance(self.scheduler, Schedule):
            self.scheduler.apply(self.optimizer, step)

    def after(self, cost: float | None) -> None:
        """Goes on after a step, with the cost of a validation if there was one."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if cost is not None:
                self.scheduler.step(cost)
        elif isinstance(self.scheduler, LRScheduler):
            self.scheduler.step()
