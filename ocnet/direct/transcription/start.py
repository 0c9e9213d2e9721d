"""Where the iteration starts: cold from the problem's own guess, or warm from a solution."""

import torch
from torch import Tensor

from ...control.base import OpenLoop
from ..answer.solution import Solution
from .iterate import apply, Iterate, Linearisation, linearise, slacks, stationarity
from .sizes import cost_scale, suggested
from .transcription import inside, Transcription


COLD, WARM = 1e-1, 1e-4
"""The barrier parameter to start with."""


@torch.no_grad()
def cold(nlp: Transcription) -> Iterate:
    """The cold start.

    Controls are the problem's `initial_control`, moved between the bounds. States are the
    problem's `initial_states`, or those that the controls lead to while they stay within 1000
    times the initial state's size and what its first step extrapolates to, or the initial state
    held. Slacks are the constraints' room,
    at least 1e-2; multipliers are `mu w / s`, and the costates solve the adjoint equation.
    """
    z, u = nlp.constant_start(nlp.n)
    problem, shape = nlp.problem, nlp.problem.state_shape
    control = problem.initial_control(nlp.n).to(nlp.x0)
    if not isinstance(control, OpenLoop):
        raise TypeError(f"initial_control must be open-loop, but got {type(control).__name__}.")
    values = control.values(nlp.s[:-1].tolist()).reshape(nlp.n, -1, nlp.nu)
    u = inside(values.expand_as(u), *nlp.u_bounds)
    guess = problem.initial_states(nlp.s, nlp.x0.reshape(*nlp.shape, *shape))
    if guess is None:
        z = rolled_out(nlp, z, u)
    else:
        guess = guess.reshape(nlp.n + 1, -1, nlp.nx).expand(-1, len(nlp.x0), -1)
        z = torch.cat([torch.cat([nlp.x0[None], guess[1:]]), z[..., nlp.nx :]], -1)
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
    return recursion(nlp, lin, without) if nlp.kernel is None else nlp.kernel.adjoint(nlp, without)


