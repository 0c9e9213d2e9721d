"""At which nodes `solve` imposes the path constraint: all that the decision can influence."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from ocnet import Euler, Problem, RK4, Sample
from ocnet.direct import certify, solve
from ocnet.solver import ExplicitRungeKutta


pytestmark = pytest.mark.parametrize("compile", [None, False])


class OnTheEdge(Problem):
    """`x' = u` from the edge of `x >= 0`, minimise `int (x - 1)^2 + u^2`."""

    state_shape = (1,)
    control_shape = (1,)
    start: tuple[float, ...] = (0.0,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x[..., 0] - 1) ** 2 + u[..., 0] ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return -x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor(self.start).expand(batch_size, -1))


class Second(OnTheEdge):
    """`x1' = x2`, `x2' = u` with `x1 <= 1`, minimise `int |x|^2 + .1 u^2`."""

    state_shape = (2,)
    start = (1.0, 0.0)
    t1 = 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + 0.1 * u[..., 0] ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., :1] - 1


class ByMatrix(Second):
    """The same with matrices, whose zeros are products as well."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        A, B = x.new_tensor([[0.0, 1.0], [0.0, 0.0]]), x.new_tensor([[0.0], [1.0]])
        return x @ A.mT + u @ B.mT


class Scaled(Second):
    """The same in an unknown time: `x1` at the second node is a product with that time."""

    final_time_bounds = (2.0, 4.0)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 10 * (x**2).sum(-1)


@pytest.mark.parametrize(
    ("problem", "solver", "cost"),
    [
        (OnTheEdge, RK4(20), 0.761717),
        (Second, Euler(40), 1.263096),
        (Second, RK4(40), 1.218496),
        (ByMatrix, Euler(40), 1.263096),
    ],
)
def test_a_path_constraint_active_at_the_given_state(
    problem: type[Problem], solver: ExplicitRungeKutta, cost: float, compile: bool | None
) -> None:
    solution = solve(problem(), solver=solver, compile=compile)
    assert solution.status == "converged", solution.reason
    assert int(solution.iterations) <= 15
    assert abs(float(solution.cost) - cost) < 1e-6
    assert float(solution.violation) < 1e-8


def test_a_path_constraint_active_at_the_given_state_in_free_time(compile: bool | None) -> None:
    solution = solve(Scaled(), solver=Euler(40), compile=compile)
    assert solution.status == "converged", solution.reason
    fixed = Second()
    fixed.t1 = float(solution.final_time)
    fixed.terminal_cost = Scaled.terminal_cost.__get__(fixed)
    again = solve(fixed, solver=Euler(40), compile=compile)
    torch.testing.assert_close(solution.cost, again.cost, rtol=1e-7, atol=0)


class Sprint(OnTheEdge):
    """`x' = u`, `|u| <= 2`, maximise `x(1)` under `x <= .5`."""

    control_bounds = (-2.0, 2.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.new_zeros(x.shape[:-1])

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x - 0.5


class Mixed(Sprint):
    """Rows that read the control too: at the end that is the last step's."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 0] + u[..., 0] - 0.5, x[..., 0] * u[..., 0] - 0.05], -1)


class Closing(Sprint):
    """A row that reads the time: the room at the end is that of the final time."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x - 1 + 0.6 * t


def least(problem: Problem, n: int) -> float:
    """The least cost with `n` steps of `x' = u`, by SLSQP on the controls alone."""
    h = 1 / n

    def path(u: np.ndarray) -> Tensor:
        return torch.tensor(np.concatenate([[0.0], np.cumsum(u) * h]))[:, None]

    def rows(u: np.ndarray) -> np.ndarray:
        x, v = path(u), torch.tensor([*u, u[-1]])[:, None]
        t = torch.linspace(0, 1, n + 1)
        g = [problem.path_constraint(t[k], x[k], v[k]) for k in range(n + 1)]
        return -torch.cat(g).numpy()

    found = scipy.optimize.minimize(
        lambda u: -float(path(u)[-1]), np.zeros(n), bounds=[(-2, 2)] * n,
        constraints={"type": "ineq", "fun": rows}, method="SLSQP", options={"ftol": 1e-13},
    )  # fmt: skip
    assert found.success
    return float(found.fun)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [Sprint, Mixed, Closing])
