"""Bounds on the loss of a deep residual network from a shallow one, and networks grown to fit."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from ..objective import evaluate
from ..problem import Sample
from ..resnet import Architecture, ResNet
from ..resnet.network import assemble, layers
from ..resnet.problem import Parts
from ..resnet.readouts import SharedReadOuts
from .depth import depth_profile


def objective_bound(
    losses: Sequence[float],
    decays: Sequence[float],
    final_loss: float,
    gamma: float,
    depth: int,
) -> float:
    r"""`Jbar_N`, a bound on the optimal objective of a deep network with weight decay,

    $$ J_N \le \sum_{k<M} [\gamma L(\hat y_k) + \tfrac{\lambda}{2} |w_{F,k}|^2]
       + (1 + \gamma (N - M)) \bar L. $$

    Arguments:
        losses: `L(y^_k)` of the shallow network's intermediate outputs, `k < M`.
        decays: `lambda/2 |w_{F,k}|^2` of its blocks.
        final_loss: `Lbar`, the loss of its output.
        gamma: The weight of the stage cost.
        depth: The number `N` of blocks of the deep network.

    Raises:
        ValueError: If `M > N` or `gamma < 0`.

    Source: theorem 1 of Puettschneider et al., arXiv 2506.21453.
    """
    check_bound(len(losses), depth, gamma)
    stages = gamma * sum(losses) + sum(decays)
    return stages + (1 + gamma * (depth - len(losses))) * final_loss


def average_bound(losses: Sequence[float], final_loss: float, gamma: float, depth: int) -> float:
    r"""A bound on the mean loss of all outputs of a deep network without weight decay,

    $$ \frac{1}{N+1} \sum_{k \le N} L(\hat y_k) \le \bar L + \frac{C}{N+1}, \quad
       C = \sum_{k<M} L(\hat y_k) + \frac{1 - \gamma - \gamma M}{\gamma} \bar L. $$

    Arguments: as of `objective_bound`; here `gamma > 0`.

    Source: theorem 4 of Puettschneider et al., arXiv 2506.21453.
    """
    check_bound(len(losses), depth, gamma)
    if gamma == 0:
        raise ValueError("The bound on the mean loss needs gamma > 0, but got gamma=0.")
    m = len(losses)
    C = sum(losses) + (1 - gamma - gamma * m) / gamma * final_loss
    return final_loss + C / (depth + 1)


def check_bound(m: int, depth: int, gamma: float) -> None:
    """Raises a ValueError unless `M <= N` and `gamma >= 0`."""
    if m > depth:
        raise ValueError(f"Must have M <= N, but got M={m} and N={depth}.")
    if not gamma >= 0:
        raise ValueError(f"Must have gamma >= 0, but got gamma={gamma}.")


@dataclass(frozen=True)
class Bound:
    """Both bounds from one shallow network.

    Attributes:
        m: Its depth.
        final_loss: `Lbar`, the loss of its output.
        objective: The bound on `J_N`.
        average: The bound on the mean loss of all outputs; None without stage cost.
    """

    m: int
    final_loss: float
    objective: float
    average: float | None


@dataclass(frozen=True)
class Bounds:
    """Bounds on the losses of a deep network, beside what they bound.

    Attributes:
        depth, gamma, weight_decay: Of the deep network's training.
        objective: Its `J_N`.
        average: Its mean loss over all outputs.
        rows: The bounds from each shallow network.
        certified: Whether they hold by construction: the deep network was grown from the shallow
            one and its objective never increased. The theorems assume globally optimal training,
            which nobody can check for a deep network; else the bounds are only evaluated.
    """

    depth: int
    gamma: float
    weight_decay: float
    objective: float
    average: float
    rows: Sequence[Bound]
    certified: bool

    @property
    def verdict(self) -> str:
        """Whether the bounds are certified, and whether they hold, in a sentence."""
        kept = sum(self.objective <= row.objective for row in self.rows)
        how = (
            "certified: the network was grown from the shallow one by monotone training"
            if self.certified
            else "only evaluated: the theorems assume globally optimal training"
        )
        below = f"below {kept} of {len(self.rows)} bounds"
        return f"J_N = {self.objective:.4g} is {below}; they are {how}."

    def table(self, tablefmt: str = "simple") -> str:
        """One row for each shallow network."""
        headers = ["M", "Lbar", "bound on J_N", "J_N", "bound on mean L", "mean L"]
        rows = [
            (row.m, row.final_loss, row.objective, self.objective, row.average, self.average)
            for row in self.rows
        ]
        return tabulate(rows, headers, tablefmt=tablefmt, floatfmt=".4g", missingval="-")


def decays(network: ResNet, weight_decay: float) -> list[float]:
    """`lambda/2 |w_{F,k}|^2` of each block."""
    return [
        weight_decay
        / 2
        * sum(float(p.detach().double().square().sum()) for p in layer.parameters())
        for layer in network.control.layers[: network.depth]
    ]


def loss_bounds(
    network: ResNet,
    sample: Sample,
    gamma: float,
    weight_decay: float = 0.0,
    shallow: Mapping[int, ResNet] | None = None,
    certified: bool = False,
) -> Bounds:
    """Both bounds on a deep network's losses, from shallow networks of every depth.

    Arguments:
        network: The deep network, with statistics for its intermediate outputs.
        sample: The images and labels to average the losses over, usually the training data.
        gamma: The weight of the stage cost.
        weight_decay: `lambda` of the objective.
        shallow: Networks by their depth `M`, trained without stage cost; by default the
            network's own SubResNets, whose outputs are `y^_M`.
        certified: Whether the bounds hold by construction, see `Bounds`.

    Raises:
        ValueError: If a shallow network is the deeper one, or `gamma < 0`.
    """
    profile, decay = depth_profile(network, sample), decays(network, weight_decay)
    n = network.depth
    if shallow is None:
        measured = {m: (profile.loss[: m + 1], decay[:m]) for m in range(n + 1)}
    else:
        measured = {
            m: (depth_profile(small, sample).loss, decays(small, weight_decay))
            for m, small in shallow.items()
        }
    rows = []
    for m, (loss, spent) in sorted(measured.items()):
        *losses, final = map(float, loss)
        average = average_bound(losses, final, gamma, n) if gamma else None
        rows.append(Bound(m, final, objective_bound(losses, spent, final, gamma, n), average))
    objective = gamma * profile.loss[:-1].sum() + profile.loss[-1] + sum(decay)
    mean = float(np.mean(profile.loss))
    return Bounds(n, gamma, weight_decay, float(objective), mean, rows, certified)


@torch.no_grad()
def grow(
    network: ResNet,
    blocks: int | Sequence[int],
    gamma: float = 0.0,
    generator: torch.Generator | None = None,
) -> ResNet:
    """A deeper network that computes the same: new blocks come last and start at `F_k = 0`.

    Only the last convolution of a new block is zero; the rest is drawn, so that it can learn.
    All outputs behind the shallow network's last block equal its output, in evaluation mode,
    where the read-outs take over its statistics: there `Jbar_N`, with the decay of the new
    weights added, is the objective at the start, and training that never increases the
    objective, such as `monotone`, keeps it.

    Arguments:
        network: The shallow network with `M` blocks; it stays as it is.
        blocks: The number of blocks of each stage, of which the shallow network must have the
            first `M`; or the number `N >= M`, with all new blocks in the last stage that has any.
        gamma: The weight of the stage cost of the deep network.
        generator: Makes the draws reproducible.

    Raises:
        TypeError: If the network is a wrapped one, whose blocks cannot be drawn.
        ValueError: If `N < M`, or the shallow network has other blocks than the first `M`.
    """
    m, shallow = network.depth, architecture_of(network)
    if isinstance(blocks, int):
        check_bound(m, blocks, gamma)
        stage = max((i for i, n in enumerate(shallow.blocks) if n), default=0)
        more = blocks - m
        blocks = [n + more * (i == stage) for i, n in enumerate(shallow.blocks)]
    deep = replace(shallow, blocks=tuple(blocks))
    check_bound(m, deep.depth, gamma)
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
    kept = Parts(own.embedding, skips, own.head, SharedReadOuts(deep))
    grown = assemble(deep, kept, control, own.loss, gamma).to(next(network.parameters()))
    for k, layer in enumerate(control.layers):
        if k < m:
            layer.load_state_dict(network.control.layers[k].state_dict())
        else:
            layer.conv2.weight.zero_()  # pyright: ignore
    take_statistics(grown, network)
    return grown.train(network.training)


def architecture_of(network: ResNet) -> Architecture:
    """The architecture of a network.

    Raises:
        TypeError: If it is a wrapped one.
    """
    architecture = getattr(network.problem.readouts, "architecture", None)
    if architecture is None:
        raise TypeError("Only networks made by ocnet.resnet.resnet can grow, not wrapped ones.")
    return architecture


def take_statistics(grown: ResNet, network: ResNet) -> None:
    """The shallow network's statistics for its own states, those of its head for all later."""
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
    """Gradient descent on the whole sample whose objective never increases, without end.

    Batch norm stays in evaluation mode, as the bound of a grown network needs. A step that does
    not decrease the objective enough (Armijo) is halved; if none does, the objective stays.

    Arguments:
        network: The network to train, in place.
        sample: Images and labels.
        weight_decay: `lambda` of the objective.
        rate: The first step length to try.

    Yields:
        The objective, that of the start first.
    """
    network.eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    while True:
        J = penalised(network, sample, weight_decay)
        gradients = torch.autograd.grad(J, parameters, allow_unused=True)
        moves = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
        yield J.item()
        slope = sum(float(g.square().sum()) for _, g in moves)
        old = [p.detach().clone() for p, _ in moves]
        while rate > 1e-12:
            with torch.no_grad():
                for (p, g), start in zip(moves, old, strict=True):
                    p.copy_(start - rate * g)
                if penalised(network, sample, weight_decay) <= J - 1e-4 * rate * slope:
                    break
                for (p, _), start in zip(moves, old, strict=True):
                    p.copy_(start)
            rate /= 2
        rate *= 1.5
