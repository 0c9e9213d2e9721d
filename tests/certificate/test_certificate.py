"""The depth certificate: every way in which it could tell something that is not true."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    certify,
    Control,
    Euler,
    PiecewiseConstant,
    Problem,
    Reversible,
    RK4,
    Sample,
    solve,
    TorchDiffEq,
)
from ocnet.analysis.measurement import compare
from ocnet.certificate import Certificate, CLOSE, depth_certificate


pytestmark = pytest.mark.usefixtures("without_shape_checks")


class Field(Problem):
    """`x' = f(t, x)`, with a control that does nothing.

    Arguments:
        f: The vector field.
        x0: The initial states, shape `(batch, size)`.
        t1: The end.
        phi: The terminal cost; the sum of the final state if None.
    """

    control_shape = (1,)

    def __init__(
        self,
        f: Callable[[Tensor, Tensor], Tensor],
        x0: list[list[float]] | Tensor,
        t1: float = 1.0,
        phi: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.f, self.t1 = f, t1
        self.phi = phi or (lambda x: x.sum(-1))
        self.x0 = torch.as_tensor(x0)
        self.state_shape = (self.x0.shape[-1],)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.f(t, x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.phi(x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.x0)


def certified(problem: Problem, solver: Any = None, fine_steps: int = 300) -> Certificate:
    control = PiecewiseConstant(problem.t0, problem.t1, 1, 1)
    solver = Euler(100) if solver is None else solver
    return depth_certificate(problem, control, solver, problem.sample(1), fine_steps=fine_steps)


def test_a_state_that_vanishes_has_the_scale_of_its_path() -> None:
    """`x' = -30 x`: Euler is off by most at t = 1/30, and x(1) = 1e-13 is not a scale."""
    gap = max(abs(0.85**k - math.exp(-0.15 * k)) for k in range(200))
    found = certified(Field(lambda t, x: -30 * x, [[1.0]]), Euler(200), 600)
    assert found.behaves_like_ode and found.path_gap
    assert found.path_gap.worst == pytest.approx(gap, rel=1e-2)


def test_a_state_that_returns_to_zero_has_the_scale_of_its_path() -> None:
    """`x' = cos t` over a whole period: x(2 pi) = 0."""
    found = certified(Field(lambda t, x: t.cos() + 0 * x, [[0.0]], 2 * math.pi), Euler(200))
    assert found.behaves_like_ode and found.cost_gap and found.cost_gap.worst < CLOSE


def test_a_cost_whose_optimum_is_zero_is_not_off_by_all_of_it() -> None:
    """`phi = (x - 1)^2`, which `u = 1` brings to 0 in the ODE and close to it in the network."""
    control = PiecewiseConstant(0.0, 1.0, 1, 1)
    problem = Field(lambda t, x: 2 * t + 0 * x, [[0.0]], 1.0, lambda x: (x[..., 0] - 1) ** 2)
    found = depth_certificate(problem, control, Euler(100), problem.sample(1), fine_steps=300)
    assert found.behaves_like_ode and found.cost_gap
    # Euler ends at 0.99: the cost is 1e-4, and that of staying at x0 is 1.
    assert found.cost_gap.worst == pytest.approx(1e-4 / 0.05, rel=1e-3)


def test_a_constant_component_hides_nothing() -> None:
    """2% of the samples end elsewhere, next to a component of 40."""
    x0 = torch.tensor([[40.0, 1.0]]).repeat(500, 1)
    x0[:10, 0] = 41.0
    fast = lambda t, x: torch.stack(
        [0 * x[..., 0], torch.where(x[..., 0] > 40.5, -90 * (x[..., 1] - 0.4), 0 * x[..., 1])], -1
    )
    found = certified(Field(fast, x0), Euler(50))
    assert found.outcome == "does not" and found.beyond == 10 and found.samples == 500
    assert found.path_gap and found.path_gap.worst > 0.9 and found.path_gap.most < 1e-6
    assert found.worst_component == 1 and "10 are off by more than 5%" in found.verdict


def test_one_wide_sample_does_not_hide_the_others() -> None:
    """`x' = -30 x` from states of very different size: all are off by the same share."""
    found = certified(Field(lambda t, x: -30 * x, [[1e6], [1.0], [2.0]]), Euler(20))
    assert found.outcome == "does not" and found.beyond == 3


def test_a_sample_at_rest_is_no_alarm() -> None:
    found = certified(Field(lambda t, x: -x, [[0.0], [1.0], [2.0], [0.0]]), Euler(100))
    assert found.behaves_like_ode


def test_the_whole_path_counts() -> None:
    """`x' = -38 (x - cos t)`: the end is right to 0.1%, the path is off by 2.1 at its start."""
    found = certified(Field(lambda t, x: -38 * (x - t.cos()), [[3.0]], 5.0))
    assert found.outcome == "does not"
    assert found.path_gap and found.path_gap.worst > 0.4 and found.cost_gap
    assert found.cost_gap.worst < 0.01 and "at t = 0.05" in found.verdict


def test_between_the_nodes_counts() -> None:
    """`x' = 40 pi cos(40 pi t)`: all of Euler(20)'s nodes lie where x = 0 + the drift."""
    wave = Field(lambda t, x: 40 * math.pi * (40 * math.pi * t).cos() + 0 * x, [[0.0]])
    found = certified(wave, Euler(20))
    assert found.outcome == "does not"


