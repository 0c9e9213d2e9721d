"""Training batches: drawn from a distribution, or from a data set in shuffled epochs."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .._arguments import as_device, check_count, check_generator, check_kind, shown
from ..problem import Problem, Sample
from ..supervised import augmented, check_sample, samples


class Batches:
    """Endless training batches of a problem; their position can be saved and restored exactly.

    A finite data set is used in shuffled epochs; the last, smaller batch of an epoch is dropped,
    so that every step has the same shapes. Other problems draw their samples. Either way, the
    batch of a step depends only on the generator, not on the number of processes.

    Arguments:
        problem: Where the samples come from.
        batch_size: How many samples a batch has; the whole data set if it has fewer.
        generator: The source of randomness, on the CPU; one is seeded from torch's if None.
        device: Where to keep a data set.

    Attributes:
        per_epoch: The number of batches in an epoch, or None if the problem draws.
        step: How many batches were handed out.
    """

    def __init__(
        self,
        problem: Problem,
        batch_size: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ):
        check_kind("problem", problem, Problem)
        check_count("batch_size", batch_size)
        check_generator(generator)
        self.problem = problem
        self.batch_size: int = batch_size
        self.generator: torch.Generator = generator or torch.Generator().manual_seed(
            int(torch.randint(2**62, ()))
        )
        device = as_device(device)
        # Augmentation on an accelerator needs a generator on that device.
        self.noise: torch.Generator = self.generator
        if device.type != "cpu":
            self.noise = torch.Generator(device).manual_seed(self.generator.initial_seed())
        data = samples(problem, "train")
        if data is not None:
            check_sample(problem, data)
        self.data: Sample | None = move(data, device)
        self.per_epoch: int | None = None
        if self.data is not None:
            self.batch_size = min(batch_size, len(self.data.x0))
            self.per_epoch = len(self.data.x0) // self.batch_size
        self.order: Tensor | None = None
        self.order_state: Tensor = self.generator.get_state()
        self.step: int = 0

    @property
    def epoch(self) -> float | None:
        """How many epochs are complete, or None if the problem draws its samples."""
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
        return augmented(self.problem, batch, self.noise)

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
        """Goes on from a saved position."""
        self.step = state["step"]
        self.order_state = state["order"]
        self.generator.set_state(state["order"])
        self.order = None if self.data is None else self.shuffled(len(self.data.x0))
        self.generator.set_state(state["generator"])
        if self.noise is not self.generator:
            self.noise.set_state(state["noise"])


def endless(data: Iterable[Any], check: Callable[[Sample], None] | None = None) -> Iterator[Sample]:
    """The batches of `data`, again and again.

    Arguments:
        data: Batches, as `as_sample` takes them; an iterator can be used only once, so it
            must hold enough of them.
        check: Called with each batch the first time it appears.

    Raises:
        TypeError, ValueError: If there are no batches, or one cannot be used.
    """
    if isinstance(data, Tensor) or not isinstance(data, Iterable):
        raise TypeError(
            "data must yield batches, such as a DataLoader or a list of (x0, target), but got "
            f"{shown(data)}."
        )
    return repeated(data, check)


def repeated(data: Iterable[Any], check: Callable[[Sample], None] | None) -> Iterator[Sample]:
    """The generator of `endless`, with the same arguments."""
    given = 0
    for epoch in itertools.count():
        before = given
        for batch in data:
            sample = as_sample(batch, f"data, batch {given}")
            if check is not None and epoch == 0:
                check(sample)
            given += 1
            yield sample
        if not given:
            raise ValueError("data holds no batches.")
        if given == before:
            raise ValueError(
                f"data is an iterator that ended after {given} batches, fewer than n_steps: give "
                "what can be gone through again, such as a list or a DataLoader."
            )


def as_sample(batch: Any, name: str) -> Sample:
    """A batch of data as a sample.

    Arguments:
        batch: A Sample, a pair (x0, target), x0 alone or in a tuple of one, or a dictionary with
            "x0" and perhaps "target".
        name: What the batch is, for the message.

    Raises:
        TypeError, ValueError: If it is something else.
    """
    expected = 'a batch must be x0, (x0, target) or {"x0": ..., "target": ...}, but'
    where = f"{name}: "
    if isinstance(batch, dict):
        if "x0" not in batch or not set(batch) <= {"x0", "target"}:
            raise ValueError(f"{where}{expected} it has the keys {', '.join(map(repr, batch))}.")
        batch = (batch["x0"], batch.get("target"))
    if isinstance(batch, Tensor):
        batch = (batch,)
    if not isinstance(batch, (tuple, list)):
        raise TypeError(f"{where}{expected} it is {type(batch).__name__}.")
    if len(batch) not in (1, 2):
        raise ValueError(f"{where}{expected} it has {len(batch)} parts.")
    x0, target = batch[0], batch[1] if len(batch) == 2 else None
    if not isinstance(x0, Tensor):
        raise TypeError(f"{where}x0 must be a tensor, but is {type(x0).__name__}.")
    if target is not None and not isinstance(target, Tensor):
        raise TypeError(f"{where}target must be a tensor, but is {type(target).__name__}.")
    if target is not None and x0.dim() and target.dim() and len(x0) != len(target):
        raise ValueError(
            f"{where}x0 has {len(x0)} samples, and target {len(target)}: they must be as many."
        )
    return Sample(x0, target)


def move(sample: Sample | None, device: torch.device) -> Sample | None:
    """A sample on another device."""
    if sample is None:
        return None
    x0, target = sample
    return Sample(x0.to(device), None if target is None else target.to(device))
