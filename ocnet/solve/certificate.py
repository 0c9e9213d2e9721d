"""The depth certificate of a solution: what its steps cost against continuous time."""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..solver import Euler, ExplicitRungeKutta, RK4
from .start import extended
from .transcription import Transcription


if TYPE_CHECKING:
    from .solution import Solution


@dataclass(frozen=True)
class Certificate:
    """How far the discretised problem is from the continuous one; all costs are `(*batch,)`.

    Attributes:
        steps: The numbers of steps `n/4, n/2, n` that were solved.
        costs: The optimal costs of the discretised problem with so many steps.
        euler: The optimal cost with `n` Euler steps.
        ode: The true cost of this control, by RK4 with eight steps to each of the control's.
        order: The observed order of the optimal cost, `log2` of the ratio of its changes.
        optimum: Richardson's estimate of the continuous optimum with that order, rounded.
    """

    steps: tuple[int, ...]
    costs: tuple[Tensor, ...]
    euler: Tensor
    ode: Tensor
    order: Tensor
    optimum: Tensor


def certify(solution: "Solution") -> Certificate:
    """Solves the problem on coarser grids and with Euler, and evaluates the control anew."""
    solver = solution.solver
    if solver.n % 4:
        raise ValueError(f"A certificate needs a multiple of 4 steps, but got n={solver.n}.")
    with torch.no_grad():
        coarse = [solution.again(with_steps(solver, n)) for n in (solver.n // 4, solver.n // 2)]
        is_euler = solver.tableau == Euler(1).tableau
        euler = solution if is_euler else solution.again(Euler(solver.n))
        ode = true_cost(solution)
    costs = (*(s.cost for s in coarse), solution.cost.detach())
    first, second = costs[0] - costs[1], costs[1] - costs[2]
    order = (first / second).log2()
    # A change that rounding makes has no order; the last grid is then as good as its limit.
    power = torch.where(order.isfinite(), order.round().clamp(1, 4), math.inf)
    optimum = costs[2] - second / (2**power - 1)
    steps = tuple(s.solver.n for s in coarse)
    return Certificate((*steps, solver.n), costs, euler.cost.detach(), ode, order, optimum)


def with_steps(solver: ExplicitRungeKutta, n: int) -> ExplicitRungeKutta:
    """The same method with another number of steps."""
    finer = copy.copy(solver)
    finer.n = n
    return finer


def true_cost(solution: "Solution", substeps: int = 8) -> Tensor:
    """The cost of the control in continuous time, within the error of short RK4 steps."""
    n = solution.solver.n
    nlp = Transcription(solution.batch, RK4(substeps * n))
    z = extended(nlp, solution)
    u = solution.control.path.detach().reshape(n, len(nlp.x0), nlp.nu)
    u = u.repeat_interleave(substeps, 0)
    path = nlp.rollout(z, u)
    _, c, _ = nlp.stages(path[:-1], u)
    return (c.sum((0, 2)) + nlp.ends(path[-1:])[0][0, :, 0]).reshape(nlp.shape)
