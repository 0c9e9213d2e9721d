"""Where the iteration starts: from the problem's own guess, or from states and controls."""

import torch
from torch import Tensor

from ...control.base import OpenLoop
from .backend import Linearisation
from .bounds import inside
from .guess import Guess
from .iterate import linearise, slacks
from .sizes import cost_scale, suggested
from .transcription import Transcription
from .variables import Iterate


COLD, WARM = 1e-1, 1e-4
"""The barrier parameter to start with."""

NOTHING = Guess()
"""No guess of a user's."""


@torch.no_grad()
def cold(nlp: Transcription, guess: Guess = NOTHING) -> Iterate:
    """The cold start.

    Controls are those of the guess or the problem's `initial_control`, moved between the bounds.
    States are those of the guess, or else the problem's `initial_states`. Without either, they are
    the states that the controls lead to if they stay within 1000 times the initial state's size and
    the extrapolation of the first step, or else the initial state held. Slacks are the constraints'
    room, at least 1e-2; multipliers are `mu w / s`, and the costates solve the adjoint equation.

    Arguments:
        nlp: The discretised problem.
        guess: What a user gives to start from.
    """
    z, u = nlp.constant_start(nlp.n)
    problem, shape = nlp.problem, nlp.problem.state_shape
    states, controls = guess
    if controls is None:
        control = problem.initial_control(nlp.n).to(nlp.x0)
        if not isinstance(control, OpenLoop):
            raise TypeError(f"initial_control must be open-loop, but got {type(control).__name__}.")
        controls = control.values(nlp.s[:-1].tolist()).reshape(nlp.n, -1, nlp.nu)
    u = inside(controls.expand_as(u), *nlp.u_bounds)
    if states is None and guess.controls is None:
        states = problem.initial_states(nlp.s, nlp.x0.reshape(*nlp.shape, *shape))
    if states is None:
        z = rolled_out(nlp, z, u)
    else:
        states = states.reshape(nlp.n + 1, -1, nlp.nx).expand(-1, len(nlp.x0), -1)
        z = torch.cat([torch.cat([nlp.x0[None], states[1:]]), z[..., nlp.nx :]], -1)
    return with_multipliers(nlp, z, u, COLD)


def rolled_out(nlp: Transcription, z: Tensor, u: Tensor) -> Tensor:
    """The states that the controls lead to; where they grow huge, the initial state held."""
    path = nlp.rollout(z[0], u)
    drift = nlp.n * (path[1] - path[0]).abs()
    tame = (path.abs() < 1e3 * (1 + z.abs() + drift)).all(-1).all(0)
    return torch.where(tame[:, None], path, z)


def with_multipliers(
    nlp: Transcription, z: Tensor, u: Tensor, mu: float, least: float = 1e-2,
    rescale: bool = True,
) -> Iterate:  # fmt: skip
    """Slacks and multipliers for given states and controls.

    Arguments:
        nlp: The discretised problem.
        z: Extended states.
        u: Controls.
        mu: The barrier parameter.
        least: The least slack.
        rescale: Whether the scale of the cost is set anew.
    """
    it = Iterate.without_multipliers(nlp, z, u)
    if rescale:
        nlp.scale = torch.ones_like(nlp.scale)
    lin = linearise(nlp, it)
    if rescale:
        nlp.sizes = suggested(nlp, it, lin)
        nlp.scale = cost_scale(nlp, lin, nlp.sizes.w)
    s, s_end = slacks(nlp, lin, least)
    return it._replace(
        costate=tame_adjoint(nlp, lin, it), s=s, y=mu / nlp.n / s, s_end=s_end, y_end=mu / s_end
    )


def again_from(nlp: Transcription, it: Iterate, ratio: Tensor) -> Iterate:
    """An answer as a start of the same problem with its cost multiplied by a ratio.

    Arguments:
        nlp: The discretised problem, whose scale is the new one.
        it: The answer.
        ratio: The new scale over the old one, shape `(batch,)`.
    """
    before, u = it.weighed(ratio), inside(it.u, *nlp.u_bounds, 1e-6)
    theta = inside(it.z[..., nlp.nx :], *nlp.theta_bounds, 1e-6)
    z = torch.cat([it.z[..., : nlp.nx], theta], -1)
    start = with_multipliers(nlp, z, u, WARM, least=1e-6, rescale=False)
    return start._replace(
        costate=before.costate, nu=before.nu,
        y=torch.minimum(torch.maximum(start.y, before.y), 1e4 * start.y),
        y_end=torch.minimum(torch.maximum(start.y_end, before.y_end), 1e4 * start.y_end),
    )  # fmt: skip


def adjoint(nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
    """Costates that make the Lagrangian stationary in the states, given the other multipliers."""
    without = it._replace(costate=torch.zeros_like(it.costate))
    return nlp.backend.adjoint(nlp, lin, without)


def tame_adjoint(nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
    """`adjoint` as something to start from: zero where it grows huge."""
    path = adjoint(nlp, lin, it)
    tame = (path.abs() < 1e6).all(-1).all(0)
    return torch.where(tame[:, None], path, 0.0)
