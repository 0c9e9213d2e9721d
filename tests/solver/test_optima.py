"""Training reaches the discretised problem's optimum, whose distance to the ODE's has an order."""

import math

import pytest
import torch

from ocnet import Euler, evaluate, RK4, SolvedProblem, train
from ocnet.control import PiecewiseConstant
from problems.linear_quadratic import DoubleIntegratorLQR, OscillatorLQR, ScalarLQR, TerminalLQR
from problems.nonlinear import BilinearPenalty, DeepLinear, Tanh


PROBLEMS = [
    ScalarLQR,
    DoubleIntegratorLQR,
    TerminalLQR,
    OscillatorLQR,
    Tanh,
    BilinearPenalty,
    DeepLinear,
]


def optimised(problem: SolvedProblem, n: int) -> tuple[PiecewiseConstant, float]:
    """The control that L-BFGS finds under `n` Euler steps, and its cost."""
    control = PiecewiseConstant(problem.t0, problem.t1, n, problem.control_shape or ())
    optimizer = torch.optim.LBFGS(
        control.parameters(),
        max_iter=150,
        history_size=30,
        tolerance_grad=1e-11,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )
    train(problem, control, Euler(n), optimizer, n_steps=2, progress=False)
    with torch.no_grad():
        cost, _ = evaluate(problem, control, Euler(n), problem.sample(1))
    return control, cost.item()


@pytest.mark.parametrize("make", PROBLEMS)
def test_euler_optimum(make: type[SolvedProblem]) -> None:
    problem = make()
    _, cost = optimised(problem, 20)
    expected = problem.euler_optimal_cost(problem.sample(1).x0, 20)
    assert expected is not None
    assert cost == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make", [ScalarLQR, TerminalLQR, Tanh, BilinearPenalty, DeepLinear])
def test_orders(make: type[SolvedProblem]) -> None:
    """`J_Euler - J*` is O(h), `J_ODE(u_Euler) - J*` is O(h^2)."""
    problem = make()
    J = problem.optimal_cost(problem.sample(1).x0).item()
    discrete, true = [], []
    for n in (40, 80):
        control, cost = optimised(problem, n)
        discrete.append(cost - J)
        with torch.no_grad():
            # Steps that end on the control's knots: RK4 sees a smooth problem.
            cost, _ = evaluate(problem, control, RK4(4 * n), problem.sample(1))
        true.append(cost.item() - J)
    assert math.log2(discrete[0] / discrete[1]) == pytest.approx(1, abs=0.05)
    assert math.log2(true[0] / true[1]) == pytest.approx(2, abs=0.1)
