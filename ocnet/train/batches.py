"""Training batches: drawn from a distribution, or a data set gone through in shuffled epochs."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..control.base import check_count
from ..problem import Problem, Sample


class Batches:
    """Endless training batches of a problem, whose position can be saved and taken up exactly.

    A finite data set is gone through in shuffled epochs; the last, smaller batch of an epoch is
    left out, so that every step has the same shapes. Other problems draw. Either way the batch of
    a step depends on nothing but the generator: not on the number of processes.

    Arguments:
        problem: Where the samples come from.
        batch_size: How many samples a batch has; the whole data set if it has fewer.
        generator: The source of randomness, on the CPU; one is seeded from torch's if None.
        device: Where to keep a data set.

    Attributes:
        per_epoch: The number of batches in an epoch, or None if the problem draws.
        step: How many batches were given out.
    """

    def __init__(
        self,
        problem: Problem,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ):
        check_count("batch_size", batch_size)
        self.problem = problem
        self.batch_size = batch_size
        self.generator = generator or torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        device = torch.device(device)
        # What is augmented on an accelerator needs a generator of that device.
        self.noise = self.generator
        if device.type != "cpu":
            self.noise = torch.Generator(device).manual_seed(self.generator.initial_seed())
        data = problem.data("train")
        if data is not None:
            problem.check(data)
        self.data = move(data, device)
        self.per_epoch = None
        if self.data is not None:
            self.batch_size = min(batch_size, len(self.data.x0))
            self.per_epoch = len(self.data.x0) // self.batch_size
        self.order: Tensor | None = None
        self.order_state = self.generator.get_state()
        self.step = 0

    @property
    def epoch(self) -> float | None:
        """How many times the data set was gone through, or None if the problem draws."""
        return None if self.per_epoch is None else self.step / self.per_epoch

    def __iter__(self) -> Iterator[Sample]:
        while True:
            batch = self.next()
            self.step += 1
            yield batch

    def next(self) -> Sample:
        """The batch of the present step."""
        if self.data is None or self.per_epoch is None:
            return self.problem.sample(self.batch_size, self.generator)
        position = self.step % self.per_epoch
        if position == 0 or self.order is None:
            self.order_state = self.generator.get_state()
            self.order = self.shuffled(len(self.data.x0))
        index = self.order[position * self.batch_size : (position + 1) * self.batch_size]
        x0, target = self.data
        index = index.to(x0.device)
        batch = Sample(x0[index], None if target is None else target[index])
        return self.problem.augment(batch, self.noise)

    def shuffled(self, n: int) -> Tensor:
        """A random order of `n` samples."""
        return torch.randperm(n, generator=self.generator)

    def state_dict(self) -> dict[str, Any]:
        """The position and the state of the randomness."""
        return {
            "step": self.step,
            "order": self.order_state,
            "generator": self.generator.get_state(),
            "noise": self.noise.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a position that was saved."""
        self.step = state["step"]
        self.order_state = state["order"]
        self.generator.set_state(state["order"])
        self.order = None if self.data is None else self.shuffled(len(self.data.x0))
        self.generator.set_state(state["generator"])
        if self.noise is not self.generator:
            self.noise.set_state(state["noise"])


def endless(data: Iterable, check: Callable[[Sample], None] | None = None) -> Iterator[Sample]:
    """The batches of `data`, again and again.

    Arguments:
        data: Pairs of inputs and targets.
        check: Looks at each batch the first time.

    Raises:
        ValueError: If there are none.
    """
    for epoch in itertools.count():
        empty = True
        for x0, target in data:
            empty = False
            sample = Sample(x0, target)
            if check is not None and epoch == 0:
                check(sample)
            yield sample
        if empty:
            raise ValueError("data holds no batches.")


def move(sample: Sample | None, device: torch.device) -> Sample | None:
    """A sample on another device."""
    if sample is None:
        return None
    x0, target = sample
    return Sample(x0.to(device), None if target is None else target.to(device))
