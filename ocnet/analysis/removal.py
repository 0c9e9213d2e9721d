"""Removes blocks inside the stages, one after another, each time checked against a tolerance."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .._arguments import check_count, check_function, check_kind, check_range
from ..modes import mode
from ..networks import collect_statistics, ResNet
from ..networks.blocks import NoBranch
from ..problem import Sample
from .pruning import accuracy


Choice = Callable[[ResNet, Sequence[int]], int]
"""Chooses one of the blocks that can go, given by their indices."""


@dataclass(frozen=True)
class Removal:
    """Accuracy while blocks are removed, one after another.

    Attributes:
        order: The indices of the blocks in the order in which they went.
        accuracy: The accuracy of the whole network, and then after each removal, on the data that
            it was checked on, shape `(len(order) + 1,)`.
        network: What is left after the last removal that stays within the tolerance.
        removed: How many blocks this network is without.
        tolerance: How many points of accuracy a removal may cost in all.
        test: The accuracy after each removal on data that took no part, or None.
    """

    order: Sequence[int]
    accuracy: np.ndarray
    network: ResNet
    removed: int
    tolerance: float
    test: np.ndarray | None = None

    @property
    def verdict(self) -> str:
        """How many blocks are gone, and why not more."""
        first, now = 100 * self.accuracy[0], 100 * self.accuracy[self.removed]
        text = (
            f"{self.removed} of {len(self.order)} blocks removed: {first:.2f}% becomes {now:.2f}%"
        )
        if self.removed == len(self.order):
            return text
        worst = 100 * self.accuracy[self.removed + 1 :].max()
        return f"{text}; with more it is {worst:.2f}% at best, over {self.tolerance:g} points less"


def remove_blocks(
    network: ResNet,
    count: int,
    next_block: Choice,
    sample: Sample,
    recalibration: Iterable[Tensor] | None = None,
    *,
    tolerance: float = 100.0,
    test: Sample | None = None,
) -> Removal:
    """Takes blocks out of all stages, one at a time, and checks the accuracy after each.

    A block that changes the stage loses its branch, `x_{k+1} = S_k(x_k)`. All `count` removals
    are tried and reported; the network that is returned has as many of them as leave the accuracy
    within the tolerance.

    Arguments:
        network: The network; it stays as it is.
        count: How many blocks go at most.
        next_block: Chooses one of the blocks that can go: `tried`, `least_cost`, `least_distance`,
            `least_angle`, `least_readout`, `last` or `at_random`.
        sample: The images and labels to check on.
        recalibration: Batches of training images, to renew the batch-norm statistics with after
            each removal, and those of the intermediate outputs at the end.
        tolerance: The accuracy that may be lost on `sample`, in points of a hundred.
        test: Images and labels to report on; they do not affect the choice.

    Raises:
        ValueError: If fewer blocks than that can be removed.
    """
    check_kind("network", network, ResNet)
    check_count("count", count, least=0)
    check_function("next_block", next_block)
    check_range("tolerance", tolerance, "0 <=", "<= 100")
    left, names = network, list(range(network.depth))
    order, accuracies = [], [accuracy(network, sample)]
    on_test = [] if test is None else [accuracy(network, test)]
    images = None if recalibration is None else list(recalibration)
    most = len(removable(network))
    if count > most:
        raise ValueError(f"Only {most} blocks have a branch to remove, but got count={count}.")
    within, removed = network, 0
    for _ in range(count):
        k = next_block(left, removable(left))
        order.append(names[k])
        fewer = left.keep([j for j in range(left.depth) if j != k])
        if fewer.depth < left.depth:
            names.pop(k)
        left = fewer
        if images is not None:
            recalibrate(left, images)
        accuracies.append(accuracy(left, sample))
        on_test += [] if test is None else [accuracy(left, test)]
        if accuracies[-1] >= accuracies[0] - tolerance / 100 - 1e-12:
            within, removed = left, len(order)
    if within is network:
        within = network.keep(range(network.depth))
    elif images is not None:
        # The states after a removed block have changed.
        collect_statistics(within, images)
    tests = None if test is None else np.array(on_test)
    return Removal(order, np.array(accuracies), within, removed, tolerance, tests)


def removable(network: ResNet) -> list[int]:
    """The blocks that have a branch; where the stage changes, its skip stays."""
    layers = network.control.layers[: network.depth]
    return [k for k, layer in enumerate(layers) if not isinstance(layer, NoBranch)]


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
