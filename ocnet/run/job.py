"""Everything that a run consists of while it runs, and the state to resume it from."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn, Tensor

from .._arguments import check_kind
from ..control import Control, Layers
from ..cost import ControlEnergy
from ..learning import Average, Batches, Engine, GammaSchedule, measure, Schedule, Stopping
from ..learning.capture import on_host
from ..learning.processes import is_shard, rank, whole
from ..problem import Problem, Sample
from ..solver import Checkpoint, Solver
from ..supervised import check_sample, default_steps, resting_parameters, samples
from .changes import origin
from .checkpoint import CheckpointError
from .config import Config
from .randomness import Randomness, seed_everything


DRAWN_FOR_VALIDATION = 1000
"""How many samples a problem draws to be validated on if it has no data set."""


class Job:
    """The objects of a training run, made from its configuration.

    Arguments:
        config: What was asked for.
        problem: The problem; the one that the configuration names if None.

    Attributes:
        step: How many iterations were done.
        iterations: How many there are to do.
        obstacle: Why the steps cannot be captured, if that was asked for, or None.
        origin: What the numbers come from: configuration, source files, data, versions.

    Raises:
        ValueError: If the configuration does not fit the problem.
    """

    problem: Problem

    def __init__(self, config: Config, problem: Problem | None = None):
        check_kind("config", config, Config)
        check_kind("problem", problem, Problem, type(None))
        self.config = config
        seed_everything(config.seed)
        self.problem = problem = config.make_problem() if problem is None else problem
        self.engine: Engine = config.execution.make()
        self.solver: Solver = config.discretisation.make(default_steps(problem))
        asked = config.discretisation.steps
        n = default_steps(problem) if asked is None else asked
        self.control: Control = problem.initial_control(
            n, torch.Generator().manual_seed(config.seed)
        )
        saves = isinstance(self.solver.gradient, Checkpoint)
        if config.execution.sharded and saves and isinstance(self.control, Layers):
            check_energy(problem)
        # Processes wait for the gradient of every parameter that takes one.
        for parameter in resting_parameters(problem):
            parameter.requires_grad_(False)
        self.engine.place(problem, self.control)
        self.parameters: list[nn.Parameter] = [
            p for p in (*self.control.parameters(), *problem.parameters()) if p.requires_grad
        ]
        self.optimizer: torch.optim.Optimizer = config.descent.make(problem, self.control)

        self.obstacle: str | None = None
        if config.execution.capture:
            self.obstacle = self.engine.obstacle(self.control, self.solver, self.optimizer)
            self.engine.capture = self.obstacle is None

        generator = torch.Generator().manual_seed(config.seed)
        size = config.length.batch_size
        self.batches: Batches = Batches(problem, size, generator, self.engine.device)
        self.iterations: int = iterations(config, self.batches.per_epoch)
        self.schedule: Schedule = config.descent.course.over(self.iterations)
        self.gamma_schedule: GammaSchedule | None = None
        if not config.gamma.is_flat:
            share = config.gamma.over(self.iterations, "gamma_")
            self.gamma_schedule = GammaSchedule(problem, share)
        every = self.batches.per_epoch or max(self.iterations // 20, 1)
        self.evaluate_every: int = config.validation.evaluate_every or every
        self.validation: Sample | None = self.validation_sample()
        self.stopping: Stopping = Stopping(config.validation.patience)
        if self.validation is None and config.validation.patience is not None:
            raise ValueError("patience needs validation data, but the problem has none.")
        tensors = [*self.parameters, *self.control.buffers(), *problem.buffers()]
        self.average: Average | None = None
        if config.validation.ema is not None:
            self.average = Average(tensors, config.validation.ema)
        self.origin: dict[str, Any] = origin(config, problem, self.batches.data, self.engine.device)
        self.randomness: Randomness = Randomness(problem, self.control, device=self.engine.device)
        # What a problem draws by numpy or Python is the same batch in all processes.
        seed_everything(config.seed)
        # What layers draw, such as dropout, must differ between processes.
        torch.manual_seed(config.seed + rank())

    @property
    def step(self) -> int:
        """How many iterations were done."""
        return self.batches.step

    @property
    def is_over(self) -> bool:
        """Whether all iterations are done, or the patience has run out."""
        return self.step >= self.iterations or self.stopping.is_over

    def scheduled(self) -> AbstractContextManager[None]:
        """Sets the learning rates of the next step and, within the context, its weights."""
        self.schedule.apply(self.optimizer, self.step)
        if self.gamma_schedule is None:
            return nullcontext()
        return self.gamma_schedule.applied(self.optimizer, self.step)

    def validation_sample(self) -> Sample | None:
        """The validation data; drawn if the problem draws its training data, too."""
        if self.batches.data is not None:
            data = samples(self.problem, "validation")
            if data is not None:
                check_sample(self.problem, data)
            return data
        # Not the seed of the batches: that would give the first samples of the training.
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        return self.problem.sample(DRAWN_FOR_VALIDATION, generator)

    def validate(self, sample: Sample) -> dict[str, float]:
        """Mean cost and scores of the present parameters on some samples."""
        # As many at a time as in training, for which there is known to be enough memory.
        return measure(
            self.problem,
            self.control,
            self.solver,
            sample,
            batch_size=self.batches.batch_size,
            engine=self.engine,
        )

    def model(self) -> dict[str, dict[str, Tensor]]:
        """The parameters and statistics of control and problem; every process calls it."""
        modules = {"control": self.control, "problem": self.problem}
        if not self.is_sharded:
            return {name: module.state_dict() for name, module in modules.items()}
        # Here and below, not at the top of the file: importing it takes a second.
        from ..learning.sharding import model_state

        return {name: model_state(module) for name, module in modules.items()}

    def load_model(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Puts parameters and statistics in place.

        Raises:
            CheckpointError: If they are those of another architecture.
        """
        for name, module in (("control", self.control), ("problem", self.problem)):
            check_same_architecture(name, module, state[name])
            if self.is_sharded:
                from ..learning.sharding import load_model_state

                load_model_state(module, state[name])
            else:
                module.load_state_dict(state[name])

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds only a share of the parameters."""
        return any(map(is_shard, self.parameters))

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on bit by bit as if uninterrupted; every process calls it."""
        return {
            **self.model(),
            "kind": self.config.descent.optimizer,
            "optimizer": on_host(whole(self.optimizer.state_dict())),
            "batches": self.batches.state_dict(),
            "engine": self.engine.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "stopping": self.stopping.state_dict(),
            "rng": self.randomness.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state that was saved.

        Raises:
            CheckpointError: If it is the state of another problem, control or architecture.
        """
        try:
            self.take_up(state)
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint does not hold the state of this run: {type(error).__name__} "
                f"({error})."
            ) from error

    def take_up(self, state: dict[str, Any]) -> None:
        """Puts a state in place, part by part."""
        self.load_model(state)
        if state["kind"] == self.config.descent.optimizer:
            self.load_optimizer(state["optimizer"])
        self.batches.load_state_dict(state["batches"])
        self.engine.load_state_dict(state["engine"])
        self.stopping.load_state_dict(state["stopping"])
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        elif self.average is not None:
            # The average was not asked for until now, so it starts at the current parameters.
            self.average = Average(self.average.live, self.average.decay)
        self.randomness.load_state_dict(state["rng"])

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Restores an optimiser's state; rates and decay stay as the configuration asks."""
        pairs = zip(self.optimizer.param_groups, state["param_groups"], strict=True)
        groups = [{**group, "params": saved["params"]} for group, saved in pairs]
        state = {**state, "param_groups": groups}
        if self.is_sharded:
            from ..learning.sharding import load_optimizer_state

            load_optimizer_state(self.optimizer, state)
        else:
            self.optimizer.load_state_dict(state)


def iterations(config: Config, per_epoch: int | None) -> int:
    """How many iterations a run takes.

    Raises:
        ValueError: If epochs are asked for where there is no data set.
    """
    epochs = config.length.epochs
    if epochs is None:
        return config.length.iterations or 1000
    if per_epoch is None:
        raise ValueError(
            "A problem that draws its samples has no epochs: give iterations in place of "
            f"{epochs=}."
        )
    return epochs * per_epoch


def check_energy(problem: Problem) -> None:
    """Raises a ValueError if a cost reads the parameters of layers that are computed again.

    The parameters are shards when the cost is first computed, and whole when it is computed again.
    """
    if any(isinstance(part, ControlEnergy) for part in problem.modules()):
        raise ValueError(
            "gradient=Checkpoint() with sharded=True takes no ControlEnergy of layers; "
            "weight_decay charges their weights, too."
        )


def check_same_architecture(name: str, module: nn.Module, state: dict[str, Tensor]) -> None:
    """Raises a CheckpointError that names the first tensor whose shape is not as saved."""
    own = module.state_dict()
    for key in sorted(set(own) | set(state)):
        here = tuple(own[key].shape) if key in own else "none"
        there = tuple(state[key].shape) if key in state else "none"
        if here != there:
            raise CheckpointError(
                f"The checkpoint is of another architecture: {key} of the {name} has shape "
                f"{there} there, {here} here."
            )
