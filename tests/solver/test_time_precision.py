"""Time is double precision inside, whatever the state's dtype is."""

import math
from typing import Any

import pytest
import torch
from torch import nn, Tensor

import ocnet
from ocnet import (
    Adjoint,
    Checkpoint,
    Costate,
    CubicSpline,
    Euler,
    Feedback,
    Layers,
    PiecewiseConstant,
    PiecewiseLinear,
    Problem,
    Reversible,
    RK4,
    Sample,
    Solver,
    TorchDiffEq,
)


SOLVERS = [
    Euler(1000),
    Euler(1000, gradient=Checkpoint()),
    Euler(1000, gradient=Costate()),
    Reversible(Euler(1000)),
    TorchDiffEq("euler", 1000),
    TorchDiffEq("rk4", 1000, gradient=Adjoint()),
    TorchDiffEq("dopri5", rtol=1e-3, atol=1e-3),
]


class Integrator(Problem):
    """`x' = u`."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + 0 * x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Clock(Integrator):
    """`x' = g(t)` with a formula of time."""

    def __init__(self, formula: str = "t", t0: float = 0.0, t1: float = 1.0):
        super().__init__()
        self.formula, self.t0, self.t1 = formula, t0, t1

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        s = t - self.t0
        rates = {
            "t": s * torch.ones_like(x),
            "stack": torch.stack([s.expand(x.shape[:-1]) + 0 * x[..., 0]], -1),
            "cat": torch.cat([s.expand_as(x), x], -1)[..., :1],
        }
        return rates[self.formula] + 0 * u


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_one_of_a_thousand_intervals_in_half_precision(solver: Solver) -> None:
    problem, x0 = Integrator(), torch.zeros(2, 1, dtype=torch.bfloat16)
    control = PiecewiseConstant(0.0, 1.0, 1000, 1, dtype=torch.bfloat16)
    with torch.no_grad():
        control.path[617] = 1000
    trajectory = solver.solve(problem, control, x0)
    assert trajectory.states[-1].float().flatten().tolist() == [1.0, 1.0]
    assert trajectory.t.dtype == torch.float64


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_a_horizon_that_begins_far_from_zero(solver: Solver) -> None:
    t0 = 1.7e9
    problem = Clock(t0=t0, t1=t0 + 1)
    control = PiecewiseConstant(t0, t0 + 1, 10, 1, dtype=torch.float32)
    solver = solver.with_steps(200)
    x = solver.solve(problem, control, torch.zeros(1, 1, dtype=torch.float32)).states[-1]
    assert x.item() == pytest.approx(0.5, abs=4e-3)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("formula", ["t", "stack", "cat"])
def test_formulas_of_time_keep_the_dtype_of_the_state(solver: Solver, formula: str) -> None:
    solver = solver.with_steps(100)
    problem, control = Clock(formula), PiecewiseConstant(0, 1, 10, 1, dtype=torch.float32)
    trajectory = solver.solve(problem, control, torch.zeros(3, 1, dtype=torch.float32))
    assert {x.dtype for x in trajectory.states} == {torch.float32}
    assert trajectory.running_cost.dtype == torch.float32
    assert trajectory.states[-1].flatten().tolist() == pytest.approx([0.5] * 3, abs=6e-3)


@pytest.mark.slow
@pytest.mark.parametrize("make", [PiecewiseLinear, CubicSpline])
def test_knots_of_a_thousand_intervals_in_single_precision(make: type) -> None:
    t0 = 4096.0  # single precision has 2048 numbers from here to one further
    problem = Clock("t", t0, t0 + 1)
    problem.dynamics = lambda t, x, u: u + 0 * x
    control = make(t0, t0 + 1, 1000, 1, dtype=torch.float32)
    with torch.no_grad():
        control.path.copy_(torch.linspace(0, 1, 1001)[:, None])
    for solver in (
        RK4(1000),
        TorchDiffEq("rk4", 1000),
        TorchDiffEq("dopri5", rtol=1e-4, atol=1e-6),
    ):
        x = solver.solve(problem, control, torch.zeros(1, 1, dtype=torch.float32)).states[-1]
        assert x.item() == pytest.approx(0.5, abs=1e-5)


def test_layers_are_read_one_by_one_in_half_precision() -> None:
    class Constant(nn.Module):
        def __init__(self, value: float):
            super().__init__()
            self.value = value

        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, self.value)

    class Net(Integrator):
        control_shape = None
        t1 = 600.0

        def dynamics(self, t: Tensor, x: Tensor, u: Any) -> Tensor:
            return u(x)

    layers = Layers(0, 600, [Constant(64.0 if k == 333 else 0.0) for k in range(600)])
    for solver in (Euler(600), TorchDiffEq("euler", 600), TorchDiffEq("rk4", 600)):
        x = solver.solve(Net(), layers, torch.zeros(1, 1, dtype=torch.bfloat16)).states[-1]
        assert x.item() == 64.0


def test_a_policy_gets_the_time_in_double_precision() -> None:
    class Switch(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return torch.where(t < 0.70001, 1.0, 0.0) + 0 * x

    for solver in (Euler(1000), TorchDiffEq("euler", 1000)):
        x0 = torch.zeros(1, 1, dtype=torch.float32)
        x = solver.solve(Integrator(), Feedback(0, 1, Switch()), x0).states[-1]
        assert x.item() == pytest.approx(0.701, abs=1e-5)


def test_a_mismatch_names_the_line_and_the_cure() -> None:
    class Net(Integrator):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1, dtype=torch.float32)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return self.net(torch.cat([x, t.expand_as(x)], -1)) + u

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1, dtype=torch.float32)

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return self.net(torch.cat([x, t.expand_as(x)], -1))

    class Costly(Net):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return u + 0 * x

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return self.net(torch.cat([x, t.expand_as(x)], -1))[..., 0]

    x0 = torch.zeros(3, 1, dtype=torch.float32)
    control = PiecewiseConstant(0, 1, 4, 1, dtype=torch.float32)
    cases = [
        (Net(), control, "Net.dynamics"),
        (Costly(), control, "Costly.stage_cost"),
        (Integrator(), Feedback(0, 1, Policy()), "Policy.forward"),
    ]
    for problem, applied, name in cases:
        for solver in (Euler(4), TorchDiffEq("rk4", 4)):
            with pytest.raises(
                RuntimeError,
                match=rf"{name} \(.*test_time_precision.py:\d+.*\) fails: .*t\.to\(x\)",
            ):
                solver.solve(problem, applied, x0)


def test_intervals_too_fine_for_double_precision_are_refused() -> None:
    t0 = 1.7e12
    with pytest.raises(ValueError, match="1000 intervals of .*does not tell apart"):
        PiecewiseConstant(t0, t0 + 1, 1000, 1)
    problem = Clock(t0=t0, t1=t0 + 1)
    with pytest.raises(ValueError, match="5000 intervals of .*does not tell apart"):
        Euler(5000).solve(problem, PiecewiseConstant(t0, t0 + 1, 1, 1), torch.zeros(1, 1))


@pytest.mark.parametrize("solver", [Euler(400), TorchDiffEq("rk4", 200)], ids=repr)
def test_costs_of_time_in_single_precision(solver: Solver) -> None:
    class Weighted(Integrator):
        t0, t1 = 1e6, 1e6 + 1

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return torch.sin(math.pi * (t - 1e6)) * torch.ones_like(x[..., 0])

    control = PiecewiseConstant(1e6, 1e6 + 1, 4, 1, dtype=torch.float32)
    sample = Sample(torch.zeros(2, 1, dtype=torch.float32))
    cost, _ = ocnet.evaluate(Weighted(), control, solver, sample)
    assert cost.dtype == torch.float32
    assert cost.tolist() == pytest.approx([2 / math.pi] * 2, rel=1e-4)
