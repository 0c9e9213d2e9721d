"""Problems whose cost is flat, wholly or in some controls: any feasible point is as good."""

import pytest
import torch
from torch import Tensor

from ocnet import Problem, RK4, Sample
from ocnet.direct import solve


class Reach(Problem):
    """`x' = u`, `|u| <= 1`, from 0 to 1/2 in unit time, without any cost."""

    state_shape: tuple[int, ...] = (1,)
    control_shape: tuple[int, ...] | None = (1,)
    control_bounds = (-1.0, 1.0)
    goal = 0.5

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u[..., : x.shape[-1]]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., -1:] - self.goal

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, *self.state_shape, dtype=torch.float64))


class Far(Reach):
    """Values of hundreds, whose rounding is a hundred times larger."""

    control_bounds = (-1000.0, 1000.0)
    goal = 500.0


class Constant(Reach):
    """A cost that is a constant."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 1 + 0 * x[..., 0]


class Idle(Reach):
    """A second control that nothing reads."""

    control_shape = (2,)


class Other(Reach):
    """A cost of the first control and state alone; the second control has to reach the end."""

    state_shape = (2,)
    control_shape = (2,)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 0] ** 2 + u[..., 0] ** 2


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize(
    ("problem", "cost"), [(Reach, 0.0), (Far, 0.0), (Constant, 1.0), (Idle, 0.0), (Other, 0.0)]
)
def test_a_flat_cost_does_not_keep_a_feasible_point_from_being_the_answer(
    problem: type[Reach], cost: float, compile: bool | None
) -> None:
    solution = solve(problem(), solver=RK4(20), compile=compile)
    assert solution.status == "converged", solution.reason
    assert solution.reason == "all residuals are below 1e-09"
    assert int(solution.iterations) < 15
    assert float(solution.violation) < 1e-12 * problem.goal
    assert float(solution.cost) == pytest.approx(cost, abs=1e-12)
    reached = solution.u.mean(0)[..., problem.state_shape[0] - 1]
    assert float(reached) == pytest.approx(problem.goal, rel=1e-9)


def test_a_goal_beyond_all_controls_is_still_infeasible_without_a_cost() -> None:
    class Beyond(Reach):
        goal = 3.0

    solution = solve(Beyond(), solver=RK4(20))
    assert solution.status == "infeasible", solution.reason
    assert float(solution.violation) == pytest.approx(2.0, abs=1e-6)
