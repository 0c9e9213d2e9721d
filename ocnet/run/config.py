"""What a run was asked for, as plain values that JSON can hold."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import torch

from .._arguments import check_count, check_kind, check_range
from ..catalogue import load_trainable_problem
from ..control import Control
from ..errors import OcnetError
from ..learning import Schedule
from ..problem import Problem
from ..registry import GRADIENTS, named_solver, OPTIMIZERS, SCHEDULES, SOLVERS
from ..solver import Solver
from ..supervised import parameter_groups
from .randomness import seed_everything


class ConfigError(OcnetError, ValueError):
    """A configuration that does not fit together, or does not fit its problem."""


@dataclass(frozen=True)
class Config:
    """What a run was asked for.

    Attributes:
        problem: `module:Class` or `path/to/file.py:Class`.
        settings: The arguments of its constructor, each "key=value".
        solver, gradient, optimizer, schedule: Words of `ocnet.registry`: the solver and how it
            differentiates; the optimiser; the learning rate's course, "step" divides it by ten
            after 1/2 and 3/4 of the run.
        steps: The steps of the solver; the problem's own number if None.
        epochs, iterations: How long to train; one of them, 1000 iterations if neither.
        batch_size: The samples of one iteration, over all processes and parts.
        lr: The learning rate; the usual one of the optimiser if None.
        weight_decay: That of `problem.parameter_groups`; L-BFGS has none.
        warmup: Over how many iterations the learning rate first grows.
        gamma_schedule, gamma_warmup: The same of the weight of a residual network's stage cost in
            the steps of training; validation measures the cost with the whole weight.
        clip: The norm that longer gradients are scaled to, or None.
        ema: The decay of the moving average that is validated and kept as the best, or None.
        patience: How many validations in a row may fail to improve, or None.
        evaluate_every: Iterations between validations; an epoch, or a twentieth of the run.
        checkpoint_every: Seconds between checkpoints; 0 writes one each iteration.
        device, precision, compile, accumulate, sync_norms, sharded, capture, channels_last: How a
            step is carried out; see `ocnet.learning.Engine`.
        seed: Of the control's initial values and of the batches.
        tensorboard: Whether to write the metrics for TensorBoard, too.
    """

    problem: str
    settings: list[str] = field(default_factory=list)
    solver: str = "euler"
    gradient: str = "backprop"
    steps: int | None = None
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float | None = None
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    gamma_schedule: str = "constant"
    gamma_warmup: int = 0
    clip: float | None = None
    ema: float | None = None
    patience: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: float = 60.0
    device: str = "auto"
    precision: str = "32"
    compile: bool = False
    accumulate: int = 1
    sync_norms: bool = False
    sharded: bool = False
    capture: bool = False
    channels_last: bool | None = None
    seed: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        self.check_types()
        for name in ("steps", "epochs", "iterations", "patience", "evaluate_every"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_count("batch_size", self.batch_size)
        check_count("warmup", self.warmup, least=0)
        check_count("gamma_warmup", self.gamma_warmup, least=0)
        if self.epochs is not None and self.iterations is not None:
            raise ValueError(
                "Give epochs or iterations, but not both: got "
                f"epochs={self.epochs} and iterations={self.iterations}."
            )
        named = {
            "solver": SOLVERS, "gradient": GRADIENTS, "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES, "gamma_schedule": SCHEDULES,
        }  # fmt: skip
        for name, choices in named.items():
            if getattr(self, name) not in choices:
                known = ", ".join(choices)
                raise ValueError(f"{name} must be one of {known}, but got {getattr(self, name)!r}.")
        for name in ("lr", "clip"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), "0 <", "< inf")
        check_range("weight_decay", self.weight_decay, "0 <=", "< inf")
        if self.ema is not None:
            check_range("ema", self.ema, "0 <", "< 1")
        if self.capture and self.changes_gamma:
            raise ValueError(
                "capture=True keeps gamma as it was recorded: it takes no schedule of gamma."
            )
        if self.sharded and self.optimizer == "lbfgs":
            raise ValueError("L-BFGS needs whole parameters, but got sharded=True.")
        if self.sharded and self.gradient == "reversible":
            raise ValueError("Reversible needs whole parameters, but got sharded=True.")
        check_range("checkpoint_every", self.checkpoint_every, "0 <=", "<= inf")

    def check_types(self) -> None:
        """Raises a TypeError or ValueError for a text, a switch or a seed that is none."""
        texts = ("problem", "solver", "gradient", "optimizer", "schedule", "gamma_schedule")
        for name in (*texts, "device", "precision"):
            check_kind(name, getattr(self, name), str)
        switches = ("compile", "sync_norms", "sharded", "capture", "tensorboard")
        for name in switches:
            check_kind(name, getattr(self, name), bool)
        check_kind("channels_last", self.channels_last, bool, type(None))
        check_kind("settings", self.settings, list)
        for setting in self.settings:
            check_kind("Each of settings", setting, str)
        check_count("seed", self.seed, least=0)
        check_range("seed", self.seed, "0 <=", f"< {2**63}")
        check_count("accumulate", self.accumulate)

    def to_json(self) -> str:
        """The values as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The values that `to_json` wrote.

        Raises:
            ValueError: If the text is not JSON, or names something that this version does not know.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a configuration must be a JSON object, but is {str(values)[:40]!r}.")
        if "problem" not in values:
            raise ValueError("the configuration names no problem.")
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"it asks for {unknown[0]!r}, unknown to this version.")
        return cls(**values)

    def make_problem(self) -> Problem:
        """The problem, whose random values depend on the seed alone.

        Raises:
            ValueError, TypeError: If it cannot be found, or does not take the settings.
        """
        seed_everything(self.seed)
        return load_trainable_problem(self.problem, self.settings)

    def make_solver(self, steps: int) -> Solver:
        """The solver, with the problem's number of steps unless another was asked for."""
        steps = steps if self.steps is None else self.steps
        return named_solver(self.solver, steps, self.gradient)

    def make_optimizer(self, problem: Problem, control: Control) -> torch.optim.Optimizer:
        """The optimiser of a problem's parameter groups."""
        word, decay = OPTIMIZERS[self.optimizer], self.weight_decay
        lr = word.lr if self.lr is None else self.lr
        groups = trainable(parameter_groups(problem, control, lr, decay))
        if decay and not word.has_decay:
            raise ValueError(f"L-BFGS has no weight decay, but got weight_decay={decay}.")
        return word.make(groups, lr)

    @property
    def changes_gamma(self) -> bool:
        """Whether the weight of the stage cost changes during the run."""
        return self.gamma_schedule != "constant" or self.gamma_warmup > 0

    def make_schedule(self, iterations: int) -> Schedule:
        """The schedule of the learning rate over a run of so many iterations."""
        if self.warmup and not self.warmup < iterations:
            raise ValueError(
                f"Must have warmup < iterations, but got warmup={self.warmup} and {iterations=}."
            )
        return SCHEDULES[self.schedule](iterations, self.warmup)

    def make_gamma_schedule(self, iterations: int) -> Schedule:
        """The schedule of the weight of the stage cost over a run of so many iterations.

        Raises:
            ValueError: If the warm-up is not shorter than the run.
        """
        if not self.gamma_warmup < iterations:
            raise ValueError(
                f"Must have gamma_warmup < iterations, but got gamma_warmup={self.gamma_warmup} "
                f"and {iterations} iterations."
            )
        return SCHEDULES[self.gamma_schedule](iterations, self.gamma_warmup)


def trainable(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with those parameters alone that take a gradient, without empty ones."""
    some = [{**g, "params": [p for p in g["params"] if p.requires_grad]} for g in groups]
    return [group for group in some if group["params"]]
