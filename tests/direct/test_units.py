"""`solve` in other units: those of states, controls, rows and time must not matter."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import Euler, PiecewiseConstant, Problem, RK4, Sample, solve
from ocnet.direct.compiled import Kernel
from problems.constrained import BoundedVanDerPol


class Bryson(Problem):
    """`x1' = x2`, `x2' = u`, `x1 <= 1/9`, from (0, 1) to (0, -1), `int u^2 / 2`: 4."""

    state_shape, control_shape, t1 = (2,), (1,), 1.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 / 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., :1] - 1 / 9

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([0.0, -1.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.0, 1.0], dtype=torch.float64).expand(batch_size, -1))


class Dash(Bryson):
    """Minimum time of the double integrator, `|u| <= 1`, from rest to rest at 1: 2."""

    control_bounds, final_time_bounds, t1 = (-1.0, 1.0), (0.1, 10.0), 1.5

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., 1:] - 3

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2, dtype=torch.float64))


class InUnits(Problem):
    """A problem whose states, controls, rows and time are counted in other units.

    Arguments:
        problem: The problem.
        x, u, row, time: How many new units make one old one.
    """

    def __init__(self, problem: Problem, x: float, u: float, row: float, time: float):
        super().__init__()
        self.old, self.x, self.u, self.row, self.time = problem, x, u, row, time
        self.state_shape, self.control_shape = problem.state_shape, problem.control_shape
        self.t1 = problem.t1 * time
        if problem.control_bounds is not None:
            low, high = problem.control_bounds
            self.control_bounds = low * u, high * u
        if problem.final_time_bounds is not None:
            low, high = problem.final_time_bounds
            self.final_time_bounds = low * time, high * time

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        rate = self.x / self.time
        return self.old.dynamics(t / self.time, x / self.x, u / self.u) * rate

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        cost = self.old.stage_cost(t / self.time, x / self.x, u / self.u, target)
        return cost / self.time

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.old.path_constraint(t / self.time, x / self.x, u / self.u) * self.row

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.old.terminal_constraint(x / self.x, target) * self.row

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.old.sample(batch_size, generator).x0 * self.x)


UNITS = [
    (1e3, 1.0, 1.0, 1.0), (1.0, 1e3, 1.0, 1.0), (1.0, 1.0, 1.0, 1e3), (1e-3, 1e-3, 1e-3, 1e-3),
    (1e-3, 1.0, 1.0, 1.0), (1.0, 1e-3, 1.0, 1.0), (1.0, 1.0, 1e-3, 1.0), (1.0, 1.0, 1.0, 1e-3),
]  # fmt: skip
"""How many new units of states, controls, rows and time make one old one."""


def check_units(
    problem: type[Problem], units: list[tuple[float, ...]], compile: bool | None
) -> None:
    """The optimum is the same in all units, after about as many iterations."""
    known = solve(problem(), solver=RK4(10), compile=compile)
    assert known.status == "converged", known.reason
    for factors in units:
        found = solve(InUnits(problem(), *factors), solver=RK4(10), compile=compile)
        assert found.status == "converged", f"{factors}: {found.reason}"
        assert float(found.cost) == pytest.approx(float(known.cost), rel=2e-6), factors
        assert int(found.iterations) <= 3 * int(known.iterations) + 10, factors
        costates = found.costates * factors[0]
        torch.testing.assert_close(costates, known.costates, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("problem", [Bryson, Dash])
def test_units_do_not_matter(problem: type[Problem]) -> None:
    """With rows counted in small units a relaxation of 1e-9 would be no trifle any more."""
    check_units(problem, UNITS[:4], compile=False)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [Bryson, Dash])
def test_units_do_not_matter_in_machine_code(problem: type[Problem]) -> None:
    check_units(problem, UNITS, compile=None)


class Glider(Problem):
    """The longest flight of a hang glider through an upwind, in metres: COPS's, -1247.696.

    Arguments:
        T: The guess of its duration.
        lift: The guess of the lift coefficient.
    """

    state_shape, control_shape, control_bounds = (4,), (1,), (0.0, 1.4)
    final_time_bounds = 1.0, 400.0

    def __init__(self, T: float, lift: float):
        super().__init__()
        self.t1, self.lift = T, lift

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        place, _, vx, vy = x.unbind(-1)
        r = (place / 100 - 2.5) ** 2
        w = vy - 2.5 * (1 - r) * (-r).exp()
        force = 1.13 * 14 / 2 * (vx**2 + w**2).sqrt() / 100
        drag, lift = (0.034 + 0.069662 * u[..., 0] ** 2) * force, u[..., 0] * force
        return torch.stack([vx, vy, -lift * w - drag * vx, lift * vx - drag * w - 9.81], -1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return -x[..., ::2]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 1:] - x.new_tensor([900.0, 13.23, -1.288])

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        control = PiecewiseConstant(self.t0, self.t1, n, (1,)).to(torch.float64)
        torch.nn.init.constant_(control.path, self.lift)
        return control

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        x0 = torch.tensor([0.0, 1000.0, 13.23, -1.288], dtype=torch.float64)
        return Sample(x0.expand(batch_size, -1))


@pytest.mark.slow
@pytest.mark.parametrize(("T", "lift"), [(90.0, 0.7), (100.0, 0.7), (100.0, 0.9), (80.0, 0.7)])
def test_a_glider_in_metres(T: float, lift: float) -> None:
    solution = solve(Glider(T, lift), solver=RK4(100))
    assert solution.status == "converged", solution.reason
    assert float(solution.cost) == pytest.approx(-1247.696, rel=1e-6)
    assert float(solution.violation) < 1e-8


class Small(Problem):
    """`x' = u`, `int (x - c)^2 + u^2` with tiny numbers: the optimum is `c^2 tanh 1`."""

    state_shape, control_shape = (1,), (1,)

    def __init__(self, size: float):
        super().__init__()
        self.size = size

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x - self.size) ** 2 + u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x - 2 * self.size

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_what_is_small_is_solved_as_exactly(size: float) -> None:
    """Residuals below 1e-9 say nothing where all terms are 1e-8: the answer must still be right."""
    solution = solve(Small(size), solver=Euler(200))
    assert solution.status == "converged", solution.reason
    one = solve(Small(1.0), solver=Euler(200))
    assert float(solution.cost) / size**2 == pytest.approx(float(one.cost), rel=1e-6)
    assert float(one.cost) == pytest.approx(math.tanh(1.0), rel=5e-3)
    torch.testing.assert_close(solution.u / size, one.u, atol=1e-5, rtol=0)


def test_what_needs_no_units_pays_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to the iteration there are two linearisations: at the start and at the answer."""
    # Machine code that is new to the process is compared with torch: that is not counted.
    solve(BoundedVanDerPol(), solver=RK4(100), compile=True)
    derivatives, calls = Kernel.derivatives, []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return derivatives(*args)

    monkeypatch.setattr(Kernel, "derivatives", counted)
    solution = solve(BoundedVanDerPol(), solver=RK4(100), compile=True)
    assert solution.status == "converged", solution.reason
    assert len(calls) == 2
