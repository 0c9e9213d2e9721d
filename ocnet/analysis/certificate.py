"""The depth certificate: does a network of this depth behave like the ODE it discretises?"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Control
from ..objective import evaluate
from ..problem import Problem, Sample
from ..solve.certificate import CLOSE, gap
from ..solver import ExplicitRungeKutta, Solver, TorchDiffEq


@dataclass(frozen=True)
class DepthCertificate:
    """What the same control costs in the network and in the ODE.

    With step `h` and an Euler-optimal control `u`: `J_Euler(u) - J*` is O(h) and `J_ODE(u) - J*`
    is O(h^2), so both `J_ODE(u)` and the Richardson extrapolation estimate the optimum `J*`.

    Attributes:
        n: The depth, in steps.
        cost: `J_Euler(u)`, the mean cost of the network.
        ode_cost: `J_ODE(u)`, the mean cost of the same control in the ODE.
        richardson_cost: `2 J_2 - J_1`, the estimate of `J*`.
        reoptimised: Whether `J_1` and `J_2` are optima of their own at `n/2` and `n` steps; if
            not, they are costs of the same control at `n` and `2 n` steps.
        state_gap: The distance of the final states of network and ODE, relative to the ODE's.
        order: The observed order `log2(|J_n - J_ODE| / |J_2n - J_ODE|)`; NaN at rounding level.
    """

    n: int
    cost: float
    ode_cost: float
    richardson_cost: float
    reoptimised: bool
    state_gap: float
    order: float

    @property
    def cost_gap(self) -> float:
        """`|J_Euler - J_ODE|` relative to the larger of the two."""
        return gap(self.cost, self.ode_cost)

    @property
    def behaves_like_ode(self) -> bool:
        """Whether cost and final state are close to the ODE's."""
        return self.cost_gap <= CLOSE and self.state_gap <= CLOSE

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        gaps = f"its cost differs from the ODE's by {100 * self.cost_gap:.2g}%"
        gaps += f" and its final states by {100 * self.state_gap:.2g}%"
        if math.isnan(self.ode_cost):
            return f"At {self.n} steps nothing can be said: the ODE has no solution to the end."
        if self.behaves_like_ode:
            return f"At {self.n} steps this network behaves like an ODE: {gaps}."
        # The error of the network is O(1/n).
        needed = math.ceil(self.n * max(self.cost_gap, self.state_gap) / CLOSE)
        advice = f"about {needed} steps would bring both below {CLOSE:.0%} for this control"
        if not 0.5 <= self.order <= 2:
            advice = "its error does not fall with the step as Euler's should, so it is too coarse"
        return f"At {self.n} steps this network does not behave like an ODE: {gaps}; {advice}."


def double(problem: Problem, control: Control) -> tuple[Problem, Control]:
    """Copies in double precision, in which rounding does not blur what the steps cost."""
    return copy.deepcopy(problem).double().eval(), copy.deepcopy(control).double().eval()


def doubled(sample: Sample) -> Sample:
    """The sample in double precision; labels stay labels."""
    x0, target = sample
    if target is not None and target.is_floating_point():
        target = target.double()
    return Sample(x0.double() if x0.is_floating_point() else x0, target)


def reference_solver() -> TorchDiffEq:
    """The tight solution that others are measured against."""
    return TorchDiffEq("dopri5", rtol=1e-9, atol=1e-11)


class Outcome(NamedTuple):
    """What a solver gives: the mean cost, the final states, and how often it evaluated `f`."""

    cost: float
    x: Tensor
    evaluations: int


@torch.no_grad()
def outcome(problem: Problem, control: Control, solver: Solver, sample: Sample) -> Outcome:
    """Solves the problem from a sample."""
    cost, trajectory = evaluate(problem, control, solver, sample)
    return Outcome(cost.mean().item(), trajectory.states[-1], trajectory.evaluations)


def depth_certificate(
    problem: Problem,
    control: Control,
    solver: ExplicitRungeKutta,
    sample: Sample,
    *,
    coarse_cost: float | None = None,
    reference: Solver | None = None,
) -> DepthCertificate:
    """Compares a network with its ODE, in double precision.

    Arguments:
        problem, control: The problem and the trained control.
        solver: The network, usually `Euler(n)`.
        sample: The inputs to compare on.
        coarse_cost: The optimal cost at half as many steps, for an extrapolation between optima.
        reference: A tight solver; Dormand and Prince at rtol 1e-9 if None.

    Raises:
        SolverError: If the ODE has no solution up to the end.
    """
    problem, control = double(problem, control)
    solved = lambda solver: outcome(problem, control, solver, doubled(sample))
    return certificate_of(solver, solved, solved(reference or reference_solver()), coarse_cost)


def certificate_of(
    solver: ExplicitRungeKutta,
    solved: Callable[[Solver], Outcome],
    ode: Outcome,
    coarse_cost: float | None = None,
) -> DepthCertificate:
    """`depth_certificate` where it is known what the ODE gives.

    Arguments:
        solver: The network.
        solved: What a solver gives.
        ode: What the tight solver gave.
        coarse_cost: As of `depth_certificate`.
    """
    network, finer = solved(solver), solved(solver.with_steps(2 * solver.n))
    error, error_2n = abs(network.cost - ode.cost), abs(finer.cost - ode.cost)
    # Below this the reference's own error and rounding speak.
    resolved = error_2n > 1e-8 * max(abs(ode.cost), 1e-300)
    richardson = 2 * finer.cost - network.cost
    if coarse_cost is not None:
        richardson = 2 * network.cost - coarse_cost
    return DepthCertificate(
        n=solver.n,
        cost=network.cost,
        ode_cost=ode.cost,
        richardson_cost=richardson,
        reoptimised=coarse_cost is not None,
        state_gap=((network.x - ode.x).norm() / ode.x.norm().clamp(min=1e-300)).item(),
        order=math.log2(error / error_2n) if resolved and error > 0 else math.nan,
    )
