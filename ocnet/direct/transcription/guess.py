"""What a user gives to start from, on the grid of the steps: states, a control, or both."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..._arguments import shown
from ...control import Control, OpenLoop
from ...control.base import equal_times, time_slack
from .transcription import Transcription


States: TypeAlias = Tensor | Callable[[Tensor], Any]
"""Any number of states at equal distances over the horizon, or a function of time."""


class Guess(NamedTuple):
    """States and controls to start from.

    Attributes:
        states: States at the ends of the steps, `(n + 1, batch or 1, nx)`, or None.
        controls: Controls of the steps, `(n, batch or 1, nu)`, or None.
    """

    states: Tensor | None = None
    controls: Tensor | None = None


@torch.no_grad()
def guessed(nlp: Transcription, start: Any) -> Guess:
    """A start as states and controls on the grid.

    Arguments:
        nlp: The discretised problem.
        start: An open-loop control; states at equal distances, `(nodes, *state_shape)` or
            `(nodes, *batch, *state_shape)`; a function that gives the state at a time,
            `(*state_shape)` or `(*batch, *state_shape)`; or a pair of states and control.

    Raises:
        TypeError, ValueError: In one line, if it is none of these, does not fit, or is not finite.
    """
    if isinstance(start, tuple) and len(start) == 2 and not isinstance(start[0], Control):
        states, control = start
        return Guess(guessed(nlp, states).states, controls_of(nlp, control))
    if isinstance(start, Control):
        return Guess(controls=controls_of(nlp, start))
    if isinstance(start, Tensor):
        return Guess(interpolated(nlp, start))
    if callable(start):
        return Guess(states_of(nlp, start))
    raise TypeError(
        "start must be a Solution, a Control, states as a tensor, a function of time, or a pair of "
        f"states and control, but got {shown(start)}."
    )


def controls_of(nlp: Transcription, control: Any) -> Tensor:
    """The values of a control at the starts of the steps. Arguments: those of `guessed`."""
    if not isinstance(control, OpenLoop):
        raise TypeError(f"start's control must be open-loop, but got {shown(control)}.")
    problem, shape = nlp.problem, tuple(nlp.problem.control_shape or ())
    slack = time_slack(problem.t0, problem.t1)
    same = abs(control.t0 - problem.t0) <= slack and abs(control.t1 - problem.t1) <= slack
    if not same and not nlp.points.free_time:
        raise ValueError(
            f"start's control must live on [{problem.t0:g}, {problem.t1:g}], but it lives on "
            f"[{control.t0:g}, {control.t1:g}]."
        )
    # A free horizon is stretched: shares of it are what counts.
    times = equal_times(control.t0, control.t1, nlp.n)[:-1]
    values = control.values(times).detach().to(nlp.x0)
    check_fits(nlp, "start's control", values, shape, "at a time")
    return finite("start's control", values.reshape(nlp.n, -1, nlp.nu))


def interpolated(nlp: Transcription, states: Tensor) -> Tensor:
    """States on another grid, interpolated. Arguments: those of `guessed`."""
    if not states.is_floating_point():
        raise TypeError(f"start must hold floating point numbers, but got {states.dtype}.")
    if states.dim() == 0 or len(states) < 2:
        raise ValueError(
            f"start must hold states at two times at least, but has shape {tuple(states.shape)}."
        )
    states = states.detach().to(nlp.x0)
    check_fits(nlp, "start", states, tuple(nlp.problem.state_shape), "for each node")
    flat = finite("start", states.reshape(len(states), -1, nlp.nx))
    at = torch.linspace(0, len(flat) - 1, nlp.n + 1, dtype=torch.float64, device=flat.device)
    left = at.long().clamp(max=len(flat) - 2)
    return torch.lerp(flat[left], flat[left + 1], (at - left).to(flat)[:, None, None])


def states_of(nlp: Transcription, function: Callable[[Tensor], Any]) -> Tensor:
    """The states that a function of time gives. Arguments: those of `guessed`."""
    try:
        values = [torch.as_tensor(function(t)) for t in nlp.s.double().unbind()]
        states = torch.stack(values)
    # The user's own function can raise anything.
    except Exception as error:
        raise ValueError(f"start fails as a function of time: {error}") from error
    states = states.detach().to(nlp.x0)
    check_fits(nlp, "start(t)", states, tuple(nlp.problem.state_shape), "at a time")
    return finite("start(t)", states.reshape(len(states), -1, nlp.nx))


def check_fits(
    nlp: Transcription, name: str, values: Tensor, shape: Sequence[int], per: str
) -> None:
    """Raises a ValueError unless values have a shape at each time, with or without the batch's.

    Arguments:
        nlp: The discretised problem.
        name: What the values are.
        values: The values, with time first.
        shape: The shape of one value.
        per: What each value belongs to, in words, such as "for each node".
    """
    fits = [tuple(shape), (*nlp.shape, *shape)]
    if tuple(values.shape[1:]) not in fits:
        kinds = " or ".join(map(str, dict.fromkeys(fits)))
        raise ValueError(
            f"{name} must have shape {kinds} {per}, but got {tuple(values.shape[1:])}."
        )


def finite(name: str, values: Tensor) -> Tensor:
    """The values, if they are finite.

    Raises:
        ValueError: If they are not; it tells the first time at which one is not.
    """
    wrong = ~values.isfinite().all(-1)
    if bool(wrong.any()):
        k, i = wrong.nonzero()[0].tolist()
        where = f"node {k}" + (f" of instance {i}" if values.shape[1] > 1 else "")
        raise ValueError(f"{name} must be finite, but at {where} it is {values[k, i].tolist()}.")
    return values