@pytest.mark.slow
def test_a_pulse_that_both_steps_and_adaptive_steps_miss() -> None:
    """A pulse of area 1 and width 1e-4: x(1) = 2, and nobody sees it but the fine grid."""
    pulse = lambda t, x: 1e4 * ((t >= 0.5031) & (t < 0.5032)).to(x) + 0 * x
    problem = Field(pulse, [[1.0]])
    found = certified(problem, fine_steps=5000)
    assert found.outcome == "could not be estimated" and "Problem.jumps" in found.verdict
    assert "references disagree" in found.verdict


def test_a_pulse_whose_times_are_named_is_integrated_exactly() -> None:
    pulse = lambda t, x: 1e4 * ((t >= 0.5031) & (t < 0.5032)).to(x) + 0 * x
    problem = Field(pulse, [[1.0]])
    problem.jumps = (0.5031, 0.5032)
    found = certified(problem)
    assert found.outcome == "does not"
    assert found.ode_cost == pytest.approx(2, rel=1e-7)
    assert found.ode_cost_fine == pytest.approx(2, rel=1e-7)
    control = PiecewiseConstant(0.0, 1.0, 1, 1)
    end = TorchDiffEq().solve(problem, control, problem.x0).states[-1]
    assert end.item() == pytest.approx(2, rel=1e-6)


def test_no_solution_is_no_number() -> None:
    """`x' = x^2` from 2 ends at t = 0.5."""
    found = certified(Field(lambda t, x: x**2, [[2.0]]))
    assert found.outcome == "could not be estimated" and "no solution to the end" in found.verdict
    assert "nan" not in found.table() and "nan" not in found.verdict and "0%" not in found.verdict


def test_a_network_that_overflows_does_not_behave() -> None:
    found = certified(Field(lambda t, x: -(x**3) * 100, [[10.0]]), Euler(20))
    assert found.outcome == "does not" and "not finite" in found.verdict
    assert "nan" not in found.table()


def test_a_network_that_is_not_a_number_does_not_behave() -> None:
    """`x_1' = -sqrt(x_1)` gets below 0 in the network only; the cost does not see it."""
    root = lambda t, x: torch.stack([-x[..., 0].sqrt(), 0 * x[..., 1]], -1)
    found = certified(Field(root, [[1.0, 1.0]], 1.9, lambda x: x[..., 1]), Euler(20))
    assert found.outcome == "does not" and found.path_gap and found.path_gap.worst == math.inf
    assert found.cost_gap and found.cost_gap.worst == 0 and "not finite" in found.verdict
    assert "nan" not in found.table() + found.verdict


def test_an_order_outside_the_asymptotic_range_is_words() -> None:
    found = certified(Field(lambda t, x: -38 * (x - t.cos()), [[3.0]], 5.0), Euler(60))
    assert found.order and found.order.value is None and "not asymptotic yet" in str(found.order)
    assert found.extrapolated_cost is None


