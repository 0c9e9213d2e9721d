"""Deep residual networks grown from shallow ones, so that the bounds on their loss are certain."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .._arguments import check_generator, check_kind, check_range
from ..evaluation import evaluate
from ..learning import training
from ..learning.armijo import Armijo
from ..modes import mode
from ..networks import Architecture, ResNet
from ..networks.grouped import OwnReadOuts, SharedReadOuts
from ..networks.network import assemble, layers
from ..networks.problem import Parts
from ..networks.readouts import Backbone, ReadOuts
from ..problem import Sample
from .bounds import check_bound


@torch.no_grad()
def grow(
    network: ResNet,
    blocks: int | Sequence[int],
    gamma: float | None = None,
    generator: torch.Generator | None = None,
) -> ResNet:
    """A deeper network that computes the same: new blocks come last and start at `F_k = 0`.

    Only the last convolution of a new block is zero; the rest is drawn, so that it can learn.
    In evaluation mode, the read-outs take over the shallow network's statistics, and all outputs
    after its last block equal its output. So the objective starts at `Jbar_N`, with the decay of
    the new weights added, and training that never increases the objective, such as `monotone`,
    keeps this bound. Read-outs with heads of their own keep them; the new
    states begin with copies of the network's.

    Arguments:
        network: The shallow network with `M` blocks; it stays as it is.
        blocks: The number of blocks of each stage, of which the shallow network must have the
            first `M`; or the number `N >= M`, with all new blocks in the last stage that has any.
        gamma: The weight of the stage cost of the deep network. If None, that of the shallow one,
            whose last weight the new states have.
        generator: Makes the draws reproducible.

    Raises:
        TypeError: If the network is a wrapped one, whose blocks cannot be drawn.
        ValueError: If `N < M`, or the shallow network has other blocks than the first `M`.
    """
    check_kind("network", network, ResNet)
    check_generator(generator)
    check_kind("blocks", blocks, int, tuple, list)
    m, shallow = network.depth, architecture_of(network)
    lowest = min(network.problem.gamma, default=0.0) if gamma is None else gamma
    if isinstance(blocks, int):
        check_bound(m, blocks, lowest)
        stage = max((i for i, n in enumerate(shallow.blocks) if n), default=0)
        more = blocks - m
        blocks = [n + more * (i == stage) for i, n in enumerate(shallow.blocks)]
    deep = replace(shallow, blocks=tuple(blocks))
    check_bound(m, deep.depth, lowest)
    if deep.keep(range(m)) != shallow:
        raise ValueError(
            f"A network with blocks={deep.blocks} does not begin with blocks={shallow.blocks}."
        )
    control = layers(deep, generator).to(next(network.parameters()))
    own: Any = copy.deepcopy(network.problem)
    skips, moved = dict(own.backbone.skips), list(own.head.skips)
    # Skips that the shallow network's head crosses lie between blocks of the deep one.
    skips |= {k: moved.pop(0) for k in deep.skips() if k >= m}
    own.head.skips = nn.Sequential(*moved)
    backbone = Backbone(skips, own.head)
    kept = Parts(own.embedding, *backbone, grown_readouts(network, deep, backbone))
    weights = grown_gamma(network, deep.depth) if gamma is None else gamma
    grown = assemble(deep, kept, control, own.loss, weights).to(next(network.parameters()))
    for k, layer in enumerate(control.layers):
        if k < m:
            layer.load_state_dict(network.control.layers[k].state_dict())
        else:
            layer.conv2.weight.zero_()  # pyright: ignore
    take_statistics(grown, network)
    return grown.train(network.training)


def grown_readouts(network: ResNet, deep: Architecture, backbone: Backbone) -> ReadOuts:
    """The read-outs of the same variant for the deep network."""
    shallow: Any = network.problem.readouts
    if not isinstance(shallow, OwnReadOuts):
        return SharedReadOuts(deep)
    readouts: Any = OwnReadOuts(deep, backbone)
    for mine, theirs in zip(readouts.own, shallow.own, strict=False):
        mine.load_state_dict(theirs.state_dict())
    return readouts


def grown_gamma(network: ResNet, depth: int) -> tuple[float, ...]:
    """The stage cost's weights for a network of that depth; the new ones equal the last old one."""
    gamma = network.problem.gamma
    return (*gamma, *(gamma[-1:] or (0.0,)) * (depth - len(gamma)))


def architecture_of(network: ResNet) -> Architecture:
    """The architecture of a network.

    Raises:
        TypeError: If it is a wrapped one.
    """
    architecture = getattr(network.problem.readouts, "architecture", None)
    if architecture is None:
        raise TypeError("Only networks made by ocnet.networks.resnet can grow, not wrapped ones.")
    return architecture


def take_statistics(grown: ResNet, network: ResNet) -> None:
    """The shallow network's statistics for its own states, those of its head for all later ones."""
    there: Any = grown.problem.readouts
    here: Any = network.problem.readouts
    head: Any = network.problem.head
    m, bn = network.depth, head.bn
    for name, last in (("mean", bn.running_mean), ("var", bn.running_var)):
        getattr(there, name)[:m] = getattr(here, name)
        getattr(there, name)[m:] = last
    there.batches[:m] = here.batches
    there.batches[m:] = 1


def penalised(network: ResNet, sample: Sample, weight_decay: float) -> torch.Tensor:
    """`J_N` on the whole sample: the mean cost and `lambda/2 |w_F|^2`."""
    cost, _ = evaluate(network.problem, network.control, network.solver, sample)
    squares = sum(p.square().sum() for p in network.control.parameters())
    return cost.mean() + weight_decay / 2 * squares


def monotone(
    network: ResNet, sample: Sample, weight_decay: float = 0.0, rate: float = 0.1
) -> Iterator[float]:
    """Endless gradient descent on the whole sample; the objective never increases.

    The network is in evaluation mode while the iterator lives, as the bound of a grown network
    needs. A step that does not decrease the objective enough (Armijo) is halved; if none does, the
    objective stays.

    Arguments:
        network: The network to train, in place.
        sample: Images and labels.
        weight_decay: `lambda` of the objective.
        rate: The first step length to try.

    Yields:
        The current objective of the network, starting with the initial one.

    Raises:
        NonFiniteCost: If the objective or its gradient is not finite.
    """
    check_kind("network", network, ResNet)
    check_kind("sample", sample, Sample)
    check_range("weight_decay", weight_decay, "0 <=", "< inf")
    branches = [p for p in network.control.parameters() if p.requires_grad]
    own = {id(p) for p in branches}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in own]
    groups = [{"params": branches, "weight_decay": weight_decay}, {"params": others}]
    optimizer = Armijo([group for group in groups if group["params"]], rate)
    with mode(False, network):
        with torch.no_grad():
            yield penalised(network, sample, weight_decay).item()
        steps = training(
            network.problem, network.control, network.solver, optimizer, itertools.repeat(sample)
        )
        for _ in steps:
            yield optimizer.objective
