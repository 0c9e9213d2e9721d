"""A batch of inputs and targets."""

from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """A batch of inputs, and the targets that the costs compare with.

    Attributes:
        x0: The inputs, shape `(batch, ...)`; the initial states unless the problem embeds them.
        target: The targets, shape `(batch, ...)`, or None.
    """

    x0: Tensor
    target: Tensor | None = None
