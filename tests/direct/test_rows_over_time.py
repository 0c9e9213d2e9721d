"""A row of the path constraint that is imposed at some times or states alone is imposed there."""

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample, solve


class Late(Problem):
    """`x' = u` from 0, `int u^2` over [0, 2], `x >= 1/2` from time 1 on."""

    state_shape, control_shape, t1 = (1,), (1,), 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t >= 1, 0.5 - x, -torch.ones_like(x))

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, *self.state_shape, dtype=torch.float64))


class Branch(Late):
    """The time is read as a number, which cannot be written as a formula."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 0.5 - x if float(t) >= 1 else -torch.ones_like(x)


class Switched(Late):
    """The control acts from 1/2 on, the row from 3/2 on."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t > 0.49, u, torch.zeros_like(u))

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t >= 1.5, 0.5 - x, -torch.ones_like(x))


class Position(Late):
    """`x1' = x2`, `x2' = u`: the row holds of a position that is reached by two steps."""

    state_shape = (2,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([x[..., 1:], u], -1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t >= 1, 0.5 - x[..., :1], -torch.ones_like(u))


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize(
    ("problem", "cost"), [(Late, 0.25), (Branch, 0.25), (Switched, 0.25), (Position, None)]
)
def test_a_row_holds_from_the_time_on_at_which_it_is_imposed(
    problem: type[Problem], cost: float | None, compile: bool | None
) -> None:
    solution = solve(problem(), solver=Euler(20), compile=compile)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) < 1e-8
    first = 15 if problem is Switched else 10
    assert float(solution.x[first:, 0].min()) > 0.5 - 1e-8
    if cost is not None:
        assert float(solution.cost) == pytest.approx(cost, abs=1e-7)


class Gate(Late):
    """Up to 100, but what is beyond 50 must stay below 60."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x - 100) ** 2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return ((x - 100) ** 2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(x > 50, x - 60, -torch.ones_like(x))


@pytest.mark.parametrize("compile", [None, False])
def test_a_row_that_is_imposed_at_far_states_alone(compile: bool | None) -> None:
    solution = solve(Gate(), solver=Euler(20), compile=compile)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    torch.testing.assert_close(solution.x[1:], torch.full((20, 1), 60.0).to(solution.x))
