"""Steps that are recorded once and replayed: kernel launches limit a deep, narrow network."""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..control import Control, Layers, PiecewiseConstant, PiecewiseLinear
from ..solver import Backprop, ExplicitRungeKutta, Solver


WARM_UP = 3
"""How many times a function runs as it is before it is recorded. In these runs, libraries choose
their kernels, optimisers create their state, and gradients get their memory."""

OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""The optimisers that can read their learning rate from the device."""


CONTROLS = (Layers, PiecewiseConstant, PiecewiseLinear)
"""The controls that are looked up without a copy from the host."""


class DeviceOptimizer(torch.optim.Optimizer):
    """An optimiser whose rates and counts are on the device from the beginning."""


class Recorder(abc.ABC):
    """Records a function's operations on tensors, which keep their places in memory."""

    @abc.abstractmethod
    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        """Runs a function that is to be recorded later."""

    @abc.abstractmethod
    def record(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Records a function without running it.

        Returns:
            A function that replays the recording, and the tensor that then holds the result.
        """


class CudaGraphs(Recorder):
    """CUDA graphs: one launch for all operations. Warm-up and recording are on a side stream."""

    def __init__(self, device: torch.device):
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def warm_up(self, function: Callable[[], Tensor]) -> Tensor:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                result = function()
        except RuntimeError as error:
            raise ValueError(
                "The step cannot be recorded: something in the problem waits for the device or "
                f"copies from the host ({str(error).splitlines()[0]}). Leave capture out."
            ) from error
        return graph.replay, result


class Captured:
    """A function of tensors that runs as it is at first, and is then recorded and replayed.

    The recording reads its arguments from its own buffers, which each call fills again.
    Arguments of another shape or type get a warm-up and a recording of their own.

    Arguments:
        function: The function: the same operations at every call, none of which waits for the
            device or copies from the host.
        recorder: What records it.
        follows: Another such function. This one reads that function's results from where they
            were when it was recorded, so it is recorded anew whenever the other one is.
        warm_up: How many calls come before the recording.
    """

    replay: Callable[[], object]
    result: Tensor

    def __init__(
        self,
        function: Callable[..., Any],
        recorder: Recorder,
        *,
        follows: "Captured | None" = None,
        warm_up: int = WARM_UP,
    ):
        self.function = function
        self.recorder = recorder
        self.follows = follows
        self.warm_up = warm_up
        self.kind: Sequence[object] | None = None
        self.calls: int = 0

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        kind: list[object] = [z if z is None else (z.shape, z.dtype, z.stride()) for z in arguments]
        if self.follows is not None:
            kind.append(self.follows.kind)
        if kind != self.kind:
            self.kind, self.calls = kind, 0
        self.calls += 1
        if self.calls <= self.warm_up:
            return self.recorder.warm_up(functools.partial(self.function, *arguments))
        if self.calls == self.warm_up + 1:
            self.buffers: list[Tensor | None] = [z if z is None else z.clone() for z in arguments]
            self.replay, self.result = self.recorder.record(
                functools.partial(self.function, *self.buffers)
            )
        for buffer, z in zip(self.buffers, arguments, strict=True):
            if buffer is not None and z is not None:
                buffer.copy_(z, non_blocking=True)
        self.replay()
        return self.result


def obstacle(
    device: torch.device,
    precision: str,
    processes: int,
    control: Control,
    solver: Solver,
    optimizer: torch.optim.Optimizer,
) -> str | None:
    """Why the steps of a training cannot be captured, in one line; None if they can."""
    if device.type != "cuda":
        return f"only steps on a GPU can be recorded, but the device is {device.type}"
    if processes > 1:
        return f"gradients that {processes} processes exchange are not recorded"
    if precision == "16":
        return 'the gradient scale of precision "16" is adapted on the host; take "bf16"'
    if not isinstance(optimizer, (*OPTIMIZERS, DeviceOptimizer)):
        return f"{type(optimizer).__name__} decides on the host; take sgd, adam or adamw"
    if not isinstance(solver, ExplicitRungeKutta) or not isinstance(solver.gradient, Backprop):
        return f"{solver!r} decides on the host; take fixed steps with gradient=Backprop()"
    if not isinstance(control, CONTROLS):
        return f"{type(control).__name__} is looked up by the host; take layers or a piecewise path"
    return None


def on_device(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Lets an optimiser read its learning rate and count its steps on the device, in place."""
    if isinstance(optimizer, DeviceOptimizer):
        return
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32).to(device)
        # Only its fused form reads the rate from the device.
        group["fused" if isinstance(optimizer, torch.optim.SGD) else "capturable"] = True
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(device)


HOST: dict[str, bool | None] = {"fused": None, "capturable": False}
"""The settings that `on_device` changes, with their original values."""


def on_host(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state without the changes of `on_device`, so that any device can use it."""
    groups = [
        {**group, "lr": float(group["lr"]), **{k: v for k, v in HOST.items() if k in group}}
        for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}
