"""Losses per sample for classifiers."""

from dataclasses import dataclass

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
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)


@dataclass(frozen=True)
class SquaredError:
    """`|y - e_label|^2`, the squared distance to the unit vector of the label."""

    def __call__(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None, "a classifier's cost is asked for only with labels"
        e = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
        return (logits - e).square().sum(-1)
