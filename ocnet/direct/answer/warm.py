"""A solution, of this or another grid or horizon, as a start."""

import torch
from torch import Tensor

from ..transcription.bounds import inside
from ..transcription.start import WARM, with_multipliers
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .solution import Solution


@torch.no_grad()
def warm(nlp: Transcription, solution: Solution) -> tuple[Iterate, dict[int, str]]:
    """Turns a solution, on this or another grid or horizon, into a start.

    States and costates are interpolated, controls and multipliers read at the middle of steps.

    Returns:
        The start, and what is wrong with instances that cannot start there because it is not
        finite, by their numbers.

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
    h = nlp.points.h * (z[:1, :, nx : nx + 1] if nlp.points.free_time else 1)
    found = solution.multipliers
    at_lower, at_upper = nlp.along.at_lower - nlp.nz, nlp.along.at_upper - nlp.nz
    lower, upper, path = (points(v)[middle] for v in found[:3])
    eta = torch.cat([lower[..., at_lower], upper[..., at_upper], path], -1)
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
    """For each instance with values that are not finite, by its number: which values these are.

    Each of the values has the shape `(time, batch, rows)`.
    """
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
