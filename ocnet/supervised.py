"""Learning from data: an optimal control problem whose samples come from a data set."""

from typing import Any, Literal

import torch
from torch import nn, Tensor

from ._arguments import check_range
from .control import Control
from .problem import Problem, Sample
from .types import Cost, State


__all__ = [
    "augmented",
    "check_sample",
    "default_steps",
    "parameter_groups",
    "resting_parameters",
    "samples",
    "scores",
    "Split",
    "SupervisedProblem",
]


Split = Literal["train", "validation", "test"]

DEFAULT_STEPS = 100
"""The number of steps for a problem that has no depth of its own."""


class SupervisedProblem(Problem):
    """A problem of supervised learning: samples of a data set, and scores of what was learnt.

    Attributes:
        depth: How many steps, or layers, to discretise with unless the user says otherwise.
    """

    depth: int = DEFAULT_STEPS

    def data(self, split: Split) -> Sample | None:
        """All samples of a finite data set's split; None if `sample` draws from a distribution.

        Training goes through "train" in shuffled epochs, chooses on "validation" and reports
        "test" once.
        """
        return None

    def check(self, sample: Sample) -> None:
        """Raises a ValueError if samples are not what the problem takes; anything goes by default.

        Training calls it once for a data set, before that goes to an accelerator.
        """

    def parameter_groups(
        self, control: Control, lr: float, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """What an optimiser trains, as `torch.optim` takes it: one group unless overridden.

        Arguments:
            control: What is trained together with the problem's own parameters.
            lr: The learning rate.
            weight_decay: The weight decay.

        Raises:
            ValueError: Unless the rate is positive and the decay is not negative.
        """
        return one_group(self, control, lr, weight_decay)

    def resting_parameters(self) -> list[nn.Parameter]:
        """Parameters that no cost reads as the problem is now; they take no gradient."""
        return []

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        """A training batch made harder at random, on its device; unchanged by default."""
        return sample

    def score(self, x: State, target: Tensor | None) -> dict[str, Cost]:
        """Further measures of the final state, each `(*batch,)`, such as the accuracy."""
        return {}


def default_steps(problem: Problem) -> int:
    """How many steps to discretise a problem with, unless the user says otherwise."""
    return max(problem.depth, 1) if isinstance(problem, SupervisedProblem) else DEFAULT_STEPS


def samples(problem: Problem, split: Split) -> Sample | None:
    """All samples of a split; None if `sample` draws from a distribution."""
    return problem.data(split) if isinstance(problem, SupervisedProblem) else None


def scores(problem: Problem, x: State, target: Tensor | None) -> dict[str, Cost]:
    """The problem's scores of the final state, each `(*batch,)`; none unless it is supervised."""
    return problem.score(x, target) if isinstance(problem, SupervisedProblem) else {}


def check_sample(problem: Problem, sample: Sample) -> None:
    """Raises a ValueError if samples are not what a supervised problem takes."""
    if isinstance(problem, SupervisedProblem):
        problem.check(sample)


def augmented(problem: Problem, sample: Sample, generator: torch.Generator | None = None) -> Sample:
    """A training batch, made harder at random if the problem does so."""
    if isinstance(problem, SupervisedProblem):
        return problem.augment(sample, generator)
    return sample


def parameter_groups(
    problem: Problem, control: Control, lr: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """What an optimiser trains, as `torch.optim` takes it: one group unless the problem has others.

    Arguments:
        problem: Any problem; a supervised one may have groups of its own.
        control: What is trained together with the problem's own parameters.
        lr: The learning rate.
        weight_decay: The weight decay.

    Raises:
        ValueError: Unless the rate is positive and the decay is not negative.
    """
    if isinstance(problem, SupervisedProblem):
        return problem.parameter_groups(control, lr, weight_decay)
    return one_group(problem, control, lr, weight_decay)


def resting_parameters(problem: Problem) -> list[nn.Parameter]:
    """Parameters of a supervised problem that no cost reads as it is now."""
    return problem.resting_parameters() if isinstance(problem, SupervisedProblem) else []


def one_group(
    problem: Problem, control: Control, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The parameters of the control and of the problem as one group of an optimiser.

    Arguments:
        problem: Any; a supervised one may have groups of its own.
        control: What is trained together with the problem's own parameters.
        lr: The learning rate.
        weight_decay: The weight decay.
    """
    check_rates(lr, weight_decay)
    parameters = [*control.parameters(), *problem.parameters()]
    return [{"params": parameters, "lr": lr, "weight_decay": weight_decay}]


def check_rates(lr: float, weight_decay: float) -> None:
    """Raises a ValueError unless the rate is positive and the weight decay not negative."""
    check_range("lr", lr, "0 <", "< inf")
    check_range("weight_decay", weight_decay, "0 <=", "< inf")
