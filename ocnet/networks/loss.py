"""Losses per sample for classifiers, and the targets that they and the scores take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .._arguments import check_kind, check_range, check_tensor
from ..cost import Loss as Loss


NO_LABEL = -(2**63)
"""No label is ignored; torch would ignore -100, and give it a cost of zero."""


@dataclass(frozen=True)
class CrossEntropy:
    """`-sum_c q_c log softmax(y)_c`, with `q` the label, smoothed towards all classes.

    With a label for each position, as in segmentation and for texts, the mean over the positions.

    Arguments:
        smoothing: The share of `q` that is spread evenly over the classes.

    Raises:
        ValueError: Unless `0 <= smoothing < 1`.
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_range("smoothing", self.smoothing, "0 <=", "< 1")

    def __call__(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        positions = by_position(logits, labels)
        if positions is not None:
            return self(*positions).unflatten(0, (len(logits), -1)).mean(1)
        labels = as_labels(*check_targets(logits, labels))
        with in_range(labels, logits.shape[-1]):
            return F.cross_entropy(
                logits,
                labels,
                reduction="none",
                label_smoothing=self.smoothing,
                ignore_index=NO_LABEL,
            )


@dataclass(frozen=True)
class SquaredError:
    """`|y - e_label|^2`, the squared distance to the unit vector of the label."""

    def __call__(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        labels = as_labels(*check_targets(logits, labels))
        with in_range(labels, logits.shape[-1]):
            # A row for each sample, such as one of probabilities, stands for itself.
            e = F.one_hot(labels, logits.shape[-1]) if labels.dim() == 1 else labels
        e = e.to(logits.dtype)
        return (logits - e).square().sum(-1)


LOSSES: dict[str, Callable[..., Loss]] = {
    loss.__name__: loss for loss in (CrossEntropy, SquaredError)
}
"""The losses by the names that files and the shell use."""


def accuracy(logits: Tensor, target: Tensor) -> Tensor | None:
    """Whether a prediction is right, for each sample, shape `(batch,)`.

    For labels: whether the largest logit is that of the label. For a row of probabilities for each
    sample: whether the largest logit is that of the largest probability. For several classes at
    once (rows of zeros and ones that do not sum to 1): the share of classes for which the sign of
    the logit is right. For a label at each position: the share of positions. None for other
    targets, such as those of a regression.

    Arguments:
        logits: The predictions, shape `(batch, classes)`; `(batch, classes, *positions)` or
            `(batch, *positions, classes)` with a label for each position.
        target: The labels, shape `(batch,)` or `(batch, 1)`, or a row for each sample, shape
            `(batch, classes)`; or `(batch, *positions)`.

    Raises:
        TypeError, ValueError: If a prediction has no target, or a label is out of range.
    """
    check_tensor("logits", logits)
    check_kind("target", target, Tensor)
    positions = by_position(logits, target)
    if positions is not None:
        score = accuracy(*positions)
        return None if score is None else score.unflatten(0, (len(logits), -1)).mean(1)
    if logits.dim() != 2 or target.shape[:1] != logits.shape[:1]:
        raise ValueError(
            "logits must have shape (batch, classes), and target a row for each, but got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}."
        )
    if target.dim() == 1 or target.shape[1:] == (1,) != logits.shape[1:]:
        labels = target.reshape(len(target))
        check_cheaply(labels, logits.shape[-1])
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


def by_position(logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Predictions and labels of all positions, one after the other; None if they have none.

    The classes are the second dimension of the logits, as in segmentation, or the last, as in
    language models.

    Raises:
        ValueError: If the classes may be in either dimension.
    """
    if not isinstance(logits, Tensor) or not isinstance(target, Tensor) or logits.dim() < 3:
        return None
    if target.is_floating_point() or target.dim() != logits.dim() - 1:
        return None
    second = target.shape == (logits.shape[0], *logits.shape[2:])
    final = target.shape == logits.shape[:-1]
    if second and final:
        raise ValueError(
            "The classes are the second or the last dimension of logits, but both fit: got "
            f"{tuple(logits.shape)} and labels of shape {tuple(target.shape)}."
        )
    if not (second or final):
        return None
    rows = logits.movedim(1, -1) if second else logits
    return rows.flatten(0, -2), target.flatten()


def check_targets(logits: Tensor, target: Tensor | None) -> tuple[Tensor, int]:
    """The targets of a loss, and the number of classes.

    Raises:
        TypeError, ValueError: If there is not one target for each prediction.
    """
    check_tensor("logits", logits)
    check_kind("labels", target, Tensor)
    assert target is not None, "just checked"
    batch, classes = tuple(logits.shape[:-1]), logits.shape[-1] if logits.dim() else 0
    shapes = (batch, (*batch, 1), (*batch, classes))
    if logits.dim() != 2 or tuple(target.shape) not in shapes:
        raise ValueError(
            "logits must have shape (batch, classes), and labels (batch,) or (batch, classes), but "
            f"got {tuple(logits.shape)} and {tuple(target.shape)}."
        )
    return target, classes


@contextmanager
def in_range(labels: Tensor, classes: int) -> Iterator[None]:
    """Makes torch's error about labels name the label that is out of range."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        if labels.dim() != 1 or labels.device.type != "cpu":
            raise
        wrong = labels[(labels < 0) | (labels >= classes)]
        if not len(wrong):
            raise
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, but got {int(wrong[0])}."
        ) from error


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


def check_labels(labels: Tensor, classes: int) -> None:
    """Raises a ValueError if there is a label out of range; targets that are not labels pass."""
    if labels.dim() > 1 and labels.shape[1:] != (1,):
        return
    if labels.is_floating_point() or labels.is_meta or labels.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < 0 or high >= classes:
        worst = low if low < 0 else high
        raise ValueError(f"labels must lie in 0..{classes - 1}, but got {worst}.")


def check_cheaply(labels: Tensor, classes: int) -> None:
    """`check_labels` where it costs no time: not on an accelerator, which it would wait for."""
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        check_labels(labels, classes)
