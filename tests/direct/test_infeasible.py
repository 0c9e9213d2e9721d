"""`solve` says "infeasible" only at a least violation, and returns the best of its attempts."""

import math

import pytest
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


class Kinked(Runner):
    """The cost has a kink where it is least, which no Newton step finds; the rows can all hold."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u[..., 0] - 0.3).abs()


class KinkedPath(Kinked):
    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x - 0.1


class KinkedEnd(Kinked):
    """To 0.2 as well, by two rows of which one is enough."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u - 0.25

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return torch.cat([x - 0.2, 2 * x - 0.4], -1)


class KinkedPlane(Kinked):
    """Two controls, a disc that must not be left, and a bound at the end."""

    state_shape = (2,)
    control_shape = (2,)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u - 0.3).abs().sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return (x**2).sum(-1, keepdim=True) - 0.01

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - 0.05


@pytest.mark.parametrize("problem", [KinkedPath, KinkedEnd, KinkedPlane])
def test_what_cannot_be_solved_but_satisfies_all_rows_is_not_infeasible(
    problem: type[Problem],
) -> None:
    solution = solve(problem(), solver=Euler(10), compile=False)
    assert solution.status in ("stalled", "converged"), f"{solution.status}: {solution.reason}"
    assert float(solution.violation) < 1e-8
