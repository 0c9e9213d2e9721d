"""Validation while training: what it found, the best model, and when to give up."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_count, shown
from ..control import Control
from ..problem import check_not_empty, Problem, Sample
from ..solver import Solver
from ..supervised import check_sample
from .batches import as_sample
from .history import Validated
from .scores import measure
from .stopping import Stopping


class BestModel:
    """Validates a model between steps, and keeps the values of the best one.

    Arguments:
        problem, control, solver: The model.
        sample: The validation data.
        every: The steps between two validations.
        patience: How many validations in a row may fail to improve; None for any number.
        batch_size: How many samples are evaluated at a time.

    Attributes:
        validations: What was found.
        best_step: After how many steps the model was best, or None before a finite cost.
    """

    sample: Sample
    every: int
    batch_size: int

    def __init__(
        self,
        problem: Problem,
        control: Control,
        solver: Solver,
        sample: Sample,
        every: int,
        patience: int | None,
        batch_size: int,
    ):
        self.model: tuple[Problem, Control, Solver] = (problem, control, solver)
        self.sample, self.every, self.batch_size = sample, every, batch_size
        self.stopping: Stopping = Stopping(patience)
        self.validations: list[Validated] = []
        self.best_step: int | None = None
        self.kept: list[tuple[Tensor, Tensor]] = []

    @property
    def is_over(self) -> bool:
        """Whether the patience has come to its end."""
        return self.stopping.is_over

    def after(self, step: int, last: bool = False) -> float | None:
        """Validates after so many steps, if it is time to; the cost, or None if it is not.

        Arguments:
            step: How many steps were taken.
            last: Whether there are no more.
        """
        if step % self.every and not last:
            return None
        measures = measure(*self.model, self.sample, batch_size=self.batch_size)
        self.validations.append(Validated(step, measures))
        if self.stopping.improves(measures["cost"]):
            self.best_step = step
            problem, control, _ = self.model
            live = [z for part in (problem, control) for z in (*part.parameters(), *part.buffers())]
            self.kept = [(z, z.detach().clone()) for z in live]
        return measures["cost"]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the values of the best model in place, if there was one."""
        for live, value in self.kept:
            live.copy_(value)


def validation_sample(problem: Problem, data: Any) -> Sample:
    """Validation data as one sample: a sample, a pair, inputs alone, or several such batches.

    Arguments:
        problem: What they are for.
        data: The data.

    Raises:
        TypeError, ValueError: If they are something else, or hold values that are not finite.
    """
    if isinstance(data, (Tensor, tuple, dict)):
        sample = as_sample(data, "validation")
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        parts = [as_sample(part, f"validation, batch {k}") for k, part in enumerate(data)]
        if not parts:
            raise ValueError("validation holds no batches.")
        x0, targets = zip(*parts, strict=True)
        if any(target is None for target in targets):
            targets = None
        sample = Sample(torch.cat(x0), None if targets is None else torch.cat(targets))
    else:
        raise TypeError(f"validation must be a sample or batches, but got {shown(data)}.")
    check_not_empty(sample)
    for name, value in zip(("x0", "target"), sample, strict=True):
        if value is not None and value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"validation must be finite, but its {name} holds NaN or infinity.")
    check_sample(problem, sample)
    return sample


def validation_steps(evaluate_every: int | None, per_epoch: int | None, n_steps: int) -> int:
    """The steps between two validations: those asked for, an epoch, or a twentieth of all.

    Arguments:
        evaluate_every: What was asked for, or None.
        per_epoch: The steps of an epoch, or None where there are none.
        n_steps: All steps.
    """
    if evaluate_every is not None:
        check_count("evaluate_every", evaluate_every)
        return evaluate_every
    return per_epoch or max(n_steps // 20, 1)
