"""How much memory a training run will take, and what would make it fit."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .._arguments import check_kind
from ..learning.processes import first, local, world_size
from ..registry import GRADIENTS
from ..run import Job
from ..solver import Solver


SEARCH = 9
"""How many copies of the parameters a strong Wolfe line search holds: where it starts, and
gradients on both sides of what it brackets."""


SAVING = ("checkpoint", "reversible", "adjoint")
"""The names of gradients that take less memory; not every solver supports each of them."""


@dataclass(frozen=True)
class Memory:
    """What a training step is expected to need, in bytes.

    Attributes:
        parameters: Parameters, the copy to go back to, and the moving average if there is one.
        optimizer: What the optimiser keeps, and what its line search holds if it has one.
        gradients: The gradients, which a step holds besides the activations.
        activations: What the forward and backward pass of a part of a batch hold at most; or the
            gradients once more, of which the norm is taken, if that is more.
        batch_size: How many samples such a part has, in one process.
        available: What the device has free, or None if that is not known.
    """

    parameters: int
    optimizer: int
    gradients: int
    activations: int
    batch_size: int
    available: int | None

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.parameters + self.optimizer + self.gradients

    @property
    def total(self) -> int:
        """The total."""
        return self.fixed + self.activations

    @property
    def fits(self) -> bool:
        """Whether the device has that much free, as far as is known."""
        return self.available is None or self.total <= self.available

    def __str__(self) -> str:
        free = "" if self.available is None else f"; {size(self.available)} are free"
        return (
            f"{size(self.total)}: {size(self.activations)} for {self.batch_size} samples at a "
            f"time, {size(self.fixed)} for parameters, gradients and optimiser{free}"
        )


def expected_memory(job: Job, solver: Solver | None = None) -> Memory:
    """The memory of a step: measured, or extrapolated if a whole step would take too much.

    The step is tried without an update, on as many samples as need at most half of the free
    memory; for more samples, the activations grow in proportion.

    Arguments:
        job: The job, before its first step; it is restored afterwards. With several
            processes, all of them take part.
        solver: A solver to use instead of the job's.
    """
    check_kind("job", job, Job)
    check_kind("solver", solver, Solver, type(None))
    solver = job.solver if solver is None else solver
    share = job.batches.batch_size / (world_size() * job.engine.accumulate)
    device = job.engine.device
    batch_size, free = max(1, round(share)), available(device)
    parameters = sum(local(p).nbytes for p in job.parameters)
    with undone(job):
        # All processes must take the same steps.
        free = None if free is None else first(free, device)
        n = 2 if free is None else max(2, free // peak(job, solver, 2))
        n = first(min(n, max(2, batch_size)), device)
        held = first(peak(job, solver, n), device)
        activations = max(0, held - parameters) * batch_size // n
    copies = kept_copies(job.optimizer)
    return Memory(
        parameters=parameters * (2 if job.average is None else 3),
        optimizer=parameters * copies,
        gradients=parameters,
        activations=max(activations, parameters),
        batch_size=batch_size,
        available=free,
    )


def kept_copies(optimizer: torch.optim.Optimizer) -> int:
    """How many numbers an optimiser holds for each parameter while it evaluates a cost.

    L-BFGS keeps `history_size` pairs of steps and changes of the gradient, its direction and the
    last gradient.

    Raises:
        TypeError: If the optimiser is not one of those that are known.
    """
    (options, *_) = optimizer.param_groups
    if isinstance(optimizer, torch.optim.LBFGS):
        searches = options["line_search_fn"] is not None
        return 2 * options["history_size"] + 2 + SEARCH * searches
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one, too.
        return 3 if options["amsgrad"] else 2
    if isinstance(optimizer, torch.optim.SGD):
        return 1 if options["momentum"] else 0
    raise TypeError(f"What {type(optimizer).__name__} keeps is not known.")


def advice(job: Job, memory: Memory) -> list[str]:
    """Settings with which a run that is too large would fit, each with the memory that it takes."""
    found = []
    for word in SAVING:
        try:
            solver = GRADIENTS[word](job.solver)
            other = expected_memory(job, solver)
        except (TypeError, ValueError):
            # Not every control allows every gradient.
            continue
        if other.total <= (memory.available or 0):
            scheme = ", by another scheme of the same order" if word == "reversible" else ""
            found.append(f"--gradient {word} takes {size(other.total)}{scheme}")
    room = (memory.available or 0) - memory.fixed
    if room > 0:
        parts = -(-memory.activations // room)
        if parts <= memory.batch_size:
            total = memory.fixed + memory.activations // parts
            found.append(f"--accumulate {parts * job.engine.accumulate} takes {size(total)}")
    return found


def peak(job: Job, solver: Solver, n: int) -> int:
    """The most bytes that a step with `n` samples holds at a time, its gradients included."""
    cost = job.engine.mean_cost(job.problem, job.control)
    sample = job.engine.to_device(job.problem.sample(n, torch.Generator().manual_seed(0)))
    with LiveMemory(resized=job.is_sharded) as live:
        with job.engine.autocast():
            value = cost(solver, *sample)
        value.backward()
    for p in job.parameters:
        p.grad = None
    return live.peak


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made and not yet freed.

    Arguments:
        resized: Whether memory may shrink and grow under a tensor, as that of gathered shards
            does; it is then looked up at every step.

    Attributes:
        peak: The most at a time.
    """

    def __init__(self, resized: bool = False):
        super().__init__()
        self.resized = resized
        self.peak: int = 0
        self.bytes: int = 0
        self.storages: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = {id(s) for s in storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in storages(result):
            # A view has the storage of an argument, which was counted when it was made.
            if id(storage) not in known and id(storage) not in self.storages:
                self.add(storage)
        if self.resized:
            for number, reference in list(self.storages.items()):
                storage = reference()
                if storage is not None:
                    self.count(number, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Counts a storage until it is freed."""
        number = id(storage)

        def freed(_: object) -> None:
            self.count(number, 0)
            del self.storages[number], self.sizes[number]

        self.storages[number] = weakref.ref(storage, freed)
        self.count(number, storage.nbytes())

    def count(self, number: int, nbytes: int) -> None:
        """Notes the current size of a storage."""
        self.bytes += nbytes - self.sizes.get(number, 0)
        self.sizes[number] = nbytes


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """The storages of the tensors in nested containers."""
    return [z.untyped_storage() for z in tree_leaves(tree) if isinstance(z, torch.Tensor)]


@contextmanager
def undone(job: Job) -> Iterator[None]:
    """Undoes what a step without an update changes: statistics and random numbers."""
    modules = (job.problem, job.control)
    buffers = [buffer for module in modules for buffer in module.buffers()]
    kept = [buffer.clone() for buffer in buffers]
    drawn = job.randomness.own_state()
    try:
        yield
    finally:
        job.randomness.set_own_state(drawn)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)


def available(device: torch.device) -> int | None:
    """The free memory of a device in bytes, or None if that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.exists():
        return None
    lines = dict(line.split(":") for line in table.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def size(n: int) -> str:
    """A number of bytes in readable form."""
    value, units = float(n), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"
