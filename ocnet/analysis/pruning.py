"""Pruning: the shallowest network within a tolerance, and blocks that the costate says go."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from .._arguments import check_count, check_function, check_kind, check_range
from ..modes import mode
from ..networks import collect_statistics, ResNet
from ..networks.blocks import NoBranch
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
        validation: The network before, along its depth, on the validation data.
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
        test: Those to report on.
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


def cost_changes(network: ResNet, sample: Sample, batch_size: int = 500) -> np.ndarray:
    """The first-order change of the cost if a block goes, `-p_{k+1} . F_k`, shape `(N,)`.

    `p_{k+1}`, the costate, is the derivative of the cost by the state `x_{k+1} = S_k(x_k) + F_k`;
    without the block that state loses `F_k`. Mean over the samples, in evaluation mode.
    """
    n = network.depth
    with mode(False, network):
        total = torch.zeros(n, dtype=torch.float64)
        for images, labels in batches(network, sample, batch_size):
            # Costates are there also where no parameter takes a gradient.
            x0 = network.problem.embed(images).detach().requires_grad_()
            trajectory = network.solver.solve(network.problem, network.control, x0, labels)
            states = trajectory.all_states[: n + 1]
            cost = trajectory.running_cost + network.problem.terminal_cost(states[-1], labels)
            costates = torch.autograd.grad(cost.sum(), states[1:])
            skips = network.problem.backbone.skips
            for k, p in enumerate(costates):
                S_x = skips[k](states[k]) if k in skips else states[k]
                total[k] -= (p * (states[k + 1] - S_x)).sum().detach().double().cpu()
    return (total / len(sample.x0)).numpy()


@dataclass(frozen=True)
class Removal:
    """Accuracy while blocks go, one after another.

    Attributes:
        order: The indexes of the blocks in the order in which they went.
        accuracy: The accuracy after each removal, the whole network's first, `(len(order) + 1,)`.
        network: What is left.
    """

    order: Sequence[int]
    accuracy: np.ndarray
    network: ResNet


def remove_blocks(
    network: ResNet,
    count: int,
    next_block: Callable[[ResNet, Sequence[int]], int],
    sample: Sample,
    recalibration: Iterable[Tensor] | None = None,
) -> Removal:
    """Takes blocks out of all stages, one at a time, and checks the accuracy after each.

    A block that changes the stage loses its branch, `x_{k+1} = S_k(x_k)`.

    Arguments:
        network: The network; it stays as it is.
        count: How many blocks go.
        next_block: Chooses one of the blocks that can go: `least_cost`, `last` or `at_random`.
        sample: The images and labels to check on.
        recalibration: Batches of training images, to renew the batch-norm statistics with after
            each removal, and those of the intermediate outputs at the end.

    Raises:
        ValueError: If there are not so many blocks that can go.
    """
    check_kind("network", network, ResNet)
    check_count("count", count, least=0)
    check_function("next_block", next_block)
    left, names = network, list(range(network.depth))
    order, accuracies = [], [accuracy(network, sample)]
    images = None if recalibration is None else list(recalibration)
    most = len(removable(network))
    if count > most:
        raise ValueError(f"Only {most} blocks have a branch to remove, but got count={count}.")
    for _ in range(count):
        k = next_block(left, removable(left))
        order.append(names[k])
        if k not in left.problem.backbone.skips:
            names.pop(k)
        left = left.keep([j for j in range(left.depth) if j != k])
        if images is not None:
            recalibrate(left, images)
        accuracies.append(accuracy(left, sample))
    if images is not None:
        # The states after a removed block have changed.
        collect_statistics(left, images)
    return Removal(order, np.array(accuracies), left)


def removable(network: ResNet) -> list[int]:
    """The blocks that have a branch; where the stage changes, its skip stays."""
    layers = network.control.layers[: network.depth]
    return [k for k, layer in enumerate(layers) if not isinstance(layer, NoBranch)]


def least_cost(sample: Sample) -> Callable[[ResNet, Sequence[int]], int]:
    """Chooses the block whose removal raises the cost least, to first order."""
    check_kind("sample", sample, Sample)

    def choose(network: ResNet, ks: Sequence[int]) -> int:
        changes = cost_changes(network, sample)
        return min(ks, key=lambda k: changes[k])

    return choose


def last(network: ResNet, ks: Sequence[int]) -> int:
    """Chooses the last block."""
    return ks[-1]


def at_random(generator: torch.Generator) -> Callable[[ResNet, Sequence[int]], int]:
    """Chooses any block."""
    check_kind("generator", generator, torch.Generator)
    return lambda network, ks: ks[int(torch.randint(len(ks), (), generator=generator))]


@torch.no_grad()
def recalibrate(network: ResNet, images: Sequence[Tensor]) -> None:
    """Renews the network's batch-norm statistics by one pass over batches of training images."""
    # The read-outs do not run here; `collect_statistics` renews theirs.
    others = set(network.problem.readouts.modules())
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m not in others]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        with mode(True, network):
            for batch in images:
                network(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
