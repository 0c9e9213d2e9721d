"""The depth certificate of a solution: what its steps cost against continuous time."""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..solver import Euler, ExplicitRungeKutta, RK4
from .iterate import largest
from .start import extended
from .transcription import Transcription


if TYPE_CHECKING:
    from .solution import Solution


CLOSE = 0.05
"""What lies within this share of the continuous-time value is called close to it."""


def gap(cost: float, other: float) -> float:
    """How far two costs are apart, relative to the larger of them."""
    scale = max(abs(cost), abs(other))
    return abs(cost - other) / scale if scale > 0 else 0.0


@dataclass(frozen=True)
class Certificate:
    """How far the discretised problem is from the continuous one; all costs are `(*batch,)`.

    Attributes:
        steps: The numbers of steps `n/4, n/2, n` that were solved.
        costs: The optimal costs of the discretised problem with so many steps.
        euler: The optimal cost with `n` Euler steps.
        ode: The true cost of this control, by RK4 with eight steps to each of the control's.
        ode_violation: By how much it then violates any constraint.
        order: The observed order of the optimal cost, `log2` of the ratio of its changes.
        optimum: Richardson's estimate of the continuous optimum with that order, rounded.
    """

    steps: tuple[int, ...]
    costs: tuple[Tensor, ...]
    euler: Tensor
    ode: Tensor
    ode_violation: Tensor
    order: Tensor
    optimum: Tensor

    @property
    def verdict(self) -> str:
        """One plain sentence: whether Euler misleads. Of a batch it tells the worst instance."""
        best = self.optimum.reshape(-1).tolist()
        own, euler = (
            max(map(gap, costs.reshape(-1).tolist(), best))
            for costs in (self.costs[-1], self.euler)
        )
        n = self.steps[-1]
        found = f"At {n} steps the optimum found is {100 * own:.2g}% off that of continuous time"
        if torch.equal(self.euler, self.costs[-1]):
            return f"{found}: Euler {'misleads' if own > CLOSE else 'does not mislead'}."
        told = "misleads" if euler > CLOSE else "does not mislead"
        return f"{found}; Euler's is {100 * euler:.2g}% off: Euler {told}."


def certify(solution: "Solution") -> Certificate:
    """Solves the problem on coarser grids and with Euler, and evaluates the control anew."""
    solver = solution.solver
    if solver.n % 4:
        raise ValueError(f"A certificate needs a multiple of 4 steps, but got n={solver.n}.")
    with torch.no_grad():
        coarse = [solution.again(with_steps(solver, n)) for n in (solver.n // 4, solver.n // 2)]
        is_euler = solver.tableau == Euler(1).tableau
        euler = solution if is_euler else solution.again(Euler(solver.n))
        ode, violation = in_continuous_time(solution)
    costs = (*(s.cost for s in coarse), solution.cost.detach())
    first, second = costs[0] - costs[1], costs[1] - costs[2]
    order = (first / second).log2()
    # A change that rounding makes has no order; the last grid is then as good as its limit.
    power = torch.where(order.isfinite(), order.round().clamp(1, 4), math.inf)
    optimum = costs[2] - second / (2**power - 1)
    steps = tuple(s.solver.n for s in coarse)
    steps = (*steps, solver.n)
    return Certificate(steps, costs, euler.cost.detach(), ode, violation, order, optimum)


def with_steps(solver: ExplicitRungeKutta, n: int) -> ExplicitRungeKutta:
    """The same method with another number of steps."""
    finer = copy.copy(solver)
    finer.n = n
    return finer


def in_continuous_time(solution: "Solution", substeps: int = 8) -> tuple[Tensor, Tensor]:
    """Cost and largest violation of the control, within the error of short RK4 steps."""
    n = solution.solver.n
    nlp = Transcription(solution.batch, RK4(substeps * n))
    z = extended(nlp, solution)
    u = solution.control.path.detach().reshape(n, len(nlp.x0), nlp.nu)
    u = u.repeat_interleave(substeps, 0)
    path = nlp.rollout(z, u)
    _, c, g = nlp.stages(path[:-1], u)
    phi, psi, omega = nlp.ends(path[-1:], u[-1:])
    over = [largest(row) for row in (g.clamp(min=0), psi, omega.clamp(min=0))]
    cost = c.sum((0, 2)) + phi[0, :, 0]
    return cost.reshape(nlp.shape), torch.stack(over).amax(0).reshape(nlp.shape)
