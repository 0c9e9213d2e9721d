"""Property tests: what can be solved is never called infeasible, what cannot is never solved.

Linear dynamics with Euler steps and convex constraints: a random trajectory that satisfies all
rows with room proves that a problem can be solved; a linear program tells by how much the end of
another must be missed.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import solve


N, NX, NU = 12, 3, 2


class Random(Problem):
    """`x' = A x + B u` on [0, 1], `|u_i| <= 1`, `int |x - a|^2 + |u|^2`."""

    state_shape, control_shape, control_bounds = (NX,), (NU,), (-1.0, 1.0)

    def __init__(self, seed: int):
        super().__init__()
        torch.set_default_dtype(torch.float64)
        self.draw = torch.Generator().manual_seed(seed)
        self.A, self.B = self.normal(NX, NX), self.normal(NX, NU)
        self.x0, self.a = self.normal(NX), self.normal(NX)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.draw)

    def path(self, u: Tensor) -> Tensor:
        """The states that controls lead to by Euler steps."""
        x = [self.x0]
        for v in u:
            x.append(x[-1] + (self.A @ x[-1] + self.B @ v) / N)
        return torch.stack(x)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + u @ self.B.mT

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x - self.a) ** 2).sum(-1) + (u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.x0.expand(batch_size, -1))


class Feasible(Random):
    """Linear and quadratic rows along the path and at the end, each with room at `inner`."""

    def __init__(self, seed: int, room: float):
        super().__init__(seed)
        self.inner = 0.8 * (2 * torch.rand(N, NU, generator=self.draw) - 1)
        x = self.path(self.inner)
        self.C, self.D, self.W = self.normal(2, NX), self.normal(2, NU), self.normal(NX, NX)
        self.centre, self.ends = self.normal(NX), self.normal(1, NX)
        self.bounds = torch.zeros(3)
        # The last row holds with the last control.
        held = torch.cat([self.inner, self.inner[-1:]])
        self.bounds = self.rows(x, held).amax(0) + room
        self.goal = x[-1] @ self.ends.mT
        self.limit = torch.zeros(1)
        self.limit = self.terminal_inequality(x[-1], None) + room

    def rows(self, x: Tensor, u: Tensor) -> Tensor:
        linear = x @ self.C.mT + u @ self.D.mT
        square = (((x - self.centre) @ self.W.mT) ** 2).sum(-1, keepdim=True)
        return torch.cat([linear, square], -1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.rows(x, u) - self.bounds

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x @ self.ends.mT - self.goal

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return ((x - self.centre) ** 2).sum(-1, keepdim=True) - self.limit


class OutOfReach(Random):
    """One linear function of the final state must be by `beyond` more than it can be."""

    def __init__(self, seed: int, beyond: float):
        super().__init__(seed)
        self.c = self.normal(NX)
        self.beyond = beyond
        weights, free = self.end_of_controls()
        self.most = float(free + weights.abs().sum())

    def end_of_controls(self) -> tuple[Tensor, Tensor]:
        """`c . x(1)` as a linear function of the controls: weights `(N, NU)` and constant."""
        step, p, weights = torch.eye(NX) + self.A / N, self.c, []
        for _ in range(N):
            weights.append(self.B.mT @ p / N)
            p = step.mT @ p
        return torch.stack(weights[::-1]), p @ self.x0

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x @ self.c - self.most - self.beyond).unsqueeze(-1)


@pytest.mark.parametrize("room", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("seed", [0, 1, 4096])
def test_a_problem_with_an_interior_point_is_never_infeasible(seed: int, room: float) -> None:
    problem = Feasible(seed, room)
    x = problem.path(problem.inner)
    spent = problem.stage_cost(torch.zeros(()), x[:-1], problem.inner, None).sum() / N
    solution = solve(problem, solver=Euler(N), compile=False)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.violation) < 1e-8
    assert float(solution.cost) <= float(spent) + 1e-6
    assert max(solution.optimality) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("beyond", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_out_of_reach_is_missed_by_as_little_as_can_be(seed: int, beyond: float) -> None:
    problem = OutOfReach(seed, beyond)
    weights, free = problem.end_of_controls()
    reach = linprog(-weights.flatten().numpy(), bounds=[(-1, 1)] * (N * NU))
    least = problem.most + beyond - (float(free) - reach.fun)
    assert least == pytest.approx(beyond, abs=1e-9)
    solution = solve(problem, solver=Euler(N), compile=False)
    assert solution.status == "infeasible", f"{solution.status}: {solution.reason}"
    # Only the end can be missed: the controls lead to the states.
    np.testing.assert_allclose(solution.x, problem.path(solution.u), atol=1e-7)
    assert float(solution.violation) == pytest.approx(least, abs=1e-6 * (1 + least))


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_contradict_each_other_are_never_solved(seed: int) -> None:
    class Contradiction(Random):
        """`c . x <= b` and `c . x >= b + 1` along the path: one is missed by a half or more."""

        def __init__(self):
            super().__init__(seed)
            self.c = self.normal(NX)

        def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            value = x @ self.c - self.x0 @ self.c
            return torch.stack([value, 1 - value], -1)

    solution = solve(Contradiction(), solver=Euler(N), compile=False)
    assert solution.status != "converged"
    assert float(solution.violation) >= 0.5 - 1e-6