def test_the_last_node_counts(problem: type[Problem], compile: bool | None) -> None:
    solution = solve(problem(), solver=RK4(8), compile=compile)
    assert solution.status == "converged", solution.reason
    assert abs(float(solution.cost) - least(problem(), 8)) < 1e-7
    g = problem().path_constraint(torch.tensor(1.0), solution.x[-1], solution.u[-1])
    assert g.max() < 1e-8
    assert solution.multipliers.final_path.max() > 1e-2
    if problem is Sprint:
        torch.testing.assert_close(solution.x[-1], torch.tensor([0.5]), rtol=0, atol=1e-8)
        torch.testing.assert_close(
            solution.multipliers.final_path, torch.ones(1), rtol=0, atol=1e-6
        )
        assert float(certify(solution).ode_violation or 0.0) < 1e-8


@pytest.mark.slow
def test_the_last_node_counts_as_violation(compile: bool | None) -> None:
    """At most 2 can be reached, but 3 is demanded at the end, where alone the time is one."""

    class TooFar(Sprint):
        def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return 3 * t * t * t - x - 2 * (1 - t)

    solution = solve(TooFar(), solver=RK4(8), compile=compile)
    assert solution.status == "infeasible"
    torch.testing.assert_close(solution.violation, torch.tensor(1.0), rtol=0, atol=1e-4)
    assert "at t=1" in solution.reason


class Outside(Second):
    start = (1.2, -0.5)


class OutsideByMatrix(OnTheEdge):
    start = (-0.3,)
    t1 = 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 3 * u - (x @ x.new_tensor([[0.5]]))


@pytest.mark.parametrize(
    ("problem", "solver", "excess"),
    [(Outside, Euler(20), 0.2), (Outside, RK4(20), 0.2), (OutsideByMatrix, Euler(20), 0.3)],
)
def test_a_given_state_outside_is_reported(
    problem: type[Problem], solver: ExplicitRungeKutta, excess: float, compile: bool | None
) -> None:
    solution = solve(problem(), solver=solver, compile=compile)
    assert solution.status == "converged", solution.reason
    assert f"violates path_constraint[0] by {excess}" in solution.reason
    assert "at t=0, " in solution.reason
    torch.testing.assert_close(solution.violation, torch.tensor(excess), rtol=0, atol=1e-9)
    influenced = solution.x[2 if isinstance(solver, Euler) else 1 :, None]
    assert problem().path_constraint(torch.tensor(0.0), influenced, solution.u).max() < 1e-8


class Landing(OnTheEdge):
    """A beam that ends on the edge of what is allowed: the end leaves no interior."""

    state_shape = (2,)
    start = (0.0, 1.0)
    control_bounds = (-10.0, 10.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([-x[..., 0], x[..., 0] - 0.1], -1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([0.0, -1.0])


def test_an_end_on_the_edge(compile: bool | None) -> None:
    solution = solve(Landing(), solver=RK4(100), compile=compile)
    assert solution.status == "converged", solution.reason
    assert abs(float(solution.cost) - 8.891358) < 2e-6


class EqualByTwo(OnTheEdge):
    """An equality written as two inequalities, which leave no interior anywhere."""

    start = (0.5,)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([u - 0.3, 0.3 - u], -1)


def test_an_equality_as_two_inequalities(compile: bool | None) -> None:
    solution = solve(EqualByTwo(), solver=RK4(20), compile=compile)
    assert solution.status == "converged", solution.reason
    expected = 0.09 + (0.5**3 - 0.2**3) / 0.9
    assert abs(float(solution.cost) - expected) < 1e-7
