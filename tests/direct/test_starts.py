"""Several starts as one batch: the best answer, and how many agreed."""

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import solve


class TwoValleys(Problem):
    """`x' = u`; the end costs `(x^2 - 1)^2 + .3 x`: from .5 the near valley is not the deep one."""

    state_shape = (1,)
    control_shape = (1,)
    control_bounds = (-3.0, 3.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 0.01 * u[..., 0] ** 2

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 5 * (x[..., 0] ** 2 - 1) ** 2 + 1.5 * x[..., 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([[0.5]]).expand(batch_size, 1))


def optimum(x0: float) -> float:
    """The least cost, on a fine grid of ends: the control is constant."""
    x = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    return float((0.01 * (x - x0) ** 2 + 5 * (x**2 - 1) ** 2 + 1.5 * x).min())


@pytest.mark.parametrize("compile", [None, False])
def test_the_best_of_several_starts(compile: bool | None) -> None:
    problem = TwoValleys()
    one = solve(problem, solver=Euler(10), compile=compile)
    assert float(one.cost) > optimum(0.5) + 1
    several = solve(problem, solver=Euler(10), starts=8, seed=1, compile=compile)
    assert several.status == "converged"
    assert abs(float(several.cost) - optimum(0.5)) < 1e-6
    count = int(several.reason.split("starts, ")[1].split()[0])
    assert 1 <= count < 8
    again = solve(problem, solver=Euler(10), starts=8, seed=1, compile=compile)
    torch.testing.assert_close(several.u, again.u, rtol=0, atol=0)


def test_each_instance_has_its_own_best() -> None:
    x0 = torch.tensor([[0.5], [-0.5], [torch.nan], [1.2]])
    batch = TwoValleys().batch(x0)
    solution = solve(batch, solver=Euler(10), starts=8)
    assert solution.statuses[2] == "invalid"
    for i in (0, 1, 3):
        assert abs(float(solution.cost[i]) - optimum(float(x0[i]))) < 1e-6
        assert "of 8 starts" in solution.reasons[i]


def test_starts_are_checked() -> None:
    with pytest.raises(ValueError, match="starts must lie between 1 and 10000, but got 0"):
        solve(TwoValleys(), starts=0)
    found = solve(TwoValleys(), solver=Euler(10))
    with pytest.raises(ValueError, match="starts must be 1 where a start is given, but got 3"):
        solve(TwoValleys(), start=found, starts=3)
    with pytest.raises(TypeError, match="seed must be an integer, but got 1.5"):
        solve(TwoValleys(), starts=3, seed=1.5)  # pyright: ignore[reportArgumentType]
