"""What `solve` says about constraints that do not hold: which, when, by how much of its scale."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample, solve
from ocnet.direct import InteriorPoint


Row = Callable[[Tensor], Tensor]
nothing: Row = lambda x: x[..., :0]


class Reach(Problem):
    """`x' = speed u` from 0 with `|u| <= 1`, `int u^2`: `x(1)` lies between -speed and speed."""

    state_shape, control_shape, control_bounds = (1,), (1,), (-1.0, 1.0)

    def __init__(
        self, *, speed: float = 1.0, psi: Row = nothing, omega: Row = nothing, g: Row = nothing
    ):
        super().__init__()
        self.speed, self.psi, self.omega, self.g = speed, psi, omega, g

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.speed * u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.g(x)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.psi(x)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.omega(x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


OUT_OF_REACH: dict[str, tuple[dict[str, Any], str]] = {
    "equality": (dict(psi=lambda x: x - 3), "terminal_constraint[0] is violated by 2 at t=1, 0.67"),
    "in other units": (
        dict(psi=lambda x: 100 * (x - 3)), "terminal_constraint[0] is violated by 200 at t=1, 0.67"
    ),
    "large states": (
        dict(speed=100.0, psi=lambda x: x - 300),
        "terminal_constraint[0] is violated by 200 at t=1, 0.67",
    ),
    "inequality": (
        dict(omega=lambda x: 4 - x), "terminal_inequality[0] is violated by 3 at t=1, 0.75"
    ),
    "path": (
        dict(g=lambda x: 4 - x), "path_constraint[0] is violated by 3.75 at t=0.25, 0.94"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "compile"), [("equality", False), *((name, None) for name in OUT_OF_REACH)]
)
def test_a_violation_is_told_with_its_share_of_the_scale(name: str, compile: bool | None) -> None:
    terms, words = OUT_OF_REACH[name]
    solution = solve(Reach(**terms), solver=Euler(4), compile=compile)
    assert solution.status == "infeasible", solution.reason
    assert solution.reason.startswith(f"{words} of its scale, and near there no control violates")


def test_units_do_not_hide_the_constraint_that_is_missed() -> None:
    """Of a row in millionths that is missed by two thirds, and one missed by a thousandth."""
    rows: Row = lambda x: torch.cat([1e3 * (x - 1.001), 1e-3 * (x - 3)], -1)
    solution = solve(Reach(psi=rows), solver=Euler(4), compile=False)
    assert solution.status == "infeasible", solution.reason
    assert "terminal_constraint[1] is violated by 0.002" in solution.reason, solution.reason


def test_rounding_is_never_told_as_a_violation() -> None:
    """Of states about 1e9 rounding leaves 1e-7, which is more than the tolerance."""
    problem = Reach(speed=1e9, psi=lambda x: x - 0.3e9)
    for most in (1, 3, 60):
        method = InteriorPoint(max_iterations=most)
        solution = solve(problem, solver=Euler(7), method=method, compile=False)
        told = solution.reason.partition("is violated by ")[2]
        assert not told or float(told.split()[0]) > 1e-4, solution.reason


@pytest.mark.parametrize("compile", [None, False])
def test_pure_feasibility_is_solved(compile: bool | None) -> None:
    class Free(Reach):
        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return 0 * u[..., 0]

    cases: tuple[dict[str, Any], ...] = (
        dict(psi=lambda x: x - 0.5), dict(omega=lambda x: 0.9 - x), dict(g=lambda x: x + x**2 - 1)
    )  # fmt: skip
    for terms in cases:
        solution = solve(Free(**terms), solver=Euler(4), compile=compile)
        assert solution.status == "converged", solution.reason
        assert float(solution.violation) <= 1e-9


def test_no_inside_words() -> None:
    """What is said uses the names of the user's functions and of the arguments only."""
    inside = ("unstretched", "defect", "slack", "multiplier", "transcription", "rows_end", "theta")
    free = type("Free", (Reach,), {"final_time_bounds": (0.5, 2.0)})
    problems = [free(psi=lambda x: x - 3), Reach(g=lambda x: 4 - x)]
    for problem in problems:
        for most in (3, 1000):
            method = InteriorPoint(max_iterations=most)
            reason = solve(problem, solver=Euler(4), method=method).reason
            assert not any(word in reason for word in inside), reason
