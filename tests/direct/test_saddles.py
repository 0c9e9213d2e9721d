"""Saddles: what is stationary by symmetry is neither a proof nor, where flat, a saddle."""

import math

import pytest
import torch
from torch import nn, Tensor

from ocnet import Euler, Problem, Sample, solve


class Symmetric(Problem):
    """`x' = u`, `|u_i| <= 1`, from 0: at no control at all every derivative below is zero."""

    state_shape, control_shape, control_bounds = (1,), (1,), (-1.0, 1.0)

    def __init__(self, goal: float):
        super().__init__()
        self.goal = goal

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, *self.state_shape, dtype=torch.float64))


class Square(Symmetric):
    """`x(1)^2 = goal`."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x**2 - self.goal


class Outside(Symmetric):
    """`x(1)^2 >= goal`."""

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.goal - x**2


class Wave(Symmetric):
    """`cos 3 x(1) = -goal`."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return torch.cos(3 * x) + self.goal


class Disc(Symmetric):
    """From (0, 0) to (1.5, 0) past a disc of radius `goal` that lies on the straight way."""

    state_shape, control_shape, t1 = (2,), (2,), 2.0

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        place = x - x.new_tensor([0.75, 0.0])
        return self.goal**2 - (place**2).sum(-1, keepdim=True)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.5, 0.0])


class Brockett(Symmetric):
    """`x3' = x1 u2 - x2 u1`, to (0, 0, goal): any turn of an optimum is one, so that it is flat."""

    state_shape, control_shape, t1 = (3,), (2,), 4.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        turn = x[..., 0] * u[..., 1] - x[..., 1] * u[..., 0]
        return torch.cat([u, turn[..., None]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([0.0, 0.0, self.goal])


@pytest.mark.parametrize("problem", [Square(0.25), Outside(0.25), Wave(0.9)])
def test_a_saddle_of_the_violation_is_not_believed(problem: Problem) -> None:
    solution = solve(problem, solver=Euler(10), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) < 1e-8


@pytest.mark.parametrize(
    ("problem", "least"),
    [(Square(4.0), 3.0), (Outside(4.0), 3.0), (Wave(1.5), 1.5 + math.cos(3.0))],
)
def test_beside_the_saddle_the_violation_is_least(problem: Problem, least: float) -> None:
    """`|x(1)| <= 1`; `cos 3 x` is least at 1."""
    solution = solve(problem, solver=Euler(10), compile=False)
    assert solution.status == "infeasible", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) == pytest.approx(least, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("compile", [None, False])
def test_a_disc_on_the_straight_way_is_gone_round(compile: bool | None) -> None:
    solution = solve(Disc(0.3), solver=Euler(20), compile=compile)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    distance = (solution.x[:, :2] - torch.tensor([0.75, 0.0])).norm(dim=-1)
    assert float(distance.min()) > 0.3 - 1e-7
    # The straight way costs 1.5^2 / 2.
    assert 1.125 < float(solution.cost) < 1.5


def test_a_flat_minimum_is_not_a_saddle() -> None:
    """Euler's steps enclose the area of a polygon, whose isoperimetric ratio is `4 n tan(pi/n)`."""
    solution = solve(Brockett(0.5), solver=Euler(20), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    polygon = 4 * 20 * math.tan(math.pi / 20) * 0.25 / 4.0
    assert float(solution.cost) == pytest.approx(polygon, rel=1e-6)


class Stretch(Symmetric):
    """`x(1) = goal a` with a parameter that asks for derivatives, out of reach for `goal a > 1`."""

    def __init__(self, goal: float):
        super().__init__(goal)
        self.a = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - self.goal * self.a


@pytest.mark.parametrize("compile", [None, False])
def test_what_did_not_converge_can_be_differentiated_without_a_crash(compile: bool | None) -> None:
    problem = Stretch(0.5)
    solution = solve(problem, solver=Euler(10), compile=compile)
    solution.cost.backward()
    # The cost is (goal a)^2.
    assert problem.a.grad is not None
    assert float(problem.a.grad) == pytest.approx(0.5, rel=1e-6)

    lost = Stretch(2.0)
    with pytest.warns(RuntimeWarning, match="did not converge"):
        solution = solve(lost, solver=Euler(10), compile=compile)
        solution.cost.backward()
    assert solution.status == "infeasible"
    assert bool(solution.x.isfinite().all())
    assert lost.a.grad is not None and bool(lost.a.grad.isnan())
    with pytest.raises(RuntimeError, match="converge"):
        solve(
            Stretch(2.0), solver=Euler(10), compile=compile, gradient_of_failed="raise"
        ).cost.backward()


class Fork(Symmetric):
    """To `x2 = 0.9` with `x1^2 = x2 - 0.3`: far from there `x1 = 0` is a valley, there a ridge."""

    state_shape, control_shape, control_bounds = (2,), (2,), (-30.0, 30.0)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return torch.stack([x[..., 1] - 0.9, x[..., 0] ** 2 - x[..., 1] + 0.3], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.0, -self.goal]).double().expand(batch_size, 2))


@pytest.mark.parametrize("far", [5.0, 20.0])
def test_a_saddle_that_draws_all_paths_is_left(far: float) -> None:
    """What is a little off the symmetric path comes back to it on the way."""
    solution = solve(Fork(far), solver=Euler(10), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert abs(float(solution.x[-1, 0])) == pytest.approx(math.sqrt(0.6), rel=1e-6)


class Power(Symmetric):
    """`x' = u^power`, `x(1) = 1/2`, from no control, where no derivative tells how to get there."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u ** int(self.goal)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 0.5


class PowerOfSquare(Power):
    """`x(1)^2 = 1/4`."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x**2 - 0.25


class PowerInside(Power):
    """`|x(1)|^2 >= 1/4` in the plane, and `x1(1) = x2(1)`."""

    state_shape, control_shape = (2,), (2,)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - x[..., 1:]

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 0.25 - (x**2).sum(-1, keepdim=True)


@pytest.mark.parametrize(
    "problem", [Power(4), pytest.param(PowerInside(3), marks=pytest.mark.slow), PowerOfSquare(3)]
)
def test_a_violation_that_is_flat_to_second_order_is_no_proof(problem: Problem) -> None:
    solution = solve(problem, solver=Euler(10), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) < 1e-8


def test_what_no_control_reaches_is_infeasible_however_flat() -> None:
    """`u^4` is never negative."""

    class Back(Power):
        def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
            return x + 0.5

    solution = solve(Back(4), solver=Euler(10), compile=False)
    assert solution.status == "infeasible", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) == pytest.approx(0.5, rel=1e-6)
