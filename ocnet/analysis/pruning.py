"""Pruning: the shallowest network within a tolerance."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .._arguments import check_function, check_kind, check_range
from ..modes import mode
from ..networks import ResNet
from ..problem import Sample
from .depth import batches, depth_profile, DepthProfile, right


@dataclass(frozen=True)
class Size:
    """How good and how large a network is.

    Attributes:
        name: What to call it.
        depth: Its number of blocks.
        accuracy: The share of samples that it classifies correctly.
        parameters: What prediction needs: own heads of intermediate outputs do not count.
        flops: Floating point operations for one image, two for each multiply-add.
        latency: Seconds for one image, the median of several.
    """

    name: str
    depth: int
    accuracy: float
    parameters: int
    flops: int
    latency: float


@dataclass(frozen=True)
class Pruning:
    """A network cut off where its outputs are good enough.

    Attributes:
        m: The depth that is kept.
        tolerance: The accuracy that may be lost on the validation data, in points.
        sizes: The network before, after, and after fine-tuning if there was any.
        network: The pruned network, an ordinary one.
        validation: The network before pruning, along its depth, on the validation data.
    """

    m: int
    tolerance: float
    sizes: Sequence[Size]
    network: ResNet
    validation: DepthProfile

    def table(self, tablefmt: str = "simple") -> str:
        """One row for each network."""
        headers = ["network", "blocks", "accuracy %", "parameters", "MFLOPs", "latency ms"]
        rows = [
            (s.name, s.depth, f"{100 * s.accuracy:.2f}", s.parameters, f"{s.flops / 1e6:.2f}",
             f"{1e3 * s.latency:.2f}") for s in self.sizes
        ]  # fmt: skip
        return tabulate(rows, headers, tablefmt=tablefmt, disable_numparse=True, stralign="right")


def prune(
    network: ResNet,
    validation: Sample,
    test: Sample,
    tolerance: float = 0.5,
    tune: Callable[[ResNet], None] | None = None,
) -> Pruning:
    """Cuts a network off at the smallest depth within a tolerance, and measures what it gains.

    Arguments:
        network: The network; it stays as it is.
        validation: The images and labels to choose the depth on.
        test: The images and labels to report on.
        tolerance: The accuracy that may be lost on the validation data, in points of a hundred.
        tune: Trains the pruned network a little more, in place.

    Raises:
        ValueError: If the tolerance is negative or the read-outs have no statistics.
    """
    check_range("tolerance", tolerance, "0 <=", "<= 100")
    if tune is not None:
        check_function("tune", tune)
    profile = depth_profile(network, validation)
    m = smallest_depth(profile, tolerance)
    pruned = network.subresnet(m)
    sizes = [size("before", network, test), size("pruned", pruned, test)]
    if tune is not None:
        tune(pruned)
        sizes.append(size("fine-tuned", pruned, test))
    return Pruning(m, tolerance, sizes, pruned, profile)


def smallest_depth(profile: DepthProfile, tolerance: float) -> int:
    """The smallest depth whose output is at most `tolerance` points worse than the last.

    Raises:
        TypeError, ValueError: Unless the tolerance lies between 0 and 100.
    """
    check_kind("profile", profile, DepthProfile)
    check_range("tolerance", tolerance, "0 <=", "<= 100")
    if np.isnan(profile.accuracy).any():
        raise ValueError(
            "A depth is chosen by accuracy, but the targets of this profile do not say what is "
            "right."
        )
    enough = profile.accuracy >= profile.accuracy[-1] - tolerance / 100 - 1e-12
    return int(np.argmax(enough))


def size(name: str, network: ResNet, sample: Sample) -> Size:
    """Measures a network on a sample and on its first image."""
    one = sample.x0[:1]
    unused = {id(p) for p in network.problem.readouts.parameters()}
    used = {id(p) for p in (*network.control.parameters(), *network.problem.head.parameters())}
    parameters = [p for p in network.parameters() if id(p) not in unused - used]
    return Size(
        name,
        network.depth,
        accuracy(network, sample),
        sum(p.numel() for p in parameters),
        flops(network, one),
        latency(network, one),
    )


@torch.no_grad()
def accuracy(network: ResNet, sample: Sample, batch_size: int = 500) -> float:
    """The share of samples classified correctly, in evaluation mode."""
    pairs = batches(network, sample, batch_size)
    with mode(False, network):
        total = sum(float(right(network(x)[None], y).double().sum()) for x, y in pairs)
    return total / len(sample.x0)


@torch.no_grad()
def flops(network: ResNet, images: Tensor) -> int:
    """The floating point operations of a forward pass, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


@torch.no_grad()
def latency(network: ResNet, images: Tensor, repeats: int = 15) -> float:
    """The seconds that a forward pass in evaluation mode takes, the median of several."""
    with mode(False, network):
        seconds = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            network(images).sum().item()
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[2:]))
