"""Criteria for which block of a residual network can go: its cost, size or angle, or a trial."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .._arguments import check_kind
from ..modes import mode
from ..networks import ResNet
from ..problem import Sample
from .depth import batches
from .removal import Choice


def smallest(measure: Callable[[ResNet, Sample], np.ndarray], sample: Sample) -> Choice:
    """Chooses the block for which a measure, shape `(N,)`, is smallest."""
    check_kind("sample", sample, Sample)

    def choose(network: ResNet, ks: Sequence[int]) -> int:
        values = measure(network, sample)
        return min(ks, key=lambda k: values[k])

    return choose


def tried(sample: Sample) -> Choice:
    """Chooses the block without which the loss is smallest, by removing each in turn.

    Exact, and takes a pass through half of the network for each block.
    """
    return smallest(losses_without, sample)


def least_cost(sample: Sample) -> Choice:
    r"""Chooses the block whose removal changes each sample's cost least, to first order.

    That is the mean over the samples of `|p_{k+1} . F_k|`, with `p_{k+1}` the costate. The
    absolute value counts: a removal that promises a much lower cost changes a lot, and then the
    first order says nothing.
    """
    return smallest(lambda network, sample: cost_changes(network, sample, absolute=True), sample)


def least_distance(sample: Sample) -> Choice:
    """Chooses the block that moves the state least, `|F_k| / |x_{k+1}|`."""
    return smallest(lambda network, sample: moves(network, sample)[0], sample)


def least_angle(sample: Sample) -> Choice:
    """Chooses the block that turns the state least, `arccos(cos(S_k(x_k), x_{k+1})) / pi`.

    Source: Gromov et al., "The unreasonable ineffectiveness of the deeper layers", 2024.
    """
    return smallest(lambda network, sample: moves(network, sample)[1], sample)


def least_readout(sample: Sample) -> Choice:
    """Chooses the block over which the loss of the intermediate output falls least."""
    return smallest(readout_gains, sample)


def last(network: ResNet, ks: Sequence[int]) -> int:
    """Chooses the last block."""
    return ks[-1]


def at_random(generator: torch.Generator) -> Choice:
    """Chooses a block at random."""
    check_kind("generator", generator, torch.Generator)
    return lambda network, ks: ks[int(torch.randint(len(ks), (), generator=generator))]


def cost_changes(
    network: ResNet, sample: Sample, batch_size: int = 500, absolute: bool = False
) -> np.ndarray:
    """The first-order change of the cost if a block goes, `-p_{k+1} . F_k`, shape `(N,)`.

    `p_{k+1}`, the costate, is the derivative of the cost with respect to the state
    `x_{k+1} = S_k(x_k) + F_k`; without the block that state loses `F_k`. Mean over the samples, in
    evaluation mode.

    Arguments:
        network: The network.
        sample: Images and labels.
        batch_size: How many of them at a time.
        absolute: Whether the mean is that of the absolute values.
    """
    n = network.depth
    with mode(False, network):
        total = torch.zeros(n, dtype=torch.float64)
        for images, labels in batches(network, sample, batch_size):
            # Costates exist even where no parameter requires a gradient.
            x0 = network.problem.embed(images).detach().requires_grad_()
            trajectory = network.solver.solve(network.problem, network.control, x0, labels)
            states = trajectory.states[: n + 1]
            cost = trajectory.running_cost + network.problem.terminal_cost(states[-1], labels)
            costates = torch.autograd.grad(cost.sum(), states[1:])
            for k, p in enumerate(costates):
                S_x = shortcut(network, k, states[k])
                change = (p * (states[k + 1] - S_x)).flatten(1).sum(1).detach().double().cpu()
                total[k] -= -change.abs().sum() if absolute else change.sum()
    return (total / len(sample.x0)).numpy()


def shortcut(network: ResNet, k: int, x: Tensor) -> Tensor:
    """`S_k(x)`."""
    skip = network.problem.backbone.skips.get(k)
    return x if skip is None else skip(x)


@torch.no_grad()
def moves(network: ResNet, sample: Sample, batch_size: int = 500) -> np.ndarray:
    """How far each block moves the state and by which angle it turns it, shape `(2, N)`.

    Means over the samples; the distance relative to the length of the state after the block, the
    angle as a share of half a turn. The state of a sample counts as one vector.
    """
    n = network.depth
    total = torch.zeros(2, n, dtype=torch.float64)
    with mode(False, network):
        for images, _ in batches(network, sample, batch_size):
            states = network.trajectory(images).all_states[: n + 1]
            for k in range(n):
                before = shortcut(network, k, states[k]).flatten(1).double()
                after = states[k + 1].flatten(1).double()
                cosine = torch.nn.functional.cosine_similarity(before, after, dim=1)
                total[0, k] += ((after - before).norm(dim=1) / after.norm(dim=1)).sum().cpu()
                total[1, k] += (cosine.clamp(-1, 1).arccos() / math.pi).sum().cpu()
    return (total / len(sample.x0)).numpy()


@torch.no_grad()
def readout_gains(network: ResNet, sample: Sample, batch_size: int = 500) -> np.ndarray:
    """By how much the loss of the intermediate output falls over each block, shape `(N,)`."""
    losses = torch.zeros(network.depth + 1, dtype=torch.float64)
    with mode(False, network):
        for images, labels in batches(network, sample, batch_size):
            outputs = network.outputs(images)
            losses += network.problem.losses(outputs, labels).double().sum(1).cpu()
    return ((losses[:-1] - losses[1:]) / len(sample.x0)).numpy()


@torch.no_grad()
def losses_without(network: ResNet, sample: Sample, batch_size: int = 500) -> np.ndarray:
    """The mean loss without each of the blocks, shape `(N,)`; in evaluation mode."""
    n = network.depth
    total = torch.zeros(n, dtype=torch.float64)
    with mode(False, network):
        for images, labels in batches(network, sample, batch_size):
            states = network.trajectory(images).all_states[: n + 1]
            for k in range(n):
                output = network.output_without(k, states[k])
                total[k] += network.problem.loss(output, labels).double().sum().cpu()
    return (total / len(sample.x0)).numpy()
