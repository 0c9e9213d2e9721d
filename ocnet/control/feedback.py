"""A feedback policy as a control."""

import copy
from collections.abc import Sequence

from torch import nn

from .._blame import blame, called, EXPLAINED
from ..types import ControlValue, State, Time
from .base import as_times, Control, Law, Piece, Side


class Feedback(Control):
    """`u(t, x) = policy(t, x)`, smooth in time; the policy's parameters are what is trained.

    Arguments:
        t0, t1: The horizon.
        policy: The module `(t, x) -> u`, where `t` is a scalar tensor in double precision
            (`t.to(x)` has the state's precision) and `u` has the shape `(*batch, *control_shape)`.

    Raises:
        TypeError: If the policy is not a module.
    """

    def __init__(self, t0: float, t1: float, policy: nn.Module):
        super().__init__(t0, t1)
        if not isinstance(policy, nn.Module):
            raise TypeError(f"policy must be a torch.nn.Module, but got {type(policy).__name__}.")
        self.policy = policy

    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        # The device is the state's, which only the law gets to see.
        return [lambda x, t=t: self.applied(as_times((t,), x.device)[0], x) for t in ts]

    def pieces(self) -> Sequence[Piece]:
        return [self.applied]

    def applied(self, t: Time, x: State) -> ControlValue:
        """The policy's value."""
        try:
            return self.policy(t, x)
        except EXPLAINED as error:
            blame(error, called(self.policy, "forward"))
            raise

    def refine(self) -> "Feedback":
        """A copy, because a policy has no grid to refine."""
        return copy.deepcopy(self)
