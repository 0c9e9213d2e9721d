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
from ..networks.loss import as_labels, CrossEntropy, SquaredError
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
        accuracy: The share of samples that `y^_k` classifies correctly (of positions, where each
            has a label), shape `(N + 1,)`; NaN where targets do not say what is right, as in a
            regression.
        change: `|y^_{k+1} - y^_k|`, shape `(N,)`.
        weights: `|w_{F,k}|`, the norm of a branch's parameters, shape `(N,)`.
        distance: `|S_{N-1}(... S_k(x_k)) - x_N| / |x_N|`, how far from the steady state a state
            still is, shape `(N + 1,)`.
        statistics: Whose batch-norm statistics the outputs use: "own", collected for each state, or
            "network", those of the network's last state.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    change: np.ndarray
    weights: np.ndarray
    distance: np.ndarray
    statistics: str = "own"

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
        columns = {
            "k": (range(self.depth + 1), "d"),
            "loss": (self.loss, ".4g"),
            "accuracy %": (100 * self.accuracy, ".2f"),
            "|y_k+1 - y_k|": (self.change, ".4g"),
            "|w_F,k|": (self.weights, ".4g"),
            "distance": (self.distance, ".4g"),
        }
        if np.isnan(self.accuracy).all():
            del columns["accuracy %"]
        rows = itertools.zip_longest(*(values for values, _ in columns.values()))
        formats = tuple(form for _, form in columns.values())
        return tabulate(rows, list(columns), tablefmt=tablefmt, floatfmt=formats)


@torch.no_grad()
def depth_profile(network: ResNet, sample: Sample, batch_size: int | None = None) -> DepthProfile:
    """Measures a network along its depth, in evaluation mode.

    Arguments:
        network: The network; it must have statistics for its intermediate outputs.
        sample: Images and labels.
        batch_size: How many of them at a time; if None, as many as fit with all their states
            into a GiB, and 500 at most.

    Raises:
        ValueError: If the read-outs have no statistics, or the sample no targets.
    """
    check_kind("network", network, ResNet)
    problem, n = network.problem, network.depth
    pairs = batches(network, sample, fitting(network) if batch_size is None else batch_size)
    with mode(False, network):
        network.check_statistics()
        sums = torch.zeros(4, n + 1, dtype=torch.float64)
        for images, labels in pairs:
            states = network.trajectory(images).all_states[: n + 1]
            outputs = network.read(range(n + 1), states)
            change = (outputs[1:] - outputs[:-1]).flatten(2).norm(dim=-1)
            sums[0] += problem.losses(outputs, labels).double().sum(1).cpu()
            sums[1] += scores(outputs, labels).double().sum(1).cpu()
            sums[2, :n] += change.double().sum(1).cpu()
            sums[3] += distances(network, states).double().sum(1).cpu()
    loss, accuracy, change, distance = (sums / len(sample.x0)).numpy()
    weights = [parameter_norm(layer) for layer in network.control.layers[:n]]
    return DepthProfile(
        loss, accuracy, change[:n], np.array(weights), distance, problem.readouts.statistics
    )


def batches(network: ResNet, sample: Sample, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels, some at a time.

    Labels are integers of shape `(batch,)`, whatever their type, and even if given as a column;
    rows of probabilities stay rows.

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
    labels = sample.target
    if isinstance(network.problem.loss, (CrossEntropy, SquaredError)) or not is_fraction(labels):
        labels = as_labels(labels, network.problem.n_classes)
    if len(labels) != len(sample.x0):
        raise ValueError(
            f"The sample must have as many labels as images, but got {len(labels)} and "
            f"{len(sample.x0)}."
        )
    return zip(sample.x0.split(batch_size), labels.split(batch_size), strict=True)


def fitting(network: ResNet, memory: int = 2**30) -> int:
    """The number of samples, from 1 to 500, whose states all fit into so many bytes of memory."""
    states = (network.problem.zero_state(k) for k in range(network.depth + 1))
    one = sum(x.numel() * x.element_size() for x in states)
    return max(1, min(500, memory // max(one, 1)))


def is_fraction(target: Tensor) -> bool:
    """Whether targets hold numbers that are not whole."""
    return target.is_floating_point() and bool((target != target.round()).any())


def scores(outputs: Tensor, labels: Tensor) -> Tensor:
    """Whether outputs are right, as `ocnet.networks.accuracy` says, shape `(state, batch)`.

    NaN where the targets do not say what is right.

    Arguments:
        outputs: Predictions, shape `(state, batch, ...)`.
        labels: The targets.
    """
    found = [accuracy(logits, labels) if says_right(logits, labels) else None for logits in outputs]
    nothing = outputs.new_full(outputs.shape[:2], float("nan"))
    return torch.stack([nothing[0] if score is None else score for score in found])


def says_right(logits: Tensor, labels: Tensor) -> bool:
    """Whether targets have a shape that labels of such predictions can have."""
    return logits.dim() == 2 or not labels.is_floating_point()


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
