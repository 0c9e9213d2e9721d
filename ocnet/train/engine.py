"""The execution engine: device, precision, compilation and processes, and nothing else knows them.

Plain PyTorch: its launcher is torchrun, its gradient reduction DistributedDataParallel.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn, Tensor
from torch.nn.parallel import DistributedDataParallel

from ..control import Control, Layers
from ..control.base import check_count
from ..objective import evaluate
from ..problem import Problem, Sample
from ..solver import Solver


AUTOCAST = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}

TIMEOUT = timedelta(minutes=5)
"""How long a process waits for the others before it gives them up."""


class MeanCost(nn.Module):
    """The mean cost of a batch as a module, which is what PyTorch's wrappers take."""

    def __init__(self, problem: Problem, control: Control):
        super().__init__()
        self.problem = problem
        self.control = control

    def forward(self, solver: Solver, x0: Tensor, target: Tensor | None = None) -> Tensor:
        """The mean over the batch, a scalar."""
        costs, _ = evaluate(self.problem, self.control, solver, Sample(x0, target))
        return costs.mean()


class Engine:
    """How a step is carried out; what it computes stays the same up to rounding.

    Arguments:
        device: "auto" (the accelerator if there is one), "cpu", "cuda", "mps".
        precision: "32"; "bf16" or "16" let PyTorch's autocast choose where half precision does,
            "16" with a gradient scale that adapts.
        compile: Compiles the regions that repeat over the depth, the layers or else the dynamics
            and the stage cost, in place; the loop over the steps stays as it is.
        accumulate: Into how many parts a batch is split to save memory; its size and its mean
            cost stay what they are (batch norm sees the parts).
        sync_norms: Whether batch norm takes its statistics over the processes, on a GPU.

    Raises:
        ValueError: If the precision or the device is not known, or not there.
    """

    def __init__(
        self,
        device: torch.device | str = "auto",
        *,
        precision: str = "32",
        compile: bool = False,
        accumulate: int = 1,
        sync_norms: bool = False,
    ):
        if precision not in AUTOCAST:
            raise ValueError(f'precision must be "32", "bf16" or "16", but got {precision!r}.')
        check_count("accumulate", accumulate)
        self.device = choose_device(device)
        self.precision = precision
        self.compile = compile
        self.accumulate = accumulate
        self.sync_norms = sync_norms
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "16")

    def place(self, module: nn.Module) -> None:
        """Moves a problem or a control to the device, before an optimiser takes its parameters."""
        module.to(self.device)
        if self.sync_norms and world_size() > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)

    def prepare(self, problem: Problem, control: Control) -> nn.Module:
        """The mean cost of a batch, compiled and reduced over the processes as asked."""
        if self.compile:
            compile_regions(problem, control)
        cost = MeanCost(problem, control)
        if world_size() == 1:
            return cost
        return DistributedDataParallel(cost)

    def autocast(self) -> Any:
        """The context in which costs are computed."""
        dtype = AUTOCAST[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def backward(self, mean_cost: nn.Module, solver: Solver, sample: Sample) -> Tensor:
        """The mean cost of a batch over all processes; its gradient is added to the parameters'."""
        sample = self.share(sample)
        parts = self.split(sample)
        total = sample.x0.new_zeros(())
        for part in parts:
            is_last = part is parts[-1]
            # The processes exchange gradients once, behind the last part.
            waits = world_size() == 1 or is_last
            with nullcontext() if waits else mean_cost.no_sync():  # pyright: ignore
                with self.autocast():
                    cost = mean_cost(solver, *part)
                if len(parts) > 1:
                    cost = cost * (len(part.x0) / len(sample.x0))
                self.scaler.scale(cost).backward()
            total = total + cost.detach()
        return mean(total)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divides the gradients by the scale that half precision needs."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Tensor]) -> None:
        """One step of the optimiser; with a gradient scale, one that overflows is left out."""
        if not self.scaler.is_enabled():
            optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
            return
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError('L-BFGS needs precision "32" or "bf16", but got "16".')
        closure()
        self.scaler.step(optimizer)
        self.scaler.update()

    def to_device(self, sample: Sample) -> Sample:
        """A batch on the device; images in the layout that its convolutions are fastest in."""
        x0 = sample.x0.to(self.device, non_blocking=True)
        if self.device.type == "cuda" and x0.dim() == 4:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        target = sample.target
        return Sample(x0, None if target is None else target.to(self.device, non_blocking=True))

    def share(self, sample: Sample) -> Sample:
        """This process's share of a batch.

        Raises:
            ValueError: If the batch does not divide among the processes.
        """
        n, size = len(sample.x0), world_size()
        if n % size:
            raise ValueError(f"The {size} processes must divide the batch, but it has {n} samples.")
        mine = slice(rank(), None, size)
        return Sample(sample.x0[mine], None if sample.target is None else sample.target[mine])

    def split(self, sample: Sample) -> list[Sample]:
        """The parts of a batch that are evaluated one after the other."""
        x0s = sample.x0.chunk(self.accumulate)
        if sample.target is None:
            return [Sample(x0) for x0 in x0s]
        targets = sample.target.chunk(self.accumulate)
        return [Sample(*part) for part in zip(x0s, targets, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The gradient scale, if there is one."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a gradient scale that was saved."""
        if state:
            self.scaler.load_state_dict(state)


def choose_device(name: torch.device | str = "auto") -> torch.device:
    """The device of a name, of this process if there are several.

    Raises:
        ValueError: If the name is not known, or the device is not there.
    """
    if isinstance(name, torch.device):
        return name
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if name == "auto":
        name = next((kind for kind in ("cuda", "mps") if there[kind]), "cpu")
    kind = name.split(":")[0]
    if kind not in there:
        raise ValueError(f"device must be auto, cpu, cuda or mps, but got {name!r}.")
    if not there[kind]:
        raise ValueError(f"This machine has no {kind} device: leave device at auto, or say cpu.")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)


def compile_regions(problem: Problem, control: Control) -> None:
    """Compiles what every step of a solver calls, once for all of them, in place."""
    if isinstance(control, Layers):
        for layer in control.layers:
            layer.compile()
        return
    problem.dynamics = torch.compile(problem.dynamics)
    if problem.has_stage_cost and not isinstance(problem.stage_cost, nn.Module):
        problem.stage_cost = torch.compile(problem.stage_cost)


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Joins the processes that torchrun started, for as long as the context lasts."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process among those that train together, from zero."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def mean(value: Tensor) -> Tensor:
    """The mean of a value over the processes."""
    return total(value) / world_size()


def gather(value: Tensor) -> list[Tensor]:
    """The values of all processes, which must have one shape."""
    if world_size() == 1:
        return [value]
    values = [torch.empty_like(value) for _ in range(world_size())]
    distributed.all_gather(values, value)
    return values


def total(value: Tensor) -> Tensor:
    """The sum of a value over the processes."""
    if world_size() > 1:
        distributed.all_reduce(value)
    return value


def agree(*flags: bool) -> list[bool]:
    """Which of the flags are up in any of the processes."""
    if world_size() == 1:
        return list(flags)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    up = torch.tensor(flags, dtype=torch.uint8, device=device)
    distributed.all_reduce(up, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in up.tolist()]


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer any more."""
    backends = ("gloo/transport", "NCCL")
    return world_size() > 1 and any(backend in str(error) for backend in backends)


def wait() -> None:
    """Waits until all processes have come here."""
    if world_size() > 1:
        distributed.barrier()
