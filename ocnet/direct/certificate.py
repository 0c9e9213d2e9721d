"""The depth certificate of a solution: its control in the ODE, and the continuous optimum."""

import math

import torch
from torch import Tensor

from .._arguments import check_kind
from ..certificate import Certificate, certificate_of, FINE_STEPS, Measured, Optima
from ..certificate.terms import extrapolated
from ..control import Control, PiecewiseConstant
from ..problem import Problem, Sample
from ..solver import Euler, RK4
from .answer.solution import Solution
from .answer.warm import extended
from .solving import solve
from .transcription.autograd import Autograd
from .transcription.check import own_value
from .transcription.iterate import largest
from .transcription.points import Points
from .transcription.precision import computing_in, copied, tensors_of
from .transcription.transcription import Transcription


FINE_STEPS_APART = 400
"""Steps of the fine grid where each instance has parameters of its own, which takes a `vmap`."""


def certify(solution: Solution) -> Certificate:
    """Compares a solution with its ODE, and its cost with optima on other grids and by Euler.

    The optimum is found at `n/4`, `n/2` and `n` steps, or at `n`, `2n` and `4n` if `n` is not a
    multiple of 4; each instance of a batch is a sample.

    Arguments:
        solution: What `solve` returned.
    """
    check_kind("solution", solution, Solution)
    with computing_in(solution.cost.dtype):
        return certified(solution)


def certified(solution: Solution) -> Certificate:
    """`certify`, where the precision is that of the solution."""
    solver = solution.solver
    problem, control, sample, fine_steps = in_continuous_time(solution)
    measured = Measured.of(problem, control, sample, solver.n, fine_steps=fine_steps)
    scale = measured.cost_scale.mean().item() if measured.first is not None else 1.0
    with torch.no_grad():
        over = ode_violation(solution).max().item()
    known = getattr(solution.batch.problem, "optimal_cost", None)
    if known is not None and not solution.batch.parameters:
        known = known(solution.batch.x0).mean().item()
    return certificate_of(
        measured,
        solver,
        optima=optima(solution, scale),
        known=known if isinstance(known, float) else None,
        ode_violation=over,
    )


