"""Batch-norm statistics for the read-outs of a network that was trained without stage cost."""

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
    if not seen:
        raise ValueError("collect_statistics needs at least one batch of images.")
