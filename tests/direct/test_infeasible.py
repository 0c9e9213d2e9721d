"""`solve` says "infeasible" only at a least violation, and returns the best of its attempts."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn, Tensor

from ocnet import Euler, Problem, RK4, Sample
from ocnet.direct import solve


class Runner(Problem):
    """`x' = u`, `|u| <= 1`, from 0; the problems below change one thing each."""

    state_shape = (1,)
    control_shape = (1,)
    control_bounds = (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, *self.state_shape))


class TooFar(Runner):
    final_time_bounds = (0.1, 20.0)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 100


class TooLate(Runner):
    t1 = 20.0

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 25


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize(
    ("problem", "violation", "reason"),
    [
        (TooFar, 80.0, r"terminal_constraint[0] is violated by 80 at t=20"),
        (TooLate, 5.0, r"terminal_constraint[0] is violated by 5 at t=20"),
    ],
)
def test_the_least_violation_is_found(
    problem: type[Problem], violation: float, reason: str, compile: bool | None
) -> None:
    solution = solve(problem(), solver=RK4(20), compile=compile)
    assert solution.status == "infeasible"
    assert abs(float(solution.violation) - violation) < 1e-6 * violation
    assert reason in solution.reason


class Lift(Runner):
    """Minimum time as a static parameter: `x' = T (x2, u - 1)`, `0 <= u <= 1.2`, 5 upwards."""

    state_shape = (2,)
    control_bounds = (0.0, 1.2)
    static_parameters = {"T": (0.1, 50.0)}

    def __init__(self):
        super().__init__()
        self.T = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.T * torch.stack([x[..., 1], u[..., 0] - 1], -1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.T + 0 * x[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([5.0, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("compile", [None, False])
def test_a_static_parameter_is_free_to_move_far(compile: bool | None) -> None:
    solution = solve(Lift(), solver=RK4(100), compile=compile)
    assert solution.status == "converged", solution.reason
    assert abs(float(solution.cost) - 7.74659) < 1e-5


class Rest(Runner):
    """Minimum time in the plane from rest to rest; the disc is never touched."""

    state_shape = (4,)
    control_shape = (2,)
    final_time_bounds = (0.1, 50.0)

    def __init__(self, t1: float):
        super().__init__()
        self.t1 = t1

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([x[..., 2:], u], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 1 - ((x[..., :2] - x.new_tensor([3.0, 5.0])) ** 2).sum(-1, keepdim=True)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([6.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(("t1", "n"), [(2.0, 100), (5.0, 60), (3.0, 60)])
def test_minimum_time_without_a_convex_cost(t1: float, n: int) -> None:
    solution = solve(Rest(t1), solver=RK4(n))
    assert solution.status == "converged", solution.reason
    assert abs(float(solution.cost) - math.sqrt(24)) < 1e-6


class Random(Runner):
    """Linear dynamics; random linear and quadratic rows along the path and at the end.

    Arguments:
        seed: Of the numbers.
        room: How far a known trajectory, that of small random controls, is inside of each row; the
            rows of the end contradict each other by 2 where it is negative.
    """

    state_shape = (2,)
    control_shape = (1,)

    def __init__(self, seed: int, room: float):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.A, self.B = 0.7 * normal(2, 2), normal(2, 1)
        self.g, self.e = normal(2, 2), normal(2)
        self.start, self.feasible = normal(2), room > 0
        x, lowest = self.start, []
        u = 0.5 * torch.rand(N, generator=generator, dtype=torch.float64) - 0.25
        for k in range(N):
            lowest.append(torch.stack([self.g[0] @ x, self.g[1] @ x + (x**2).sum()]))
            x = x + (self.A @ x + self.B @ u[k, None]) / N
        lowest.append(torch.stack([self.g[0] @ x, self.g[1] @ x + (x**2).sum()]))
        self.top = torch.stack(lowest).amax(0) + abs(room)
        self.end = self.e @ x + abs(room)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return (x.unsqueeze(-2) * self.A).sum(-1) + (u.unsqueeze(-2) * self.B).sum(-1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 + x[..., 0]

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        first, second = (x * self.g[0]).sum(-1), (x * self.g[1]).sum(-1) + (x**2).sum(-1)
        return torch.stack([first - self.top[0], second - self.top[1]], -1)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        value = (x * self.e).sum(-1) - self.end
        rows = [value] if self.feasible else [value, 2 - value]
        return torch.stack(rows, -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.start.expand(batch_size, 2))


N = 10


@pytest.mark.parametrize("seed", range(12))
def test_what_is_feasible_is_never_called_infeasible(seed: int) -> None:
    solution = solve(Random(seed, 0.1), solver=Euler(N), compile=False)
    assert solution.status == "converged", solution.reason
    assert float(solution.violation) < 1e-8


def squares(problem: Random, u: np.ndarray) -> tuple[float, np.ndarray]:
    """The square of the violation in the documented norm, and its gradient."""
    controls = torch.tensor(u, requires_grad=True)
    x, t, total = problem.start, torch.tensor(0.0), torch.zeros(())
    for k in range(N):
        if k > 0:
            total = total + (problem.path_constraint(t, x, x).clamp(min=0) ** 2).sum() / N
        x = x + problem.dynamics(t, x, controls[k, None]) / N
    total = total + (problem.path_constraint(t, x, x).clamp(min=0) ** 2).sum()
    total = total + (problem.terminal_inequality(x, None).clamp(min=0) ** 2).sum()
    total.backward()
    return float(total.detach()), np.asarray(controls.grad)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_infeasible_has_the_least_violation(seed: int) -> None:
    """Convex, so that a quasi-Newton method on the controls alone finds the same norm."""
    problem = Random(seed, -0.1)
    solution = solve(problem, solver=Euler(N), compile=False)
    assert solution.status == "infeasible", solution.reason
    expected = scipy.optimize.minimize(
        lambda u: squares(problem, u), np.zeros(N), jac=True, bounds=[(-1, 1)] * N,
        method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000},
    )  # fmt: skip
    found, _ = squares(problem, solution.u[:, 0].detach().numpy())
    assert abs(math.sqrt(found) - math.sqrt(expected.fun)) < 1e-6
