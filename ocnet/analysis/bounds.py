"""Bounds on the loss of a deep residual network from shallow ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from .._arguments import check_count, check_range
from ..networks import ResNet
from ..problem import Sample
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

    Arguments:
        losses: `L(y_k)` for `k < M`, of the shallow network's outputs before its last.
        final_loss: `Lbar`, the loss of the shallow network's last output.
        gamma: The weight of the stage cost, `> 0`.
        depth: `N >= M`, how many layers the deep network has.

    Source: theorem 4 of Puettschneider et al., arXiv 2506.21453.
    """
    check_bound(len(losses), depth, gamma)
    if gamma == 0:
        raise ValueError("The bound on the mean loss needs gamma > 0, but got gamma=0.")
    m = len(losses)
    C = sum(losses) + (1 - gamma - gamma * m) / gamma * final_loss
    return final_loss + C / (depth + 1)


def check_bound(m: int, depth: int, gamma: float) -> None:
    """Raises a ValueError unless `M <= N` and `0 <= gamma < inf`."""
    check_count("depth", depth, least=0)
    if m > depth:
        raise ValueError(f"Must have M <= N, but got M={m} and N={depth}.")
    check_range("gamma", gamma, "0 <=", "< inf")


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
    """Bounds on the losses of a deep network, next to what they bound.

    Attributes:
        depth, gamma, weight_decay: Of the deep network's training.
        objective: Its `J_N`.
        average: Its mean loss over all outputs.
        rows: The bounds from each shallow network.
        certified: Whether they hold by construction: the deep network was grown from the shallow
            one and its objective never increased. Otherwise the bounds are only evaluated: the
            theorems assume globally optimal training, which nobody can check for a deep network.
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
        ValueError: If a shallow network is deeper than the deep one, or `gamma < 0`.
    """
    check_range("weight_decay", weight_decay, "0 <=", "< inf")
    check_range("gamma", gamma, "0 <=", "< inf")
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
