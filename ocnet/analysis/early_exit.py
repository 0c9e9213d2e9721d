"""Prediction that stops at the first intermediate output that is sure enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from tabulate import tabulate
from torch import nn, Tensor

from .._arguments import check_kind, check_range
from ..learning.descent import descent, Objective
from ..modes import mode
from ..networks import ResNet
from ..problem import Sample
from .depth import batches


class ExitPrediction(NamedTuple):
    """What was predicted, and how deep that took.

    Attributes:
        label: The most probable class, shape `(batch,)`.
        probability: Its calibrated probability, shape `(batch,)`.
        depth: How many blocks were computed, shape `(batch,)`.
    """

    label: Int[Tensor, " batch"]
    probability: Float[Tensor, " batch"]
    depth: Int[Tensor, " batch"]


@dataclass(frozen=True)
class EarlyExit:
    """A network whose predictions stop early.

    The probability that `y^_k` is right is the largest entry of `softmax(y^_k / T_k)`.

    Attributes:
        network: The network whose outputs are read, in order of depth.
        temperatures: `T_k` of each output, shape `(N + 1,)`.
    """

    network: ResNet
    temperatures: Float[Tensor, " state"]

    def __post_init__(self) -> None:
        check_kind("network", self.network, ResNet)
        check_kind("temperatures", self.temperatures, Tensor)
        if len(self.temperatures) != self.network.depth + 1:
            raise ValueError(
                f"temperatures must be {self.network.depth + 1}, one for each output, but got "
                f"{len(self.temperatures)}."
            )

    @torch.no_grad()
    def predict(self, images: Tensor, confidence: float = 0.9) -> ExitPrediction:
        """Each image leaves at the first output whose probability is at least `confidence`.

        Images that have left cost nothing further; the last output takes whatever remains.

        Arguments:
            images: Shape `(batch, channels, height, width)`.
            confidence: In [0, 1]. At 0 every image leaves at once; above all probabilities, none
                leaves early.

        Raises:
            ValueError: If `confidence` is not in [0, 1] or the read-outs have no statistics.
        """
        check_confidence(confidence)
        network, n = self.network, self.network.depth
        with mode(False, network):
            network.check_statistics()
            x = network.problem.embed(images)
            labels = torch.zeros(len(images), dtype=torch.long, device=x.device)
            probabilities = x.new_zeros(len(images))
            depths = torch.full_like(labels, n)
            waiting = torch.arange(len(images), device=x.device)
            for k in range(n + 1):
                logits = network.read([k], [x])[0] / self.temperatures[k]
                p, label = logits.softmax(-1).max(-1)
                leaves = p >= confidence if k < n else torch.ones_like(p, dtype=torch.bool)
                gone = waiting[leaves]
                labels[gone], probabilities[gone], depths[gone] = label[leaves], p[leaves], k
                x, waiting = x[~leaves], waiting[~leaves]
                if len(waiting) == 0:
                    break
                x = network.step(k, x)
        return ExitPrediction(labels, probabilities, depths)

    def table(
        self,
        sample: Sample,
        confidences: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
        tablefmt: str = "simple",
    ) -> str:
        """Accuracy against average depth, one row for each confidence."""
        rows = [(c, *self.trade(sample, c)) for c in confidences]
        headers = ["confidence", "accuracy %", "average depth", "blocks saved %"]
        shown = [
            (c, 100 * right, depth, 100 * (1 - depth / max(self.network.depth, 1)))
            for c, right, depth in rows
        ]
        return tabulate(shown, headers, tablefmt=tablefmt, floatfmt=(".2f", ".2f", ".2f", ".1f"))

    def trade(self, sample: Sample, confidence: float) -> tuple[float, float]:
        """The accuracy and the average depth at a confidence."""
        right = depth = 0
        for images, labels in batches(self.network, sample, 500):
            found = self.predict(images, confidence)
            right += int((found.label == classes(labels)).sum())
            depth += int(found.depth.sum())
        return right / len(sample.x0), depth / len(sample.x0)


@torch.no_grad()
def calibrate(network: ResNet, validation: Sample) -> EarlyExit:
    """Fits the temperature of every output, so that its probabilities match how often it is right.

    `T_k` minimises the cross-entropy of `softmax(y^_k / T_k)` on the validation data.

    Arguments:
        network: The network, with statistics for its intermediate outputs.
        validation: Images and labels that it was not trained on.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    check_kind("network", network, ResNet)
    with mode(False, network):
        pairs = [(network.outputs(x), y) for x, y in batches(network, validation, 500)]
        outputs = torch.cat([y_hat for y_hat, _ in pairs], 1)
        labels = torch.cat([classes(y) for _, y in pairs])
    temperatures = torch.stack([temperature(logits, labels) for logits in outputs])
    return EarlyExit(network, temperatures)


class Calibration(Objective):
    """The cross-entropy of `softmax(logits / T)`, as a function of the logarithm of `T`.

    The logarithm keeps `T` positive, and the scale of the logits does not matter. Outputs that
    are always right have no finite optimum: bounds end the search.

    Arguments:
        like: A tensor with the type and the device of the logits.
    """

    def __init__(self, like: Tensor):
        self.log_T: nn.Parameter = nn.Parameter(like.new_zeros(()))

    @property
    def T(self) -> Tensor:
        """The temperature."""
        return self.log_T.clamp(-4, 4).exp()

    def loss(self, sample: Sample) -> Tensor:
        """The cross-entropy of logits and labels."""
        logits, labels = sample
        assert labels is not None, "what is calibrated has labels"
        return nn.functional.cross_entropy(logits / self.T, labels)

    def backward(self, sample: Sample) -> Tensor:
        loss = self.loss(sample)
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def value(self, sample: Sample) -> Tensor:
        return self.loss(sample)

    def place(self, sample: Sample) -> None:
        return None


@torch.enable_grad()
def temperature(logits: Tensor, labels: Tensor) -> Tensor:
    """The `T` that minimises the cross-entropy of `softmax(logits / T)`.

    Raises:
        ValueError: If the logits are not finite.
    """
    calibration = Calibration(logits)
    optimizer = torch.optim.LBFGS([calibration.log_T], max_iter=50, line_search_fn="strong_wolfe")
    next(descent(calibration, optimizer, [Sample(logits, labels)]))
    return calibration.T.detach()


def classes(labels: Tensor) -> Tensor:
    """The class of each sample, from labels or from rows of probabilities.

    Raises:
        ValueError: If the rows are not those of probabilities: an exit has one class.
    """
    if labels.dim() == 1:
        return labels
    sums = labels.sum(-1, dtype=torch.float64)
    if labels.dim() != 2 or bool(((sums - 1).abs() > 1e-3).any()):
        raise ValueError(
            "An early exit has one class: labels must be of shape (batch,), or rows of "
            f"probabilities, but got shape {tuple(labels.shape)}, with rows that sum to "
            f"{float(sums.flatten()[0]):g}."
        )
    return labels.argmax(-1)


def check_confidence(confidence: float) -> None:
    """Raises a ValueError unless the confidence is a probability."""
    check_range("confidence", confidence, "0 <=", "<= 1")
