"""The groups of what a run is asked for: each checks its own values and makes its own objects."""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from .._arguments import check_count, check_kind, check_range
from ..control import Control
from ..learning import Engine, Schedule
from ..problem import Problem
from ..registry import GRADIENTS, named_optimizer, named_solver, OPTIMIZERS, SCHEDULES, SOLVERS
from ..solver import Solver


def check_word(name: str, value: str, words: Collection[str]) -> None:
    """Raises a TypeError or ValueError unless a value is one of some words."""
    check_kind(name, value, str)
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, but got {value!r}.")


def check_switches(**switches: bool) -> None:
    """Raises a TypeError for the first value that is not a switch."""
    for name, value in switches.items():
        check_kind(name, value, bool)


def check_counts(**counts: int | None) -> None:
    """Raises a TypeError or ValueError unless each value is a positive number or None."""
    for name, value in counts.items():
        if value is not None:
            check_count(name, value)


@dataclass(frozen=True)
class Discretisation:
    """How the problem is discretised and differentiated.

    Attributes:
        solver, gradient: Words of `ocnet.registry`: the solver and how it differentiates.
        steps: The steps of the solver; the problem's own number if None.
    """

    solver: str = "euler"
    gradient: str = "backprop"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_word("solver", self.solver, SOLVERS)
        check_word("gradient", self.gradient, GRADIENTS)
        check_counts(steps=self.steps)

    def make(self, steps: int) -> Solver:
        """The solver, with the problem's number of steps unless another was asked for."""
        return named_solver(self.solver, steps if self.steps is None else self.steps, self.gradient)


@dataclass(frozen=True)
class Length:
    """How long a run takes, and on how many samples at a time.

    Attributes:
        epochs, iterations: How long to train; one of them, 1000 iterations if neither.
        batch_size: The samples of one iteration, over all processes and parts.
    """

    epochs: int | None = None
    iterations: int | None = None
    batch_size: int = 128

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, iterations=self.iterations)
        check_count("batch_size", self.batch_size)
        if self.epochs is not None and self.iterations is not None:
            raise ValueError(
                "Give epochs or iterations, but not both: got "
                f"epochs={self.epochs} and iterations={self.iterations}."
            )


@dataclass(frozen=True)
class Course:
    """How a value goes over a run: its share as a function of the step.

    Attributes:
        schedule: A word of `ocnet.registry`; "step" divides by ten after 1/2 and 3/4 of the run.
        warmup: Over how many iterations the share first grows.
    """

    schedule: str = "constant"
    warmup: int = 0

    def check(self, prefix: str = "") -> None:
        """Raises a TypeError or ValueError that names a value with the prefix of its owner."""
        check_word(f"{prefix}schedule", self.schedule, SCHEDULES)
        check_count(f"{prefix}warmup", self.warmup, least=0)

    @property
    def is_flat(self) -> bool:
        """Whether the share is 1 all the time."""
        return self.schedule == "constant" and self.warmup == 0

    def over(self, iterations: int, prefix: str = "") -> Schedule:
        """The schedule over a run of so many iterations.

        Raises:
            ValueError: If the warm-up is not shorter than the run.
        """
        if self.warmup and not self.warmup < iterations:
            raise ValueError(
                f"Must have {prefix}warmup < iterations, but got {prefix}warmup={self.warmup} "
                f"and {iterations=}."
            )
        return SCHEDULES[self.schedule](iterations, self.warmup)


@dataclass(frozen=True)
class Descent:
    """The steps of the optimiser.

    Attributes:
        optimizer: A word of `ocnet.registry`.
        lr: The learning rate; the usual one of the optimiser if None.
        weight_decay: That of the problem's parameter groups; L-BFGS has none.
        clip: The norm that longer gradients are scaled to, or None.
        course: The share of the learning rate.
    """

    optimizer: str = "adam"
    lr: float | None = None
    weight_decay: float = 0.0
    clip: float | None = None
    course: Course = Course()

    def __post_init__(self) -> None:
        check_word("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("lr", "clip"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), "0 <", "< inf")
        check_range("weight_decay", self.weight_decay, "0 <=", "< inf")
        check_kind("course", self.course, Course)
        self.course.check()

    def make(self, problem: Problem, control: Control) -> torch.optim.Optimizer:
        """The optimiser of a problem's parameter groups."""
        return named_optimizer(self.optimizer, problem, control, self.lr, self.weight_decay)


@dataclass(frozen=True)
class Validation:
    """How the best model is found.

    Attributes:
        ema: The decay of the moving average that is validated and kept as the best, or None.
        patience: How many validations in a row may fail to improve, or None.
        evaluate_every: Iterations between validations; an epoch, or a twentieth of the run.
    """

    ema: float | None = None
    patience: int | None = None
    evaluate_every: int | None = None

    def __post_init__(self) -> None:
        if self.ema is not None:
            check_range("ema", self.ema, "0 <", "< 1")
        check_counts(patience=self.patience, evaluate_every=self.evaluate_every)


@dataclass(frozen=True)
class Execution:
    """How a run is carried out: the arguments of `ocnet.learning.Engine`, which explains them.

    Attributes:
        device, precision, compile, accumulate, sync_norms, sharded, capture, channels_last: Those
            of the engine.
    """

    device: str = "auto"
    precision: str = "32"
    compile: bool = False
    accumulate: int = 1
    sync_norms: bool = False
    sharded: bool = False
    capture: bool = False
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        check_kind("device", self.device, str)
        check_kind("precision", self.precision, str)
        check_count("accumulate", self.accumulate)
        check_switches(
            compile=self.compile, sync_norms=self.sync_norms, sharded=self.sharded,
            capture=self.capture,
        )  # fmt: skip
        check_kind("channels_last", self.channels_last, bool, type(None))

    def make(self) -> Engine:
        """The engine.

        Raises:
            ValueError: If the precision or the device is not known, or not there.
        """
        return Engine(
            self.device,
            precision=self.precision,
            compile=self.compile,
            accumulate=self.accumulate,
            sync_norms=self.sync_norms,
            sharded=self.sharded,
            capture=self.capture,
            channels_last=self.channels_last,
        )


@dataclass(frozen=True)
class Keeping:
    """What is kept while a run lasts.

    Attributes:
        checkpoint_every: Seconds between checkpoints; 0 writes one each iteration.
        tensorboard: Whether to write the metrics for TensorBoard, too.
    """

    checkpoint_every: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_range("checkpoint_every", self.checkpoint_every, "0 <=", "<= inf")
        check_switches(tensorboard=self.tensorboard)
