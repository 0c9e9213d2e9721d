"""A trained residual network along its depth: outputs, their changes, weights, the turnpike."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from .._arguments import check_count, check_kind
from ..modes import mode
from ..networks import accuracy, ResNet
from ..networks.loss import as_labels
from ..problem import check_not_empty, Sample


@dataclass(frozen=True)
class Turnpike:
    r"""How fast the states come near the steady state, `d_k ~ c exp(-rate k)`.

    Attributes:
        rate: The exponential rate per block, from a least-squares line through `log d_k`.
        factor: The factor `c`.
        r2: The share of the variance of `log d_k` that the line explains.
    """

    rate: float
    factor: float
    r2: float

    def __str__(self) -> str:
        return f"distance ~ {self.factor:.3g} exp({-self.rate:.3g} k), R^2 = {self.r2:.3f}"


@dataclass(frozen=True)
class DepthProfile:
    """A network along its depth, as means over a data set; all arrays are over `k`.

    Attributes:
        loss: The loss of the output `y^_k`, shape `(N + 1,)`.
        accuracy: The share of samples that `y^_k` classifies correctly, shape `(N + 1,)`.
        change: `|y^_{k+1} - y^_k|`, shape `(N,)`.
        weights: `|w_{F,k}|`, the norm of a branch's parameters, shape `(N,)`.
        distance: `|S_{N-1}(... S_k(x_k)) - x_N| / |x_N|`, how far from the steady state a state
            still is, shape `(N + 1,)`.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    change: np.ndarray
    weights: np.ndarray
    distance: np.ndarray

    @property
    def depth(self) -> int:
        """The number `N` of blocks."""
        return len(self.change)

    @property
    def turnpike(self) -> Turnpike | None:
        """The exponential fitted to the distance; None unless two states differ from the last."""
        k = np.flatnonzero(self.distance > 0)
        if len(k) < 2:
            return None
        log_d = np.log(self.distance[k])
        slope, intercept = np.polyfit(k, log_d, 1)
        residual = log_d - (slope * k + intercept)
        total = log_d - log_d.mean()
        r2 = 1 - (residual @ residual) / (total @ total) if total @ total > 0 else 1.0
        return Turnpike(-float(slope), float(np.exp(intercept)), float(r2))

    def table(self, tablefmt: str = "simple") -> str:
        """One row for each output."""
        rows = itertools.zip_longest(
            range(self.depth + 1), self.loss, 100 * self.accuracy, self.change, self.weights,
            self.distance,
        )  # fmt: skip
        headers = ["k", "loss", "accuracy %", "|y_k+1 - y_k|", "|w_F,k|", "distance"]
        formats = ("d", ".4g", ".2f", ".4g", ".4g", ".4g")
        return tabulate(rows, headers, tablefmt=tablefmt, floatfmt=formats)


@torch.no_grad()
def depth_profile(network: ResNet, sample: Sample, batch_size: int = 500) -> DepthProfile:
    """Measures a network along its depth, in evaluation mode.

    Arguments:
        network: The network; it must have statistics for its intermediate outputs.
        sample: Images and labels.
        batch_size: How many of them at a time.

    Raises:
        ValueError: If the read-outs have no statistics, or the sample no labels.
    """
    check_kind("network", network, ResNet)
    problem, n = network.problem, network.depth
    pairs = batches(network, sample, batch_size)
    with mode(False, network):
        network.check_statistics()
        sums = torch.zeros(4, n + 1, dtype=torch.float64)
        for images, labels in pairs:
            states = network.trajectory(images).all_states[: n + 1]
            outputs = network.read(range(n + 1), states)
            change = (outputs[1:] - outputs[:-1]).norm(dim=-1)
            sums[0] += problem.losses(outputs, labels).double().sum(1).cpu()
            sums[1] += right(outputs, labels).double().sum(1).cpu()
            sums[2, :n] += change.double().sum(1).cpu()
            sums[3] += distances(network, states).double().sum(1).cpu()
    loss, accuracy, change, distance = (sums / len(sample.x0)).numpy()
    weights = [parameter_norm(layer) for layer in network.control.layers[:n]]
    return DepthProfile(loss, accuracy, change[:n], np.array(weights), distance)


def batches(network: ResNet, sample: Sample, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels, some at a time.

    Labels are integers of shape `(batch,)`, whatever type and column they were; rows of
    probabilities stay rows.

    Raises:
        TypeError, ValueError: If there are no labels, or one is out of range.
    """
    check_kind("network", network, ResNet)
    check_kind("sample", sample, Sample)
    check_count("batch_size", batch_size)
    check_not_empty(sample)
    if sample.target is None:
        raise ValueError("To measure a classifier takes labels: the sample has target=None.")
    network.problem.check(sample)
    labels = as_labels(sample.target, network.problem.n_classes)
    if len(labels) != len(sample.x0):
        raise ValueError(
            f"The sample must have as many labels as images, but got {len(labels)} and "
            f"{len(sample.x0)}."
        )
    return zip(sample.x0.split(batch_size), labels.split(batch_size), strict=True)


def right(outputs: Tensor, labels: Tensor) -> Tensor:
    """Whether outputs are right, as `ocnet.networks.accuracy` says, shape `(state, batch)`.

    Arguments:
        outputs: Logits, shape `(state, batch, classes)`.
        labels: The labels, shape `(batch,)`, or a row for each sample.

    Raises:
        ValueError: If the labels do not say what is right.
    """
    scores = [accuracy(logits, labels) for logits in outputs]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        raise ValueError(
            "To measure a classifier takes labels: one class for each sample, or a row of its "
            f"probabilities, but got targets of shape {tuple(labels.shape)} and {labels.dtype}."
        )
    return torch.stack(known)


def distances(network: ResNet, states: tuple[Tensor, ...]) -> Tensor:
    """`|S_{N-1}(... S_k(x_k)) - x_N| / |x_N|` of each sample, shape `(N + 1, batch)`."""
    last = states[-1].flatten(1)
    rows = []
    for k, x in enumerate(states):
        for skip in network.problem.backbone.after(k):
            x = skip(x)
        rows.append((x.flatten(1) - last).norm(dim=1) / last.norm(dim=1))
    return torch.stack(rows)


def parameter_norm(module: torch.nn.Module) -> float:
    """The Euclidean norm of all parameters."""
    squares = [p.double().square().sum() for p in module.parameters()]
    return float(sum(squares, start=torch.tensor(0.0)).sqrt())