def optima(solution: Solution, scale: float) -> Optima:
    """The optimal costs on three grids and by Euler, and what they say about continuous time.

    Arguments:
        solution: What is certified; it must have converged.
        scale: What a difference of costs is measured against.
    """
    batch, solver = solution.batch, solution.solver
    n = solver.n
    steps = (n // 4, n // 2, n) if n % 4 == 0 else (n, 2 * n, 4 * n)
    is_euler = solver.tableau == Euler(1).tableau
    with torch.no_grad():
        found = [
            solution if k == n else solve(batch, solver=solver.with_steps(k), start=solution)
            for k in steps
        ]
        euler = solution if is_euler else solve(batch, solver=Euler(n), start=solution)
    costs = tuple(s.cost.mean().item() for s in found)
    bad = [f"with {s.solver.n} steps it is {s.status}" for s in found if s.status != "converged"]
    best, note = (None, bad[0]) if bad else extrapolated(costs, scale)
    by_euler = euler.cost.mean().item() if euler.status == "converged" else math.nan
    return Optima(steps, costs, best, note, by_euler, steps.index(n), scale)


def in_continuous_time(solution: Solution) -> tuple[Problem, Control, Sample, int]:
    """The problem with the solution's final time and parameters in place, its control and states.

    The last value returned is the number of steps of the fine grid.
    """
    problem, x0, target, parameters = solution.batch
    is_one = solution.cost.numel() == 1
    varies = problem.final_time_bounds is not None or bool(solution.parameters or parameters)
    if varies and not is_one:
        apart = Instances(solution)
        size = solution.cost.numel()
        path = solution.control.path.detach()
        u = path.reshape(len(path), size, -1)
        control = PiecewiseConstant(
            problem.t0, problem.t1, len(u), u.shape[1:], dtype=u.dtype, device=u.device
        )
        with torch.no_grad():
            control.path.copy_(u)
        return apart, control, Sample(apart.nlp.x0.detach()), FINE_STEPS_APART
    problem = copied(problem, {id(v): v.detach().clone() for v in tensors_of(problem)})
    if problem.final_time_bounds is not None:
        problem.t1, problem.final_time_bounds = solution.control.t1, None
    with torch.no_grad():
        for name, value in {**parameters, **solution.parameters}.items():
            own = own_value(problem, name)
            own.copy_(value.reshape(own.shape))
    return problem, solution.control, Sample(x0.detach(), target), FINE_STEPS


class Instances(Problem):
    """Instances with parameters and final times of their own, on the unstretched horizon.

    `dx/ds = r f(t0 + r (s - t0), x, u)`, with the factor `r` of each instance's final time.

    Arguments:
        solution: The solution of the batch.
    """

    t0: float
    t1: float
    state_shape: tuple[int, ...]
    control_shape: tuple[int, ...] | None

    def __init__(self, solution: Solution):
        super().__init__()
        problem = solution.batch.problem
        nlp = Transcription(solution.batch, RK4(solution.solver.n), Autograd())
        self.nlp = nlp
        self.t0, self.t1 = problem.t0, problem.t1
        self.state_shape, self.control_shape = (nlp.nx,), (nlp.nu,)
        self.register_buffer("constants", extended(nlp, solution)[:, nlp.nx :])
        self.at: PointsInTime = PointsInTime(nlp.points)

    constants: Tensor

    @property
    def has_stage_cost(self) -> bool:
        return self.nlp.problem.has_stage_cost

    def rates(self, t: Tensor, x: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """`r f` and `r l` of all instances."""
        z = torch.cat([x, self.constants], -1)
        return self.nlp.given.at_points(
            self.at.rates, z[None], u.expand(1, *x.shape[:1], -1), t[None]
        )

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.rates(t, x, u)[0][0]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return self.rates(t, x, u)[1][0, :, 0]

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        z = torch.cat([x, self.constants], -1)
        return self.nlp.given.at_points(self.at.ending, z[None])[0][0, :, 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.nlp.x0)


class PointsInTime:
    """The right-hand side at one point of one instance.

    Arguments:
        points: The functions of the problem at a point.
    """

    def __init__(self, points: Points):
        self.points = points

    def rates(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None, own: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`r f` and `r l`. Arguments: those of `Points.stage`."""
        return self.points.replaced(self.right_hand_side, z, own, u, s, target)

    def ending(self, z: Tensor, target: Tensor | None, own: dict[str, Tensor]) -> tuple[Tensor]:
        """The terminal cost. Arguments: those of `Points.ending`."""
        return (self.points.replaced(self.terminal_cost, z, own, target),)

    def terminal_cost(self, z: Tensor, target: Tensor | None) -> Tensor:
        """The terminal cost of one extended state."""
        problem = self.points.problem
        return problem.terminal_cost(
            z[: self.points.nx].reshape(problem.state_shape), target
        ).reshape(1)

    def right_hand_side(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`r f` and `r l` with the parameters in place. Arguments: those of `Points.step`."""
        points, problem = self.points, self.points.problem
        x = z[: points.nx].reshape(problem.state_shape)
        v = u.reshape(problem.control_shape or ())
        rate = z[points.nx] if points.free_time else z.new_ones(())
        t = problem.t0 + rate * (s - problem.t0)
        l = problem.stage_cost(t, x, v, target) if problem.has_stage_cost else z.new_zeros(())
        return rate * problem.dynamics(t, x, v).reshape(-1), (rate * l).reshape(1)


def ode_violation(solution: Solution, substeps: int = 8) -> Tensor:
    """The largest violation of a constraint by the control in the ODE, by short RK4 steps."""
    n = solution.solver.n
    nlp = Transcription(solution.batch, RK4(substeps * n), Autograd())
    z = extended(nlp, solution)
    u = solution.control.path.detach().reshape(n, len(nlp.x0), nlp.nu)
    u = u.repeat_interleave(substeps, 0)
    path = nlp.rollout(z, u)
    _, _, g = nlp.stages(path[:-1], u)
    _, psi, omega = nlp.ends(path[-1:], u[-1:])
    over = [largest(row) for row in (g.clamp(min=0), psi, omega.clamp(min=0))]
    return torch.stack(over).amax(0).reshape(nlp.shape)
