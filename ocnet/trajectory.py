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
        t: The ends of all steps, or the output times of an adaptive method, shape `(time,)`.
        states: The states at the times of `kept`, each `(*batch, *state_shape)`; the shape differs
            from stage to stage where the problem has projections.
        controls: The control values at the start of every step, one fewer than there are times.
        running_cost: The stage cost integrated over the horizon, shape `(*batch,)`.
        evaluations: How often the vector field was evaluated.
        kept: The indices in `t` of the states that are kept, always with the first and the last.
            All are kept, except with `Checkpoint` and `Reversible`, which save memory.
        t_eval: The times that were asked for besides, shape `(eval,)`, or those of each sample,
            shape `(*batch, eval)`; None if there are none.
        states_eval: The states at those times, each `(*batch, *state_shape)`.

    Raises:
        ValueError: If the numbers of times, states and controls do not fit together.
    """

    t: Float[Tensor, " time"]
    states: tuple[State, ...]
    controls: tuple[ControlValue, ...]
    running_cost: Cost
    evaluations: int
    kept: tuple[int, ...] = ()
    t_eval: Float[Tensor, "*batch eval"] | None = None
    states_eval: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.t)
        if not self.kept:
            object.__setattr__(self, "kept", tuple(range(n)))
        if len(self.states) != len(self.kept) or len(self.controls) != n - 1:
            raise ValueError(
                f"A trajectory of {n} times must have a state for each of those that are kept and "
                f"{n - 1} controls, but got {len(self.kept)} kept, {len(self.states)} states and "
                f"{len(self.controls)} controls."
            )

    @property
    def all_states(self) -> tuple[State, ...]:
        """The states at all times.

        Raises:
            ValueError: If some were not kept.
        """
        if len(self.kept) < len(self.t):
            raise ValueError(
                f"The solver keeps {len(self.kept)} of {len(self.t)} states, and all are needed: "
                "take another gradient than Checkpoint(), and no Reversible."
            )
        return self.states

    @property
    def t_kept(self) -> Float[Tensor, " state"]:
        """The times of `states`, shape `(state,)`."""
        return self.t if len(self.kept) == len(self.t) else self.t[list(self.kept)]

    @property
    def x(self) -> Float[Tensor, "state ..."]:
        """The states that are kept in one tensor, shape `(state, *batch, *state_shape)`.

        Raises:
            ValueError: If the state changes shape along the trajectory.
        """
        return stacked("states", self.states)

    @property
    def x_eval(self) -> Float[Tensor, "eval ..."]:
        """The states at `t_eval` in one tensor, shape `(eval, *batch, *state_shape)`.

        Raises:
            ValueError: If none were asked for, or the state changes shape between them.
        """
        if self.t_eval is None:
            raise ValueError("There are no states at other times: solve(..., t_eval=...).")
        return stacked("states_eval", self.states_eval)

    def first_non_finite(self) -> int | None:
        """The index in `t` of the first state that is kept and not finite, or None."""
        for k, x in zip(self.kept, self.states, strict=True):
            if not torch.isfinite(x).all():
                return k
        return None


def stacked(name: str, states: tuple[State, ...]) -> Tensor:
    """States in one tensor; raises a ValueError if they have several shapes.

    Arguments:
        name: What holds the states.
        states: The states.
    """
    shapes = {tuple(x.shape) for x in states}
    if len(shapes) > 1:
        raise ValueError(f"The states have several shapes, {sorted(shapes)}: use `{name}`.")
    return torch.stack(states)