@pytest.mark.parametrize("n", [8, 60])
def test_advice_was_run(n: int) -> None:
    """An oscillator at two depths: the depth that is enough is found by running it, and holds."""
    problem = Field(lambda t, x: torch.stack([x[..., 1], -4 * x[..., 0]], -1), [[1.0, 0.0]], 3.0)
    found = certified(problem, Euler(n))
    assert found.outcome == "does not" and found.advice and found.advice.is_enough
    again = certified(problem, Euler(found.advice.n))
    assert again.behaves_like_ode and again.path_gap
    assert max(again.path_gap.worst, again.cost_gap.worst) == pytest.approx(  # pyright: ignore
        found.advice.gap, rel=0.05
    )
    # Within 10% of the least depth, whatever the start.
    less = certified(problem, Euler(int(found.advice.n / 1.12)))
    assert less.outcome == "does not"


def test_knots_that_no_step_ends_at_are_named() -> None:
    class Steered(Field):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return -x + u

    problem = Steered(lambda t, x: x, [[1.0]])
    control = PiecewiseConstant(0.0, 1.0, 7, 1)
    nn.init.normal_(control.path, generator=torch.Generator().manual_seed(0))
    off = depth_certificate(problem, control, RK4(10), problem.sample(1), fine_steps=300)
    on = depth_certificate(problem, control, RK4(14), problem.sample(1), fine_steps=300)
    assert off.missed_knots == 6 and on.missed_knots == 0
    assert "miss 6 of the control's 8 knots" in off.verdict and "knots" not in on.verdict


@pytest.mark.parametrize("seed", [8, 14])
def test_advice_ends_steps_at_the_knots(seed: int) -> None:
    """Depths between two multiples of 7 are close enough too, but give wrong orders."""

    class Steered(Field):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return 3 * (u - x)

    problem: Problem = Steered(lambda t, x: x, [[1.0]])
    control = PiecewiseConstant(0.0, 1.0, 7, 1)
    nn.init.normal_(control.path, generator=torch.Generator().manual_seed(seed))
    found = depth_certificate(problem, control, Euler(10), problem.sample(1), fine_steps=100)
    assert found.outcome == "does not" and found.missed_knots == 6
    assert found.advice and found.advice.is_enough
    assert found.advice.n % 7 == 0 and found.advice.missed_knots == 0


def test_the_row_of_the_reference_says_so() -> None:
    problem = Field(lambda t, x: -x, [[1.0]])
    control: Control = PiecewiseConstant(0.0, 1.0, 1, 1)
    comparison = compare(
        problem, control, [Euler(20), TorchDiffEq("dopri5"), TorchDiffEq("bosh3")],
        repeats=1, fine_steps=400,
    )  # fmt: skip
    assert [row.is_reference for row in comparison.rows] == [False, True, False]
    assert "dopri5(rtol=1e-07, atol=1e-09) *" in comparison.table()
    assert "memory" not in comparison.table()
    assert {point.family for point in comparison.points} == {"Euler", "dopri5", "bosh3"}
    gaps = [p.path_gap for p in comparison.points if p.family == "Euler"]
    assert gaps == sorted(gaps, reverse=True) and len(gaps) == 4
    (euler, *_) = comparison.differences
    exact = max(abs(0.95**k - math.exp(-k / 20)) for k in range(21)) / (1 - math.exp(-1))
    assert max(euler.worst) == pytest.approx(exact, rel=1e-3)


def test_a_solver_that_keeps_no_states_is_a_row_that_says_so() -> None:
    problem = Field(lambda t, x: -x, [[1.0]])
    control: Control = PiecewiseConstant(0.0, 1.0, 1, 1)
    solvers = [Reversible(Euler(20)), Euler(10)]
    found = compare(problem, control, solvers, repeats=1, fine_steps=400)
    assert "keeps no states" in found.table() and math.isnan(found.rows[0].path_gap)
    assert found.certificate and found.certificate.n == 10 and found.rows[1].path_gap > 0


@pytest.mark.slow
def test_solve_and_compare_say_the_same_of_the_same_control() -> None:
    from problems.linear_quadratic import ScalarLQR

    problem = ScalarLQR()
    solution = solve(problem, solver=Euler(20))
    own = certify(solution)
    found = compare(problem, solution.control, [Euler(20)], sample=problem.sample(1), repeats=1)
    other = found.certificate
    assert other and other.path_gap and own.path_gap
    assert own.outcome == other.outcome and own.path_gap == pytest.approx(other.path_gap)
    assert own.headline == other.headline
    assert own.ode_cost == pytest.approx(other.ode_cost)
