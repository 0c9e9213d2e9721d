"""Batch-norm statistics for the read-outs: of each state, or those of the network."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._arguments import check_kind, shown
from ..modes import mode
from .network import ResNet


@torch.no_grad()
def collect_statistics(network: ResNet, batches: Iterable[Tensor]) -> None:
    """Gives every intermediate output the statistics of one pass over the training images.

    The network itself stays as it is and runs in evaluation mode; only the read-outs' running
    means and variances are replaced, by averages over the batches.

    Arguments:
        network: Any network, changed in place.
        batches: Batches of training images.

    Raises:
        TypeError, ValueError: If there are no batches, or they are not of images.
    """
    check_kind("network", network, ResNet)
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise TypeError(f"batches must be batches of images, but got {shown(batches)}.")
    readouts = network.problem.readouts
    momentum, seen = readouts.momentum, 0
    try:
        with mode(False, network), mode(True, readouts):
            for seen, images in enumerate(batches, start=1):
                readouts.momentum = 1 / seen
                states = network.trajectory(images).all_states[: network.depth]
                if states:
                    readouts(network.problem.backbone, range(network.depth), states)
    finally:
        readouts.momentum = momentum
    readouts.statistics = "own"
    if not seen:
        raise ValueError("collect_statistics needs at least one batch of images.")


def borrow_statistics(network: ResNet) -> None:
    """Lets every intermediate output use the statistics that the network has of its last state.

    Of a network trained without stage cost these may tell something quite different from
    `collect_statistics`: states before the last are larger or smaller than the last.

    Arguments:
        network: Any network, changed in place.

    Raises:
        ValueError: If probes of one's own read it out.
    """
    check_kind("network", network, ResNet)
    network.problem.readouts.take_statistics(network.problem.backbone)
    network.problem.readouts.statistics = "network"
