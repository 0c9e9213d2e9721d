"""What the commands on trained residual networks share: a network from the folder of its run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..learning import CosineSchedule, training
from ..modes import mode
from ..networks import collect_statistics, ResidualProblem, ResNet
from ..problem import Sample
from ..run import Config, Job, load_checkpoint, RunFolder
from ..run.changes import differing
from ..supervised import samples
from . import checks


NetworkRun = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", callback=checks.run, help="The folder of a run of a residual network."
    ),
]


BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="How many samples at a time; by default as many as have all states in a GiB.",
    ),
]


NO_MATTER = ("epochs", "iterations", "compile", "sharded", "capture", "sync_norms")
"""The settings that may differ without a message if a model is not trained further."""


def tell_changes(run: Path, state: dict[str, Any], job: Job) -> None:
    """Says if a model was trained with other source files, other data or other settings than now.

    Arguments:
        run: The folder of its run.
        state: The checkpoint that the model is from.
        job: The job that it was loaded into.
    """
    found = differing(state["origin"], job.origin, NO_MATTER) if "origin" in state else []
    if found:
        typer.echo(f"ocnet: {run} was trained in another state: {'; '.join(found)}.", err=True)


class TrainedNetwork:
    """The best network of a run, with statistics for its intermediate outputs.

    Arguments:
        run: The folder of the run.

    Attributes:
        network: The network, in evaluation mode.
        config: What the run was asked for.
        job: What it takes to train the network further.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it yet.
        ValueError: If the run's problem is not a residual network for images.
        CheckpointError: If the checkpoint is of another architecture.
    """

    def __init__(self, run: Path):
        folder = RunFolder(run)
        self.config: Config = folder.config()
        self.job: Job = Job(self.config)
        problem, control = self.job.problem, self.job.control
        if not isinstance(problem, ResidualProblem):
            raise ValueError(f"{run} is a run of {self.config.problem}, not a residual network.")
        state = load_checkpoint(folder.best) if folder.best.exists() else folder.latest()
        if state is None:
            raise FileNotFoundError(f"{run} has no checkpoint yet: `ocnet resume {run}` first.")
        self.job.load_model(state.get("job", state))
        tell_changes(run, state, self.job)
        self.network: ResNet = ResNet(problem, control).eval()  # pyright: ignore[reportArgumentType]
        if (problem.readouts.batches == 0).any():
            self.collect(self.network)

    def data(self, split: str) -> Sample:
        """A split of the problem's data, on the device of the network."""
        sample = samples(self.job.problem, split)  # pyright: ignore[reportArgumentType]
        assert sample is not None, "images come as data sets"
        device = self.job.engine.device
        return Sample(*(None if value is None else value.to(device) for value in sample))  # pyright: ignore

    def collect(self, network: ResNet) -> None:
        """Gives the intermediate outputs the statistics of the training images."""
        collect_statistics(network, self.data("train").x0.split(500))

    def tune(self, network: ResNet, epochs: int) -> None:
        """Trains a network for some epochs more, by SGD with a small, falling learning rate.

        There is no stage cost, so the statistics of the intermediate outputs are collected after.
        """
        problem, batches = network.problem, self.job.batches
        count = epochs * (batches.per_epoch or 1)
        groups = network.parameter_groups(0.01, self.config.descent.weight_decay)
        optimizer, schedule = torch.optim.SGD(groups, momentum=0.9), CosineSchedule(count)
        with mode(True, network), unstaged(problem):
            steps = training(
                problem, network.control, network.solver, optimizer, batches,
                engine=self.job.engine,
            )  # fmt: skip
            for step in range(count):
                schedule.apply(optimizer, step)
                next(steps)
        network.eval()
        self.collect(network)


@contextmanager
def unstaged(problem: ResidualProblem) -> Iterator[None]:
    """A context in which the problem has no stage cost."""
    gamma, problem.gamma = problem.gamma, 0.0
    try:
        yield
    finally:
        problem.gamma = gamma
