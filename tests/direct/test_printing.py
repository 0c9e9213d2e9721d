"""What a solution prints: how it ended, what is active and when, and why it stalled."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import certify, Euler, load_solution, Problem, RK4, Sample, save_solution, solve
from ocnet.direct import InteriorPoint, LBFGS, SuccessiveApproximation
from ocnet.direct.answer.spells import spells
from ocnet.direct.compiled import build


class Slide(Problem):
    """`x'' = u` from rest at 0 to rest at `p` in time 1, `int u^2`, `|u| <= c`, `x' <= v`."""

    state_shape, control_shape = (2,), (1,)

    def __init__(self, p: float = 1.0, low: float = -5.6, high: float = 5.6, v: float = 1.35):
        super().__init__()
        self.p, self.v, self.control_bounds = p, v, (low, high)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., 1:] - self.v

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - torch.tensor([self.p, 0.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))


class Redundant(Slide):
    """Its end wants `x = p` and `0.7 x = p`, and something that nothing moves."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return torch.stack([x[..., 0] - self.p, 0.7 * x[..., 0] - self.p, 0 * x[..., 1] + 1e-3], -1)


def test_one_solution_in_about_ten_lines() -> None:
    found = solve(Slide(), solver=Euler(20), compile=False)
    text = str(found)
    assert len(text.splitlines()) <= 12
    assert text.startswith("Slide, Euler(20): converged (all residuals are below")
    for part in (f"{float(found.cost):.10g}", "compile=False", "violation", "iterations", " s\n"):
        assert part in text
    assert "u[0] at its upper bound: t=0 to 0.15" in text
    assert "path_constraint[0]: t=0." in text and "certificate" not in text
    assert repr(found) == "<Solution of Slide by Euler(20): converged>"


class Drift(Slide):
    """The same without constraints, for methods that know none."""

    path_constraint, terminal_constraint = Problem.path_constraint, Problem.terminal_constraint

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return ((x[..., 0] - self.p) ** 2) * 10


BACKENDS: list[tuple[dict[str, Any], str]] = [
    ({}, "machine code"),
    ({"compile": False}, "torch, because compile=False"),
    (
        {"method": InteriorPoint(sweep="scan")},
        'torch, because sweep="scan"; derivatives by machine code',
    ),
    (
        {"method": LBFGS()},
        "torch, because its optimiser is torch's; derivatives by machine code",
    ),
    (
        {"method": SuccessiveApproximation()},
        "torch, because each sweep minimises by torch; derivatives by machine code",
    ),
]


@pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize(("options", "told"), BACKENDS)
def test_the_backend_and_why_not_the_faster_one(options: dict[str, Any], told: str) -> None:
    found = solve(Drift(), solver=Euler(8), **options)
    assert found.status == "converged", found.reason
    assert found.backend == told and f"computed by  {told}" in str(found)


def test_what_is_active_is_what_lies_on_its_bound() -> None:
    found = solve(Slide(), solver=Euler(20))
    u, x = found.u[:, 0], found.x[:20, 1]
    times = [k / 20 for k in range(21)]
    for on, name in ((u > 5.6 - 1e-4, "upper"), (u < -5.6 + 1e-4, "lower")):
        (line,) = [line for line in found.active() if name in line]
        assert line == f"u[0] at its {name} bound: {spells(on.tolist(), times)}"
    (line,) = [line for line in found.active() if line.startswith("path")]
    assert line == f"path_constraint[0]: {spells((x > 1.35 - 1e-4).tolist(), times)}"


def test_spells_in_words() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert spells([True] * 4, times) == "always"
    assert spells([False, True, True, False], times) == "t=1 to 3"
    assert spells([True, False, False, True], times) == "t=0 to 1, t=3 to 4"
    assert spells([k % 2 == 0 for k in range(9)], list(range(10))) == (
        "in 5 of 9 steps between t=0 and 9"
    )


