"""Property tests of `solve`: linear-quadratic problems, and what must not change an answer."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from ocnet import Euler, Problem, Quadratic, Sample, TerminalQuadratic
from ocnet.direct import Adam, LBFGS, solve, SuccessiveApproximation
from problems.constrained import BoundedVanDerPol
from problems.double_integrator import MinEnergy
from problems.linear_quadratic import DoubleIntegratorLQR, OscillatorLQR, ScalarLQR, TerminalLQR
from problems.nonlinear import BilinearPenalty


N = 12
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=4, deadline=None)


class Linear(Problem):
    """`x' = A x + B u` with random stable `A`, quadratic costs, in coordinates `y = C x`."""

    def __init__(self, seed: int, factor: float = 1.0, shift: float = 0.0, turn: bool = False):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        n, m = 3, 2

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        A, B, Q, R = normal(n, n), normal(n, m), normal(n, n), normal(m, m)
        A = A - (torch.linalg.eigvals(A).real.max() + 0.5) * torch.eye(n)
        Q, R = Q @ Q.T, R @ R.T + torch.eye(m)
        self.x0 = normal(n)
        C = normal(n, n) + 3 * torch.eye(n) if turn else torch.eye(n)
        inverse = torch.linalg.inv(C)
        self.A, self.B, self.C, self.Q, self.R = C @ A @ inverse, C @ B, C, Q, R
        in_y = inverse.T @ Q @ inverse
        self.stage_cost = factor * Quadratic(in_y, R)
        self.terminal_cost = factor * TerminalQuadratic(in_y)
        self.state_shape, self.control_shape = (n,), (m,)
        self.t0, self.t1 = shift, shift + 1.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + u @ self.B.mT

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample((self.C @ self.x0).expand(batch_size, -1))


@few
@given(seeds)
def test_linear_problems_equal_the_riccati_recursion(seed: int) -> None:
    torch.set_default_dtype(torch.float64)
    problem = Linear(seed)
    solution = solve(problem, solver=Euler(N))
    h, P, K = 1 / N, problem.Q, torch.zeros(2, 3)
    A, B = torch.eye(3) + h * problem.A, h * problem.B
    for _ in range(N):
        K = torch.linalg.solve(h * problem.R + B.T @ P @ B, B.T @ P @ A)
        P = h * problem.Q + A.T @ P @ (A - B @ K)
    assert solution.status == "converged"
    torch.testing.assert_close(solution.cost, problem.x0 @ P @ problem.x0 / 2)
    torch.testing.assert_close(solution.costates[0], P @ problem.x0)
    torch.testing.assert_close(solution.u[0], -K @ problem.x0)


@few
@given(seeds, st.floats(1e-4, 1e4), st.floats(-5, 5))
def test_units_clocks_and_coordinates_do_not_matter(seed: int, factor: float, shift: float) -> None:
    torch.set_default_dtype(torch.float64)
    plain = solve(Linear(seed), solver=Euler(N))
    scaled = solve(Linear(seed, factor=factor), solver=Euler(N))
    torch.testing.assert_close(scaled.u, plain.u, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(scaled.cost, factor * plain.cost)
    shifted = solve(Linear(seed, shift=shift), solver=Euler(N))
    torch.testing.assert_close(shifted.u, plain.u, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(shifted.trajectory.t, plain.trajectory.t + shift)
    turned = solve(Linear(seed, turn=True), solver=Euler(N))
    torch.testing.assert_close(turned.u, plain.u, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(turned.cost, plain.cost)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_scaling_the_cost_of_a_bounded_problem(factor: float) -> None:
    class Scaled(BoundedVanDerPol):
        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return factor * super().stage_cost(t, x, u, target)

    plain = solve(BoundedVanDerPol(), solver=Euler(N))
    scaled = solve(Scaled(), solver=Euler(N))
    assert scaled.status == "converged" and scaled.iterations == plain.iterations
    torch.testing.assert_close(scaled.cost, factor * plain.cost)


@pytest.mark.parametrize("problem", [BilinearPenalty, BoundedVanDerPol, MinEnergy])
def test_first_order_methods_find_the_same_optimum(problem: type[Problem]) -> None:
    ocp = problem()
    best = solve(ocp, solver=Euler(N))
    found = solve(ocp, solver=Euler(N), method=LBFGS())
    assert found.status == "converged", found.reason
    # A violation of 1e-5 is allowed, and worth up to 24 times as much.
    torch.testing.assert_close(found.cost, best.cost, rtol=2e-5, atol=0)
    torch.testing.assert_close(found.costates, best.costates, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n", [N, 100])
@pytest.mark.parametrize("problem", [ScalarLQR, DoubleIntegratorLQR, TerminalLQR, OscillatorLQR])
def test_successive_approximation_reaches_a_millionth(problem: type[Problem], n: int) -> None:
    best = solve(problem(), solver=Euler(n))
    found = solve(problem(), solver=Euler(n), method=SuccessiveApproximation())
    assert found.status == "converged", found.reason
    assert float(found.optimality.stationarity) < 2e-6
    torch.testing.assert_close(found.u, best.u, rtol=1e-4, atol=1e-5)


def test_adam_and_successive_approximation_find_the_same_optimum() -> None:
    ocp = ScalarLQR()
    best = solve(ocp, solver=Euler(N))
    for method in (Adam(steps_per_round=150, lr=0.1, tolerance=1e-2), SuccessiveApproximation()):
        found = solve(ocp, solver=Euler(N), method=method)
        assert found.status == "converged", found.reason
        torch.testing.assert_close(found.cost, best.cost, rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="knows bounds, but no other constraints"):
        solve(MinEnergy(), solver=Euler(N), method=SuccessiveApproximation())
