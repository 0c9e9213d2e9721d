"""Where the iteration starts: cold from the problem's own guess, or warm from a solution."""

import torch
from torch import Tensor

from .iterate import apply, Iterate, linearise
from .transcription import inside, Transcription


def cold(nlp: Transcription, mu: float) -> Iterate:
    """The documented cold start.

    Controls are the problem's `initial_control`, moved between the bounds. States are the
    problem's `initial_states`, or those that the controls lead to while they are finite, or the
    initial state held. Slacks are the constraints' room, at least 1e-2; multipliers are
    `mu w / s`, and the costates solve the adjoint equation along the start.
    """
    z, u = nlp.constant_start(nlp.n)
    problem = nlp.problem
    with torch.no_grad():
        control = problem.initial_control(nlp.n).to(nlp.x0)
        values = control.values(nlp.s[:-1].tolist()).reshape(nlp.n, -1, nlp.nu)  # pyright: ignore
        u = inside(values.expand(nlp.n, len(nlp.x0), nlp.nu), *nlp.u_bounds)
        guess = problem.initial_states(nlp.s, nlp.x0.reshape(*nlp.shape, *problem.state_shape))
        z = z.clone()
        if guess is not None:
            z[..., : nlp.nx] = guess.reshape(nlp.n + 1, -1, nlp.nx)
            z[0, :, : nlp.nx] = nlp.x0
        else:
            z = rolled_out(nlp, z, u)
    return with_multipliers(nlp, z, u, mu)


def rolled_out(nlp: Transcription, z: Tensor, u: Tensor) -> Tensor:
    """The states that the controls lead to; where they grow huge, the initial state held."""
    path, now = [z[0]], z[0]
    for k in range(nlp.n):
        x, _, _ = nlp.stages(now[None], u[k : k + 1], nlp.s[k : k + 1])
        now = torch.cat([x[0], now[:, nlp.nx :]], -1)
        path.append(now)
    path = torch.stack(path)
    tame = (path.abs() < 1e3 * (1 + z.abs())).all(-1).all(0)
    return torch.where(tame[:, None], path, z)


def with_multipliers(nlp: Transcription, z: Tensor, u: Tensor, mu: float) -> Iterate:
    """Slacks and multipliers for given states and controls."""
    size = len(nlp.x0)
    empty = Iterate(
        z, u, torch.zeros_like(z), z.new_zeros(1, size, nlp.n_psi),
        z.new_zeros(nlp.n, size, len(nlp.along)), z.new_zeros(nlp.n, size, len(nlp.along)),
        z.new_zeros(1, size, len(nlp.end)), z.new_zeros(1, size, len(nlp.end)),
    )  # fmt: skip
    lin = linearise(nlp, empty)
    s, s_end = ((-rows).clamp(min=1e-2) for rows in (lin.rows, lin.rows_end))
    bounded = nlp.along.bounded
    s[..., :bounded], s_end[..., : nlp.end.bounded] = (
        -lin.rows[..., :bounded],
        -lin.rows_end[..., : nlp.end.bounded],
    )
    costate = adjoint(nlp, lin)
    return empty._replace(
        costate=costate, s=s, y=mu / nlp.n / s, s_end=s_end, y_end=mu / s_end
    )


def adjoint(nlp: Transcription, lin) -> Tensor:
    """Costates that make the Lagrangian stationary in the states, without inequalities."""
    scale, nx, nz = nlp.scale[:, None], nlp.nx, nlp.nz
    p = scale * lin.end.jacobians[0][0, :, 0, :]
    path = [p]
    c_z = scale * lin.along.jacobians[1][..., 0, :nz]
    for c, A in zip(c_z.flip(0).unbind(), lin.along.jacobians[0][..., :nz].flip(0).unbind(), strict=True):
        theta = p[:, nx:]
        p = c + apply(A.mT, p[:, :nx])
        p = torch.cat([p[:, :nx], p[:, nx:] + theta], -1)
        path.append(p)
    path = torch.stack(path[::-1])
    return torch.where(path.isfinite() & (path.abs() < 1e6), path, 0.0)