def test_a_batch_is_a_table() -> None:
    x0 = torch.tensor([[0.0, 0.0], [-3.0, 0.0], [0.2, 0.0], [torch.nan, 0.0]])
    found = solve(Slide().batch(x0), solver=Euler(20))
    text = str(found)
    assert "batch of shape (4,): 2 converged, 1 infeasible, 1 invalid" in text
    assert "converged    2: 0, 2" in text and "infeasible   1: 1" in text
    assert "(instance 2) to" in text and "instance 3" in text and "x0[3" not in text
    assert found.summary(2).startswith("Slide, Euler(20), instance 2: converged")
    with pytest.raises(ValueError, match="instance must be below 4, but got 4"):
        found.summary(4)


def test_the_certificate_is_printed_where_it_was_computed() -> None:
    found = solve(Slide(), solver=RK4(8))
    with_it = dataclasses.replace(found, certificate=certify(found))
    assert with_it.certificate and with_it.certificate.verdict in str(with_it)


def test_a_stall_names_residuals_and_rows_that_depend_on_each_other(tmp_path: Path) -> None:
    found = solve(Redundant(), solver=Euler(10))
    assert found.status == "infeasible" and list(found.stalls) == [0]
    residuals, dependent = found.stalls[0]
    assert residuals[0].name == "terminal_constraint[2]" and residuals[0].time == 1.0
    assert residuals[0].value == pytest.approx(1e-3)
    assert dependent[0].startswith("terminal_constraint[1] depends on terminal_constraint[0]")
    assert dependent[1].startswith("terminal_constraint[2] has the derivative zero")
    text = str(found)
    assert "largest residuals" in text and dependent[0] in text
    save_solution(found, tmp_path / "found.safetensors")
    assert load_solution(tmp_path / "found.safetensors", Redundant()).stalls == found.stalls


def test_an_iteration_cut_short_names_the_slope_that_is_left() -> None:
    found = solve(Slide(), solver=Euler(20), method=InteriorPoint(max_iterations=3))
    assert found.status == "exhausted"
    worst = found.stalls[0].residuals
    assert any(r.name == "slope of the Lagrangian in u[0]" for r in worst)
    slope = max(r.value for r in worst if r.name == "slope of the Lagrangian in u[0]")
    assert slope == pytest.approx(float(found.optimality.stationarity), rel=1e-6)


def test_redundant_rows_of_the_path_are_named() -> None:
    class Twice(Slide):
        def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return torch.cat([u - 2, 2 * u - 4], -1)

    found = solve(Twice(), solver=Euler(10))
    assert found.status == "infeasible"
    (line,) = [line for line in found.stalls[0].dependent if line.startswith("path_constraint[1]")]
    assert line.startswith("path_constraint[1] depends on path_constraint[0] at t=")


E = 1e-4


def rate(**change: float) -> float:
    """The central difference of the optimal cost."""
    values = {"p": 1.0, "low": -5.6, "high": 5.6, "v": 1.35}
    costs = []
    for sign in (1, -1):
        moved = {k: v + sign * change.get(k, 0.0) for k, v in values.items()}
        costs.append(float(solve(Slide(**moved), solver=Euler(20)).cost))
    return (costs[0] - costs[1]) / (2 * E)


def test_multipliers_are_rates_of_the_optimal_cost() -> None:
    found, h = solve(Slide(), solver=Euler(20)), 1 / 20
    eta = found.multipliers
    # psi = x - p - e has the rate of p.
    assert rate(p=E) == pytest.approx(-float(eta.terminal[0]), rel=1e-4)
    assert rate(high=E) == pytest.approx(-float(eta.upper.sum()) * h, rel=1e-4)
    assert rate(low=E) == pytest.approx(float(eta.lower.sum()) * h, rel=1e-4)
    over_time = float(eta.path.sum()) * h + float(eta.final_path.sum())
    assert rate(v=E) == pytest.approx(-over_time, rel=1e-4)
    for value in (eta.upper, eta.lower, eta.path):
        assert float(value.min()) >= 0 and float(value.max()) > 1
