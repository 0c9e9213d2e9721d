"""Steps that raise the violation: not without bound, and corrected to second order first."""

import pytest
import torch

from ocnet import InteriorPoint, RK4, solve
from problems.constrained import PendulumSwingUp
from tests.benchmarks.ocp_library.problems import PROBLEMS


@pytest.mark.parametrize("compile", [None, False])
def test_a_step_through_a_nearly_flat_direction_does_not_lose_the_constraints(
    compile: bool | None,
) -> None:
    solution = solve(PROBLEMS["chain"](), solver=RK4(100), compile=compile)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert float(solution.cost) == pytest.approx(5.068506, abs=2e-6)
    assert int(solution.iterations) <= 40


@pytest.mark.parametrize("compile", [None, False])
def test_corrections_shorten_the_way_along_curved_constraints(compile: bool | None) -> None:
    solution = solve(PendulumSwingUp(), solver=RK4(100), compile=compile)
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    assert int(solution.iterations) <= 28


@pytest.mark.parametrize("iterations", [12, 24])
def test_machine_code_corrects_alike(iterations: int) -> None:
    method = InteriorPoint(max_iterations=iterations)
    found, expected = (
        solve(PendulumSwingUp(), solver=RK4(100), method=method, compile=compile)
        for compile in (None, False)
    )
    torch.testing.assert_close(found.u, expected.u, rtol=1e-6, atol=1e-7)