def tame_adjoint(nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
    """`adjoint` as something to start from: zero where it grows huge."""
    path = adjoint(nlp, lin, it)
    tame = (path.abs() < 1e6).all(-1).all(0)
    return torch.where(tame[:, None], path, 0.0)


def recursion(nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
    """The adjoint equation, stage after stage from the end; `it` has costates of zero."""
    L_z, _, L_end = stationarity(nlp, it, lin)
    F_z = lin.along.jacobians[0][..., : nlp.nz]
    p = L_end[0]
    path = [p]
    for c, A in zip(L_z.flip(0).unbind(), F_z.flip(0).unbind(), strict=True):
        held = torch.cat([torch.zeros_like(p[:, : nlp.nx]), p[:, nlp.nx :]], -1)
        p = c + apply(A.mT, p[:, : nlp.nx]) + held
        path.append(p)
    return torch.stack(path[::-1])


@torch.no_grad()
def warm(nlp: Transcription, solution: Solution) -> tuple[Iterate, dict[int, str]]:
    """A solution, on this or another grid or horizon, as a start.

    States and costates are interpolated, controls and multipliers read at the middle of steps.

    Returns:
        The start, and by their numbers what is wrong with instances that cannot start there
        because it is not finite.

    Raises:
        ValueError: If it solves another number of instances, or has other constraints or static
            parameters.
    """
    size, n = len(nlp.x0), solution.solver.n
    before = solution.cost.numel()
    if before not in (1, size):
        raise ValueError(f"start must solve 1 or {size} instances, but it solves {before}.")
    check_counts(nlp, solution)

    def points(value: Tensor) -> Tensor:
        value = value.detach().to(nlp.x0)
        return value.reshape(len(value), before, -1).expand(-1, size, -1)

    at = torch.linspace(0, n, nlp.n + 1, dtype=torch.float64, device=nlp.x0.device)
    left = at.long().clamp(max=n - 1)
    share = (at - left).to(nlp.x0)[:, None, None]
    middle = ((at[1:] + at[:-1]) / 2).long()

    def interpolated(value: Tensor) -> Tensor:
        value = points(value)
        return torch.lerp(value[left], value[left + 1], share)

    x = interpolated(solution.trajectory.x)
    theta = inside(extended(nlp, solution)[:, nlp.nx :], *nlp.theta_bounds, 1e-6)
    z = torch.cat([torch.cat([nlp.x0[None], x[1:]]), theta.expand(nlp.n + 1, -1, -1)], -1)
    u = inside(points(solution.control.path)[middle], *nlp.u_bounds, 1e-6)
    it = with_multipliers(nlp, z, u, WARM, least=1e-6)
    costate = interpolated(solution.costates)
    scale, nx = nlp.scale[:, None], nlp.nx
    found = solution.multipliers
    h = nlp.points.h * (z[:1, :, nx : nx + 1] if nlp.points.free_time else 1)
    at_lower, at_upper = nlp.along.at_lower - nlp.nz, nlp.along.at_upper - nlp.nz
    eta = torch.cat(
        [
            points(found.lower)[middle][..., at_lower],
            points(found.upper)[middle][..., at_upper],
            points(found.path)[middle],
        ],
        -1,
    )
    it = it._replace(
        costate=torch.cat([scale * costate, it.costate[..., nx:]], -1),
        nu=scale * points(found.terminal[None]),
        y=torch.minimum(torch.maximum(it.y, scale * h * eta), 1e4 * it.y),
    )
    values = {
        "states": [points(solution.trajectory.x)],
        "controls": [points(solution.control.path)],
        "costates": [points(solution.costates)],
        "multipliers": [points(v) for v in found[:3]] + [points(v[None]) for v in found[3:]],
        "final time or parameters": [theta[None]],
    }
    wrong = not_finite({f"{name} of the start": parts for name, parts in values.items()})
    return it, not_finite({"problem's functions at the start": [*it]}) | wrong


def check_counts(nlp: Transcription, solution: Solution) -> None:
    """Raises a ValueError unless a start has the rows and the constants of the problem."""
    found = solution.multipliers
    static = {name: tuple(value.shape) for name, value in nlp.points.static.items()}
    batch = solution.cost.dim()
    pairs = [
        ("path_constraint rows", nlp.along.rows, found.path.shape[-1]),
        ("terminal_constraint rows", nlp.n_psi, found.terminal.shape[-1]),
        (
            "terminal_inequality rows", nlp.end.rows - len(nlp.points.last),
            found.terminal_inequality.shape[-1],
        ),
        (
            "static parameters", static,
            {name: tuple(v.shape[batch:]) for name, v in solution.parameters.items()},
        ),
    ]  # fmt: skip
    for name, own, given in pairs:
        if own != given:
            raise ValueError(
                f"start must solve a problem with the same {name}: the problem has {own}, but the "
                f"start has {given}."
            )


def not_finite(values: dict[str, list[Tensor]]) -> dict[int, str]:
    """Which values of an instance, each `(time, batch, rows)`, are not finite, by its number."""
    found: dict[int, str] = {}
    for name, parts in values.items():
        for value in parts:
            for i in (~value.isfinite()).any(2).any(0).nonzero()[:, 0].tolist():
                found.setdefault(i, f"the {name} are not finite")
    return found


def extended(nlp: Transcription, solution: Solution) -> Tensor:
    """The initial states with a solution's constants next to them, shape `(batch, nz)`."""
    size = len(nlp.x0)
    theta = []
    if nlp.points.free_time:
        problem = nlp.problem
        rate = (solution.final_time.detach() - problem.t0) / (problem.t1 - problem.t0)
        theta.append(rate.reshape(-1, 1))
    before = solution.cost.numel()
    theta += [v.detach().reshape(before, -1) for v in solution.parameters.values()]
    constants = [v.to(nlp.x0).expand(size, -1) for v in theta]
    return torch.cat([nlp.x0.detach(), *constants], -1)
