"""The execution engine: only it knows about device, precision, compilation and processes.

It is plain PyTorch: torchrun starts it, and DistributedDataParallel or FSDP2 reduces the gradients.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn.parallel import DistributedDataParallel

from .._arguments import check_count, check_kind
from ..checks import misspelt, mixing_in_training, refuse
from ..control import Control, Layers
from ..problem import check_not_empty, Problem, Sample
from ..solver import Solver
from .capture import Captured, CudaGraphs, obstacle, on_device, Recorder
from .descent import Gradient, Update
from .devices import check_narrow_shortcuts, choose_device
from .mean_cost import MeanCost
from .norms import synchronise
from .processes import mean, rank, world_size
from .regions import compiled_regions


AUTOCAST: dict[str, torch.dtype | None] = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class Engine:
    """How a step is carried out; what it computes stays the same up to rounding.

    Arguments:
        device: "auto" (the accelerator if there is one), "cpu", "cuda", "mps".
        precision: "32"; "bf16" or "16" let PyTorch's autocast choose where half precision is
            enough; "16" also adapts a gradient scale.
        compile: Whether to compile, during training, the regions that repeat over the depth: the
            layers, or else the dynamics and the stage cost. The loop over the steps stays as it is.
        accumulate: The number of parts that a batch is split into to save memory. Its size and its
            mean cost do not change, but batch norm sees the parts.
        sync_norms: Whether batch norm takes its statistics over the processes. The read-outs of
            a stage cost use the statistics of each process's own share.
        sharded: Whether each of several processes holds only a share of the parameters, the
            gradients and the optimiser's state (FSDP2); a layer is gathered while it is used.
        capture: Whether steps on a GPU are recorded as CUDA graphs and replayed.
        channels_last: Whether images and convolutions have their channels last in memory; on a
            GPU if None.

    Raises:
        ValueError: If the precision or the device is unknown or not available.
    """

    def __init__(
        self,
        device: torch.device | str = "auto",
        *,
        precision: str = "32",
        compile: bool = False,
        accumulate: int = 1,
        sync_norms: bool = False,
        sharded: bool = False,
        capture: bool = False,
        channels_last: bool | None = None,
    ):
        if precision not in AUTOCAST:
            raise ValueError(f'precision must be "32", "bf16" or "16", but got {precision!r}.')
        check_count("accumulate", accumulate)
        for option, value in (("compile", compile), ("sync_norms", sync_norms),
                              ("sharded", sharded), ("capture", capture)):  # fmt: skip
            check_kind(option, value, bool)
        check_kind("channels_last", channels_last, bool, type(None))
        self.device: torch.device = choose_device(device)
        self.precision = precision
        self.compile = compile
        self.accumulate = accumulate
        self.sync_norms = sync_norms
        self.sharded = sharded
        self.capture = capture
        on_gpu = self.device.type == "cuda"
        self.channels_last: bool = on_gpu if channels_last is None else channels_last
        self.scaler: torch.amp.GradScaler = torch.amp.GradScaler(
            self.device.type, enabled=precision == "16"
        )
        self.shards: MeanCost | None = None

    def place(self, problem: Problem, control: Control) -> None:
        """Moves problem and control to the device, before an optimiser takes their parameters.

        With several processes it shards the parameters or joins the batch norms, if asked.
        """
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        if self.device.type == "cpu" and (self.channels_last or self.compile):
            check_narrow_shortcuts(problem, control)
        for module in (problem, control):
            module.to(self.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
            if self.sync_norms and world_size() > 1:
                synchronise(module, self.device)
        if self.sharded and world_size() > 1:
            # Not at the top of the file: importing it takes a second.
            from .sharding import shard

            layers = control.layers if isinstance(control, Layers) else ()
            self.shards = MeanCost(problem, control)
            units = [layer for layer in layers if any(True for _ in layer.parameters())]
            shard(self.shards, units, self.device)

    def mean_cost(self, problem: Problem, control: Control) -> MeanCost:
        """The mean cost that this process computes on the samples it is given."""
        kept = self.shards
        if kept is not None and kept.problem is problem and kept.control is control:
            return kept
        return MeanCost(problem, control)

    @staticmethod
    def trained(mean_cost: nn.Module) -> MeanCost:
        """The mean cost inside the wrapper that exchanges its gradients."""
        inner = getattr(mean_cost, "module", mean_cost)
        assert isinstance(inner, MeanCost), "nothing else is prepared"
        return inner

    def regions(self, problem: Problem, control: Control) -> AbstractContextManager[None]:
        """The context of a training: regions that repeat over the depth are compiled, if asked."""
        return compiled_regions(problem, control) if self.compile else nullcontext()

    def prepare(self, problem: Problem, control: Control) -> nn.Module:
        """The mean cost of a batch, reduced over the processes as asked."""
        cost = self.mean_cost(problem, control)
        if world_size() == 1 or cost is self.shards:
            return cost
        # A step need not use every parameter: layers can be skipped at random.
        return DistributedDataParallel(cost, find_unused_parameters=True)

    def check(
        self, problem: Problem, control: Control, samples: Sequence[Sample], mixes: bool = False
    ) -> None:
        """Raises a ProblemError if a function of the problem mixes samples in evaluation mode.

        Shards cannot compute outside a step, so sharded modules are not checked.

        Arguments:
            problem, control: What is to be trained.
            samples: Some batches of it.
            mixes: Whether samples are not along the first dimension, so cannot be told apart.
        """
        refuse(misspelt(problem))
        for sample in samples:
            check_not_empty(sample)
            if self.shards is None and not mixes:
                refuse(mixing_in_training(problem, control, sample))

    def autocast(self) -> Any:
        """The context in which costs are computed."""
        dtype = AUTOCAST[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def backward(self, mean_cost: nn.Module, solver: Solver, sample: Sample) -> Tensor:
        """The mean cost of a batch over all processes; its gradient is added to the parameters'."""
        sample = self.share(sample)
        parts = self.split(sample)
        costs = []
        for part in parts:
            with self.exchange(mean_cost, is_last=part is parts[-1]):
                with self.autocast():
                    cost = mean_cost(solver, *part)
                if len(parts) > 1:
                    cost = cost * (len(part.x0) / len(sample.x0))
                if not cost.requires_grad:
                    raise ValueError(
                        f"The cost must depend on a parameter that requires a gradient, but that "
                        f"of {type(self.trained(mean_cost).problem).__name__} depends on none."
                    )
                self.scaler.scale(cost.sum()).backward()
            costs.append(cost.detach())
        return mean(sum(costs[1:], start=costs[0]))

    @torch.no_grad()
    def value(self, mean_cost: nn.Module, solver: Solver, sample: Sample) -> Tensor:
        """The mean cost of a batch over all processes, without a gradient."""
        sample = self.share(sample)
        costs = []
        for part in self.split(sample):
            with self.autocast():
                costs.append(mean_cost(solver, *part) * (len(part.x0) / len(sample.x0)))
        return mean(sum(costs[1:], start=costs[0]))

    @torch.no_grad()
    def first_non_finite(
        self, problem: Problem, control: Control, solver: Solver, sample: Sample
    ) -> tuple[int, float] | None:
        """The layer and the time of the first state that is not finite, or None if all are finite.

        Arguments:
            problem, control: What is trained.
            solver: What integrates it.
            sample: The batch that is looked at, inputs of shape `(batch, ...)`.
        """
        with self.autocast():
            return self.mean_cost(problem, control).first_non_finite(solver, sample)

    def exchange(self, mean_cost: nn.Module, is_last: bool) -> Any:
        """The context of a part of a batch: gradients are exchanged once, after the last part."""
        if mean_cost is self.shards:
            self.shards.set_requires_gradient_sync(is_last)  # pyright: ignore
        if is_last or not isinstance(mean_cost, DistributedDataParallel):
            return nullcontext()
        return mean_cost.no_sync()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divides the gradients by the scale that half precision needs."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Tensor]) -> None:
        """One step of the optimiser; with a gradient scale, a step that overflows is skipped."""
        if not self.scaler.is_enabled():
            optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
            return
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError('L-BFGS needs precision "32" or "bf16", but got "16".')
        closure()
        self.scaler.step(optimizer)
        self.scaler.update()

    def obstacle(
        self, control: Control, solver: Solver, optimizer: torch.optim.Optimizer
    ) -> str | None:
        """Why the steps cannot be captured, in one line; None if they can."""
        return obstacle(self.device, self.precision, world_size(), control, solver, optimizer)

    def captured(
        self,
        gradient: Gradient,
        control: Control,
        solver: Solver,
        optimizer: torch.optim.Optimizer,
    ) -> tuple[Gradient, Update]:
        """The functions that compute a gradient and take a step with it, recorded if asked.

        Arguments:
            gradient: Maps inputs and targets to the cost and the norm of the gradient.
            control, solver, optimizer: What is trained, and how.

        Returns:
            The gradient function, and one that takes a step, given a closure that calls the former.
        """
        recorder = self.recorder(control, solver, optimizer) if self.capture else None
        if recorder is None:
            return gradient, lambda closure: self.step(optimizer, closure)
        recorded = Captured(gradient, recorder)
        update = Captured(lambda: optimizer.step(), recorder, follows=recorded)

        def step(closure: Callable[[], Tensor]) -> None:
            closure()
            update()

        return recorded, step

    def recorder(
        self, control: Control, solver: Solver, optimizer: torch.optim.Optimizer
    ) -> Recorder | None:
        """The recorder of steps; None, with a warning, where steps cannot be recorded."""
        reason = self.obstacle(control, solver, optimizer)
        if reason is not None:
            warnings.warn(f"capture is left out: {reason}.", stacklevel=2)
            return None
        on_device(optimizer, self.device)
        return CudaGraphs(self.device)

    def to_device(self, sample: Sample) -> Sample:
        """A batch on the device; images in the layout that was asked for."""
        x0 = sample.x0.to(self.device, non_blocking=True)
        if self.channels_last and x0.dim() == 4:
            x0 = x0.contiguous(memory_format=torch.channels_last)
        target = sample.target
        return Sample(x0, None if target is None else target.to(self.device, non_blocking=True))

    def share(self, sample: Sample) -> Sample:
        """This process's share of a batch.

        Raises:
            ValueError: If the batch does not divide among the processes.
        """
        n, size = len(sample.x0), world_size()
        if size == 1:
            return sample
        if n % size:
            raise ValueError(f"The {size} processes must divide the batch, but it has {n} samples.")
        mine = slice(rank(), None, size)
        return Sample(sample.x0[mine], None if sample.target is None else sample.target[mine])

    def split(self, sample: Sample) -> list[Sample]:
        """The parts of a batch that are evaluated one after the other."""
        if self.accumulate == 1:
            return [sample]
        x0s = sample.x0.chunk(self.accumulate)
        if sample.target is None:
            return [Sample(x0) for x0 in x0s]
        targets = sample.target.chunk(self.accumulate)
        return [Sample(*part) for part in zip(x0s, targets, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The gradient scale, if there is one."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved gradient scale."""
        if state:
            self.scaler.load_state_dict(state)
