"""Rank-deficient pieces, infeasible problems whose states stay finite, and many starts."""

import math

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, RK4, Sample, solve


class Base(Problem):
    """`x' = u`, `|u| <= 1`, from 0, `int u^2`; the problems below change one thing each."""

    state_shape = (1,)
    control_shape = (1,)
    control_bounds = (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, *self.state_shape, dtype=torch.float64))


class Plane(Base):
    """Minimum time over 6 in the plane, from rest to rest, `|u| <= 1` as one row: sqrt 24."""

    state_shape, control_shape, control_bounds = (4,), (2,), None
    final_time_bounds, t1 = (0.1, 50.0), 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([x[..., 2:], u], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return (u**2).sum(-1, keepdim=True) - 1

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([6.0, 0.0, 0.0, 0.0])


class Repeated(Base):
    """`x1' = x2`, `x2' = u` to (1, 0), said by four rows; 12 in continuous time."""

    state_shape, control_bounds = (2,), (-20.0, 20.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([x[..., 1:], u], -1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        a, b = x[..., 0] - 1, x[..., 1]
        return torch.stack([a, 2 * a, b, a + b], -1)


class RepeatedAlong(Base):
    """`u = 0.3`, said by four inequalities."""

    control_bounds = None

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([u - 0.3, 0.3 - u, 2 * u - 0.6, 0.6 - 2 * u], -1)


class Flat(Base):
    """Minimum time over 3 in one dimension: any control but one is too slow."""

    final_time_bounds = (0.1, 20.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 3


@pytest.mark.parametrize(
    ("problem", "n", "cost"),
    [
        (Plane, 60, math.sqrt(24)),
        # Controls constant over steps of width h: 12 / (1 - h^2).
        (Repeated, 60, 12 / (1 - 1 / 60**2)),
        (RepeatedAlong, 20, 0.09),
        (Flat, 20, 3.0),
    ],
)
def test_what_is_rank_deficient_is_solved(problem: type[Problem], n: int, cost: float) -> None:
    solution = solve(problem(), solver=RK4(n), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.cost) == pytest.approx(cost, rel=1e-6)
    assert float(solution.violation) < 1e-8


class Damped(Base):
    """`x' = u cos x - x/10` to 5: it stays below the root of `cos x = x/10`."""

    t1 = 40.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u * torch.cos(x) - 0.1 * x

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 5


class Far(Base):
    """To (30, 40) in unit time."""

    state_shape, control_shape = (2,), (2,)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([30.0, 40.0])


@pytest.mark.parametrize(
    ("problem", "end"),
    [pytest.param(Damped, [1.4275517787645942], marks=pytest.mark.slow), (Far, [1.0, 1.0])],
)
def test_out_of_reach_with_finite_states(problem: type[Problem], end: list[float]) -> None:
    solution = solve(problem(), solver=RK4(40), compile=False)
    assert solution.status == "infeasible", f"{solution.status}: {solution.reason}"
    assert bool(solution.x.isfinite().all())
    expected = torch.tensor(end, dtype=torch.float64)
    torch.testing.assert_close(solution.x[-1], expected, rtol=1e-5, atol=1e-5)


class Wells(Base):
    """`int u^2 + 3 (x(1)^2 - 1)^2 + 0.3 x(1)`: two local minima, the left one the better."""

    control_bounds = (-2.0, 2.0)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 3 * (x[..., 0] ** 2 - 1) ** 2 + 0.3 * x[..., 0]


def test_eight_starts_find_the_better_well_and_say_how_many_did() -> None:
    x = torch.linspace(-2, 2, 4_000_001, dtype=torch.float64)
    least = float((x**2 + 3 * (x**2 - 1) ** 2 + 0.3 * x).min())
    found, again = (
        solve(Wells(), solver=Euler(20), compile=False, starts=8, seed=1) for _ in range(2)
    )
    assert found.status == "converged", f"{found.status}: {found.reason}"
    assert float(found.cost) == pytest.approx(least, abs=1e-9)
    assert "the best of 8 starts" in found.reason and "agree" in found.reason
    assert torch.equal(found.u, again.u)
