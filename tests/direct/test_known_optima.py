"""The problems with known optima, solved from a cold start."""

import math

import pytest
import torch

from ocnet import Euler, ExplicitRungeKutta, RK4, SolvedProblem
from ocnet.direct import Solution, solve
from problems import constrained, double_integrator, free_time, linear_quadratic, nonlinear


def solved(problem: SolvedProblem, solver: ExplicitRungeKutta) -> Solution:
    solution = solve(problem, solver=solver)
    assert solution.status == "converged", solution.reason
    assert solution.violation < 1e-9
    assert max(solution.optimality) < 1e-7
    return solution


@pytest.mark.parametrize(
    "problem",
    [
        linear_quadratic.ScalarLQR,
        linear_quadratic.DoubleIntegratorLQR,
        linear_quadratic.TerminalLQR,
        linear_quadratic.OscillatorLQR,
        nonlinear.Tanh,
        nonlinear.BilinearPenalty,
        nonlinear.DeepLinear,
        double_integrator.MinEnergy,
        constrained.Bilinear,
        constrained.LinearResNet,
        free_time.MinTime,
    ],
)
@pytest.mark.parametrize("n", [10, 100])
def test_euler_optimum_equals_the_closed_form(problem: type[SolvedProblem], n: int) -> None:
    ocp = problem()
    solution = solved(ocp, Euler(n))
    expected = ocp.euler_optimal_cost(ocp.sample(1).x0[0], n)
    torch.testing.assert_close(solution.cost, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("problem", "published", "digits"),
    [
        (constrained.BoundedVanDerPol, 2.97309479, 5e-9),
        (constrained.TanhTo, 0.92424259, 5e-9),
        (free_time.Brachistochrone, 1.80468817, 1.5e-8),
        (constrained.TurnpikeLQ, 5.8448561, 5e-8),
        (free_time.MoonLander, 8.2311, 5e-5),
    ],
)
def test_euler_optimum_equals_the_published_digits(
    problem: type[SolvedProblem], published: float, digits: float
) -> None:
    assert abs(float(solved(problem(), Euler(100)).cost) - published) < digits


def test_euler_optimum_of_bryson_denham_but_for_the_relaxation_of_the_reference() -> None:
    """The reference relaxes `x1 <= L` by 1e-8, `solve` by 1e-9: `dJ/dL = -4/(9 L^2) = -36`."""
    cost = float(solved(double_integrator.BrysonDenham(), Euler(100)).cost)
    assert abs(cost - 36 * 9e-9 - 4.00903185) < 1e-8


CONTINUOUS = [
    (linear_quadratic.ScalarLQR, 100),
    (linear_quadratic.DoubleIntegratorLQR, 200),
    (linear_quadratic.TerminalLQR, 200),
    (linear_quadratic.OscillatorLQR, 400),
    (nonlinear.Tanh, 100),
    (nonlinear.BilinearPenalty, 100),
    (nonlinear.VanDerPol, 200),
    (nonlinear.DeepLinear, 50),
    (double_integrator.MinEnergy, 200),
    (lambda: double_integrator.BrysonDenham(1 / 9), 200),
    (lambda: double_integrator.BrysonDenham(0.2), 200),
    (lambda: double_integrator.BrysonDenham(0.3), 200),
    (constrained.TanhTo, 100),
    (constrained.Bilinear, 50),
    (constrained.LinearResNet, 50),
    (constrained.TurnpikeLQ, 400),
    (constrained.BoundedVanDerPol, 200),
    (constrained.PendulumSwingUp, 500),
    (free_time.MinTime, 50),
    (free_time.MoonLander, 100),
    (free_time.Brachistochrone, 100),
    (free_time.Goddard, 100),
    pytest.param(free_time.OrbitRaising, 100, marks=pytest.mark.slow),
    pytest.param(constrained.Hypersensitive, 2000, marks=pytest.mark.slow),
    pytest.param(lambda: constrained.PendulumSwingUp(straight=True), 800, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("problem", "n"), CONTINUOUS)
def test_runge_kutta_comes_close_to_the_continuous_optimum(
    problem: type[SolvedProblem], n: int
) -> None:
    ocp = problem()
    solution = solved(ocp, RK4(n))
    torch.testing.assert_close(
        solution.cost, ocp.optimal_cost(ocp.sample(1).x0[0]), rtol=1e-4, atol=0
    )


def test_the_published_swing_up_is_a_local_optimum_and_the_cold_start_finds_a_better_one() -> None:
    published, better = (
        solved(constrained.PendulumSwingUp(straight), RK4(200)) for straight in (True, False)
    )
    assert abs(float(published.cost) - 27.18839) < 0.05
    assert abs(float(better.cost) - 19.3966) < 0.05


def test_min_time_from_states_that_lead_the_horizon_astray(generator: torch.Generator) -> None:
    """From the first the horizon is first drawn to its least, others need much more than 1."""
    far = 4 * torch.rand(15, 2, generator=generator) - 2
    x0 = torch.cat([torch.tensor([[0.3, -0.2], [1.7, 2.0], [-1.0, -1.3]]), far])
    ocp = free_time.MinTime()
    solution = solve(ocp.batch(x0), solver=RK4(100))
    assert solution.status == "converged", solution.reason
    torch.testing.assert_close(solution.cost, ocp.optimal_cost(x0), rtol=5e-4, atol=0)


def test_min_time_from_another_state() -> None:
    x0 = torch.tensor([[2.0, 1.0], [0.0, 0.0]])
    ocp = free_time.MinTime()
    solution = solve(ocp.batch(x0), solver=RK4(100))
    assert solution.status == "converged"
    torch.testing.assert_close(ocp.optimal_cost(x0)[0], torch.tensor(1 + 2 * math.sqrt(1.5)))
    torch.testing.assert_close(solution.cost, ocp.optimal_cost(x0), rtol=1e-4, atol=0)
    torch.testing.assert_close(solution.final_time, solution.cost)
