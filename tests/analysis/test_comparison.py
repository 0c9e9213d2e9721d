"""The comparison: errors, orders and the certificate on problems where they are known."""

import json
import math

import pytest
import torch
from torch import nn

from ocnet import Euler, Heun, PiecewiseConstant, plot, RK4, TorchDiffEq
from ocnet.analysis.measurement import compare
from ocnet.certificate import depth_certificate
from ocnet.report import html, Section
from problems.digits import Digits
from problems.nonlinear import BilinearPenalty


pytestmark = pytest.mark.usefixtures("without_shape_checks")


def constant_control(u: float) -> PiecewiseConstant:
    control = PiecewiseConstant(0.0, 1.0, 1, 1)
    nn.init.constant_(control.path, u)
    return control


def test_rows_against_the_closed_form() -> None:
    """`x' = u x` with u = 1: x(1) = e, Euler (1 + h)^n; cost 1/2 + 5 (x - 3)^2."""
    n = 10
    comparison = compare(
        BilinearPenalty(),
        constant_control(1.0),
        [Euler(n), Heun(n), TorchDiffEq()],
        memory=True,
        repeats=1,
        fine_steps=500,
    )
    euler, heun, adaptive = comparison.rows
    x = (1 + 1 / n) ** n
    assert euler.cost == pytest.approx(0.5 + 5 * (x - 3) ** 2)
    assert euler.state_error == pytest.approx(math.e - x, rel=1e-6)
    assert euler.cost_error == pytest.approx(5 * ((x - 3) ** 2 - (math.e - 3) ** 2), rel=1e-6)
    assert euler.order and euler.order.value == pytest.approx(1, abs=0.1)
    assert heun.order and heun.order.value == pytest.approx(2, abs=0.15)
    assert adaptive.order is None
    assert adaptive.state_error < 1e-6
    assert (euler.evaluations, heun.evaluations) == (10, 20)
    assert euler.seconds > 0
    assert euler.memory and heun.memory and 0 < euler.memory < heun.memory
    assert adaptive.is_reference and not euler.is_reference
    assert "tighter tolerances" in comparison.text()
    assert comparison.optimum == pytest.approx(0.5967621017)


def test_memory_counts_what_backprop_keeps() -> None:
    problem, solvers = Digits(width=16).float(), [Euler(8), Euler(64)]
    control = problem.initial_control(8).float()
    shallow, deep = compare(problem, control, solvers, repeats=1, memory=True, fine_steps=1).rows
    assert deep.memory and shallow.memory and 4 < deep.memory / shallow.memory < 9


def test_certificate() -> None:
    problem, control = BilinearPenalty(), constant_control(1.0)
    certificate = depth_certificate(
        problem, control, Euler(100), problem.sample(1), fine_steps=1000
    )
    J = {n: 0.5 + 5 * ((1 + 1 / n) ** n - 3) ** 2 for n in (100, 200)}
    assert certificate.cost == pytest.approx(J[100])
    assert certificate.ode_cost == pytest.approx(0.5 + 5 * (math.e - 3) ** 2)
    assert certificate.ode_cost_fine == pytest.approx(0.5 + 5 * (math.e - 3) ** 2)
    assert certificate.extrapolated_cost == pytest.approx(2 * J[200] - J[100])
    assert certificate.order and certificate.order.value == pytest.approx(1, abs=0.05)
    # Relative to the range of the path, e - 1.
    gap = (math.e - 1.01**100) / (math.e - 1)
    assert certificate.path_gap and certificate.path_gap.worst == pytest.approx(gap, rel=1e-5)
    assert certificate.cost_gap
    # The cost is 0.90: less than 5% of the 20.5 that staying at x0 costs, which count instead.
    off = J[100] - (0.5 + 5 * (math.e - 3) ** 2)
    assert certificate.cost_gap.worst == pytest.approx(off / (0.05 * 20.5))
    assert certificate.behaves_like_ode
    assert "behaves like its ODE" in certificate.verdict

    coarse = depth_certificate(problem, control, Euler(2), problem.sample(1), fine_steps=1000)
    assert not coarse.behaves_like_ode
    assert "does not behave like its ODE" in coarse.verdict


@pytest.mark.slow
def test_texts_data_and_pictures() -> None:
    problem = Digits(width=8)
    control = problem.initial_control(4, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in problem.state_dict().items()}
    comparison = compare(problem, control, [Euler(4), RK4(4)], repeats=1, seed=7, fine_steps=1)
    assert all(torch.equal(before[name], value) for name, value in problem.state_dict().items())
    assert 0 <= comparison.rows[0].scores["accuracy"] <= 1
    data = json.loads(comparison.json())
    assert [row["solver"] for row in data["rows"]] == ["Euler(4)", "RK4(4)"]
    assert data["provenance"]["seed"] == 7
    text = comparison.text()
    assert "RK4(4)" in text and "depth certificate" in text and "accuracy" in text
    page = html(
        "Digits <8>",
        [
            Section(heading="Table", table=comparison.table("html")),
            Section(figure=plot.trajectories(comparison), caption="states"),
            Section(figure=plot.work_precision(comparison)),
            Section(figure=plot.controls(comparison)),
            Section(figure=plot.differences(comparison)),
        ],
        {"seed": 7},
    )
    assert "Digits &lt;8&gt;" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page


def test_needs_a_solver() -> None:
    with pytest.raises(ValueError, match="at least one solver"):
        compare(BilinearPenalty(), constant_control(1.0), [])


def test_a_solver_that_breaks_down_is_a_row() -> None:
    problem = BilinearPenalty()
    comparison = compare(problem, constant_control(1.0), [Euler(2), TorchDiffEq(max_steps=1)])
    assert "stops at t=" in comparison.table()
    assert json.loads(comparison.json())["rows"][1]["cost"] is None
