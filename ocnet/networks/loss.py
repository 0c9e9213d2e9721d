"""Losses per sample for classifiers, and the targets that they and the scores take."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cost import Loss as Loss


@dataclass(frozen=True)
class CrossEntropy:
    """`-sum_c q_c log softmax(y)_c`, with `q` the label, smoothed towards all classes.

    Arguments:
        smoothing: The share of `q` that is spread evenly over the classes.

    Raises:
        ValueError: Unless `0 <= smoothing < 1`.
    """

    smoothing: float = 0.0

    def __post_init__(self):
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"Must have 0 <= smoothing < 1, but got smoothing={self.smoothing}.")

    def __call__(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None, "a classifier's cost is asked for only with labels"
        labels = as_labels(labels, logits.shape[-1])
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)


@dataclass(frozen=True)
class SquaredError:
    """`|y - e_label|^2`, the squared distance to the unit vector of the label."""

    def __call__(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None, "a classifier's cost is asked for only with labels"
        labels = as_labels(labels, logits.shape[-1])
        # A row for each sample, such as one of probabilities, stands for itself.
        e = F.one_hot(labels, logits.shape[-1]) if labels.dim() == 1 else labels
        e = e.to(logits.dtype)
        return (logits - e).square().sum(-1)


def accuracy(logits: Tensor, target: Tensor) -> Tensor | None:
    """Whether a prediction is right, for each sample, shape `(batch,)`.

    Of labels, whether the largest logit is the label's; of one row of probabilities for each
    sample, whether it is that of the largest; of several classes at once (rows of zeros and ones
    that do not sum to 1), the share of classes for which the sign of the logit is right. None for
    other targets, such as those of a regression.

    Arguments:
        logits: The predictions, shape `(batch, classes)`.
        target: The labels, shape `(batch,)` or `(batch, 1)`, or a row for each sample, shape
            `(batch, classes)`.
    """
    if target.dim() == 1 or target.shape[1:] == (1,) != logits.shape[1:]:
        labels = target.reshape(len(target))
        if labels.is_floating_point() and bool((labels != labels.round()).any()):
            return None
        return (logits.argmax(-1) == labels).to(logits.dtype)
    if target.shape != logits.shape or bool(((target < 0) | (target > 1)).any()):
        return None
    sums = target.sum(-1, dtype=torch.float64)
    if bool(((sums - 1).abs() < 1e-3).all()):
        return (logits.argmax(-1) == target.argmax(-1)).to(logits.dtype)
    if bool(((target == 0) | (target == 1)).all()):
        return ((logits > 0) == (target > 0.5)).to(logits.dtype).mean(-1)
    return None


def as_labels(target: Tensor, classes: int) -> Tensor:
    """Labels as a loss takes them: integers, shape `(batch,)`; other targets as they are.

    Raises:
        ValueError: If they have the shape of labels, but are not whole numbers in range.
    """
    is_column = target.dim() == 2 and target.shape[1] == 1 != classes
    if target.dim() != 1 and not is_column:
        return target
    labels = target.reshape(len(target))
    if labels.dtype == torch.int64:
        return labels
    if labels.is_floating_point() and not labels.is_meta and bool((labels != labels.round()).any()):
        raise ValueError(
            "labels must be whole numbers, but got "
            f"{float(labels[labels != labels.round()][0]):g}; probabilities of the {classes} "
            f"classes have shape (batch, {classes})."
        )
    labels = labels.long()
    if labels.numel() and not labels.is_meta and not 0 <= labels.min() <= labels.max() < classes:
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"labels must lie in 0..{classes - 1}, but got {int(worst)}.")
    return labels
