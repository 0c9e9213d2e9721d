"""What a solver returns."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .types import ControlValue, Cost, State


__all__ = ["Trajectory"]


@dataclass(frozen=True)
class Trajectory:
    """A solution of the controlled dynamics.

    Attributes:
        t: The times, shape `(time,)`.
        states: The states at those times, each `(*batch, *state_shape)`; the shape differs from
            stage to stage where the problem has projections.
        controls: The control values applied from each of the times but the last, or from fewer
            where the solver does not keep them.
        running_cost: The stage cost integrated over the horizon, shape `(*batch,)`.
        evaluations: How often the vector field was evaluated.
    """

    t: Float[Tensor, " time"]
    states: tuple[State, ...]
    controls: tuple[ControlValue, ...]
    running_cost: Cost
    evaluations: int

    @property
    def x(self) -> Float[Tensor, "time ..."]:
        """The states in one tensor, shape `(time, *batch, *state_shape)`.

        Raises:
            ValueError: If the state changes shape along the trajectory.
        """
        shapes = {tuple(x.shape) for x in self.states}
        if len(shapes) > 1:
            raise ValueError(f"The states have several shapes, {sorted(shapes)}: use `states`.")
        return torch.stack(self.states)

    def first_non_finite(self) -> int | None:
        """The index of the first state that is not finite, or None."""
        for k, x in enumerate(self.states):
            if not torch.isfinite(x).all():
                return k
        return None
