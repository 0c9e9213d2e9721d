"""The proof that a wrapped network is the one that was given: outputs, gradients, statistics."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor


ROUNDING = 1e-8
"""How far a result in double precision may be off, relative to its size."""

COARSE = 1e-4
"""The same for a network that works only in single precision."""


@dataclass(frozen=True)
class Response:
    """The response of a network to an input.

    Attributes:
        output: The prediction.
        gradients: Of a random sum of the predictions, with respect to each parameter.
        buffers: What is in the buffers afterwards.
    """

    output: Tensor
    gradients: Sequence[Tensor | None]
    buffers: Sequence[Tensor]


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Puts modes, buffers and random state back as they were."""
    modes = [(part, part.training) for part in network.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    devices = sorted({p.device.index for p in network.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for part, training in modes:
            part.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def outcome(network: nn.Module, given: nn.Module, x: Tensor) -> Response:
    """The response of a network to an input, with a fixed seed.

    Arguments:
        network: The network, or another one with its parameters and buffers.
        given: The network itself.
        x: The input.
    """
    before = [buffer.detach().clone() for buffer in given.buffers()]
    torch.manual_seed(1)
    parameters = [p for p in given.parameters() if p.requires_grad]
    with torch.enable_grad():
        output = network(x)
        generator = torch.Generator().manual_seed(2)
        weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
        found: Any = [None] * len(parameters)
        if output.requires_grad:
            total = (output * weights).sum()
            found = torch.autograd.grad(total, parameters, allow_unused=True)
    after = [buffer.detach().clone() for buffer in given.buffers()]
    with torch.no_grad():
        for buffer, value in zip(given.buffers(), before, strict=True):
            buffer.copy_(value)
    return Response(output.detach(), found, after)


def off(a: Tensor | None, b: Tensor | None, floor: float = 0.0) -> float:
    """How far two tensors are apart, relative to the larger one or to `floor`."""
    if a is None or b is None:
        a = torch.zeros_like(b) if a is None and b is not None else a
        b = torch.zeros_like(a) if b is None and a is not None else b
    if a is None or b is None:
        return 0.0
    if a.shape != b.shape:
        return float("inf")
    if a.equal(b):
        return 0.0
    a, b = a.double(), b.double()
    size = max(float(a.norm()), float(b.norm()), floor)
    distance = float((a - b).norm())
    return distance / size if size > 0 else distance


def difference(first: Response, second: Response) -> tuple[str, float]:
    """Where two outcomes differ most, relative to the size of what differs."""
    norms = [float(g.double().norm()) for g in first.gradients if g is not None]
    floor = 1e-9 * max(norms, default=0.0)
    pairs = zip(first.gradients, second.gradients, strict=True)
    buffers = zip(first.buffers, second.buffers, strict=True)
    found = {
        "the outputs": off(first.output, second.output),
        "the gradients": max((off(a, b, floor) for a, b in pairs), default=0.0),
        "the buffers": max((off(a, b) for a, b in buffers), default=0.0),
    }
    where = max(found, key=lambda name: found[name])
    return where, found[where]


def in_mode(
    given: nn.Module, wrapped: nn.Module, x: Tensor, training: bool
) -> tuple[Response, Response]:
    """The responses of both networks to an input in one mode, which each sets in its own way.

    Arguments:
        given: The network.
        wrapped: The wrapped network.
        x: The input.
        training: Whether in training mode.
    """
    given.train(training)
    first = outcome(given, given, x)
    wrapped.train(training)
    return first, outcome(wrapped, given, x)


def compared(
    given: nn.Module, wrapped: nn.Module, x: Tensor, training: bool
) -> tuple[str, float, float]:
    """Where the two differ most in a mode, by how much, and how much rounding may explain.

    Arguments:
        given: The network.
        wrapped: The wrapped network.
        x: The input.
        training: Whether in training mode.
    """
    where, distance = difference(*in_mode(given, wrapped, x, training))
    if distance == 0:
        return where, distance, ROUNDING
    try:
        given, wrapped = copy.deepcopy((given, wrapped))
        given, wrapped = given.double(), wrapped.double()
        x = x.double() if x.is_floating_point() else x
        outcomes = in_mode(given, wrapped, x, training)
    except (RuntimeError, TypeError):
        return where, distance, COARSE
    return *difference(*outcomes), ROUNDING


def has_narrow_shortcut(network: nn.Module) -> bool:
    """Whether a strided 1x1 convolution has fewer than eight input channels.

    Its backward pass in oneDNN writes out of bounds if the channels are last in memory.
    """
    convolutions = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    return any(c.in_channels < 8 and max(c.kernel_size) == 1 < max(c.stride) for c in convolutions)


@contextmanager
def careful(network: nn.Module) -> Iterator[None]:
    """Turns oneDNN off if a backward pass of the network would write out of bounds."""
    if not has_narrow_shortcut(network):
        yield
        return
    with warnings.catch_warnings():
        # The warning is about a setting for other hardware, which this only puts back.
        warnings.filterwarnings("ignore", message="TF32")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def prove(given: nn.Module, wrapped: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Raises a ValueError that says where a wrapped network differs from the given one.

    Outputs, gradients and buffers are compared in evaluation and in training mode with the same
    seed: bit by bit, or else in double precision up to rounding. Parameters, buffers, modes and
    random state are afterwards as they were.

    Arguments:
        given: The network.
        wrapped: The wrapped network, which shares its parameters.
        inputs: Some inputs; the first is used in both modes.
    """
    modes = [(part, part.training) for part in wrapped.modules()]
    try:
        with unchanged(given), careful(given):
            runs = [(inputs[0], False), (inputs[0], True), *((x, False) for x in inputs[1:])]
            for x, training in runs:
                where, distance, rounding = compared(given, wrapped, x, training)
                if not distance <= rounding:
                    name = "training" if training else "evaluation"
                    raise ValueError(
                        f"wrap does not reproduce this network: for {len(x)} inputs in {name} mode "
                        f"{where} differ by {distance:.2g} of their size"
                    )
    finally:
        for part, training in modes:
            part.training = training
