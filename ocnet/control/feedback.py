"""A feedback policy as a control."""

import copy
from collections.abc import Sequence
from functools import partial

from torch import nn

from .base import Control, Law, Piece, Side


class Feedback(Control):
    """`u(t, x) = policy(t, x)`, smooth in time; the policy's parameters are what is trained.

    Arguments:
        t0, t1: The horizon.
        policy: The module `(t, x) -> u`, where `t` is a scalar tensor like `x` and `u` has
            the shape `(*batch, *control_shape)`.
    """

    def __init__(self, t0: float, t1: float, policy: nn.Module):
        super().__init__(t0, t1)
        self.policy = policy

    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        # The time follows the state's dtype and device, which only the law gets to see.
        return [lambda x, t=t: self.policy(x.new_tensor(t), x) for t in ts]

    def pieces(self) -> Sequence[Piece]:
        return [partial(self.policy)]

    def refine(self) -> "Feedback":
        """A copy: a policy is not on a grid."""
        return copy.deepcopy(self)
