"""Which paths a depth certificate compares: between steps, of other solvers, of batches."""

import math

import pytest
import torch
from torch import Tensor

from ocnet import (
    certify,
    Euler,
    Heun,
    PiecewiseConstant,
    Problem,
    RK4,
    RK38,
    Sample,
    solve,
    TorchDiffEq,
)
from ocnet.analysis import compare
from ocnet.certificate import depth_certificate, Measured
from ocnet.solver import ExplicitRungeKutta, Tableau


pytestmark = pytest.mark.usefixtures("without_shape_checks")


class Wave(Problem):
    """`x' = 6 cos(6 t) - 3 (x - sin(6 t)) + u`, with the solution sin(6 t) for u = 0."""

    state_shape = control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 6 * (6 * t).cos() - 3 * (x - (6 * t).sin()) + u

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 1 + x[..., 0].square()

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


def measured(n: int = 8) -> Measured:
    problem = Wave()
    return Measured.of(problem, PiecewiseConstant(0, 1, 1, 1), problem.sample(1), n, None, 200)


@pytest.mark.parametrize(
    ("method", "same"), [("euler", Euler(8)), ("heun2", Heun(8)), ("rk4", RK38(8))]
)
def test_the_same_steps_have_the_same_gap(method: str, same: ExplicitRungeKutta) -> None:
    """Straight lines between the eight states of "rk4" are off by 3.4%, its steps by 0.014%."""
    exact = measured()
    gap = exact.gap(exact.path(TorchDiffEq(method, 8))).worst
    assert gap == pytest.approx(exact.gap(exact.path(same)).worst, rel=1e-6)
    if method == "rk4":
        assert gap < 2e-4


@pytest.mark.parametrize("method", ["midpoint", "heun3"])
def test_between_the_steps_of_other_methods_nothing_is_added(method: str) -> None:
    """The gap on the whole path is about that at the steps, not that of straight lines."""
    exact = measured()
    assert exact.first
    path = exact.path(TorchDiffEq(method, 8))
    off = exact.differences(path)[:, 0]
    every = (len(off) - 1) // 8
    assert off.max() < 1.1 * off[::every].max()


def test_solvers_of_the_same_name_are_told_apart() -> None:
    """Two tableaux of two stages, both called ExplicitRungeKutta(8)."""
    midpoint = Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5), order=2)
    heun = Tableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0), order=2)
    solvers = [ExplicitRungeKutta(midpoint, 8), ExplicitRungeKutta(heun, 8)]
    found = compare(
        Wave(), PiecewiseConstant(0, 1, 1, 1), solvers, sample=Wave().sample(1), repeats=1,
        fine_steps=200,
    )  # fmt: skip
    first, second = (row.path_gap for row in found.rows)
    assert abs(first / second - 1) > 0.05
    exact = measured()
    assert second == pytest.approx(exact.gap(exact.path(Heun(8))).path.max().item())


def test_tolerances_and_limits_tell_adaptive_solvers_apart() -> None:
    solvers = [TorchDiffEq(rtol=1e-3, atol=1e-5), TorchDiffEq(rtol=1e-3, atol=1e-5, max_steps=1)]
    found = compare(
        Wave(), PiecewiseConstant(0, 1, 1, 1), solvers, sample=Wave().sample(1), repeats=1,
        fine_steps=200,
    )  # fmt: skip
    assert "stops at" not in found.rows[0].note and "stops at" in found.rows[1].note


def test_a_reference_of_fixed_steps_keeps_its_steps() -> None:
    """Not one step between two output times: RK4(3000) is right to 1e-12, Euler(200) is not."""
    problem, control = Wave(), PiecewiseConstant(0, 1, 1, 1)
    found = depth_certificate(
        problem, control, Euler(20), problem.sample(1), reference=Euler(5000), fine_steps=200
    )
    right = 1 + math.sin(6) ** 2
    assert found.ode_cost == pytest.approx(right, rel=2e-3)
    assert found.ode_cost != pytest.approx(right, rel=1e-6)


def test_the_row_of_the_reference_has_an_independent_error() -> None:
    """Dormand and Prince to 1e-3, against itself at 1e-9, and against the exact solution."""
    loose = TorchDiffEq(rtol=1e-3, atol=1e-5)
    found = compare(
        Wave(), PiecewiseConstant(0, 1, 1, 1), [loose, TorchDiffEq(rtol=1e-9, atol=1e-12)],
        sample=Wave().sample(1), repeats=1, fine_steps=1000,
    )  # fmt: skip
    coarse, same = found.rows
    assert coarse.is_reference and same.is_reference
    end = loose.solve(Wave(), PiecewiseConstant(0, 1, 1, 1), torch.zeros(1, 1)).states[-1]
    assert coarse.state_error == pytest.approx(abs(end.item() - math.sin(6)), rel=0.05)
    # It would be 0 against itself.
    assert 0 < same.state_error < 1e-8


class Tug(Problem):
    """`x' = a u - x` with `a` of its own for each instance, to 1 and back to rest at 0."""

    state_shape = control_shape = (1,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.tensor(1.0))

    a: Tensor

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.a * u - x

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x - 2).square() + 0.1 * u.square()).sum(-1) / 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))


@pytest.mark.slow
def test_instances_with_parameters_of_their_own_are_certified_each() -> None:
    """The worst gap and the costs are those of the instances solved one by one."""
    values, solver = [0.5, 1.0, 6.0], Euler(10)
    a, x0 = torch.tensor(values), torch.ones(3, 1)
    found = certify(solve(Tug().batch(x0, a=a), solver=solver))
    assert found.samples == 3 and found.path_gap and found.cost_gap
    alone = []
    for value in values:
        problem = Tug()
        problem.a.fill_(value)
        alone.append(certify(solve(problem.batch(x0[:1]), solver=solver)))
    gaps = [one.path_gap.worst for one in alone if one.path_gap]
    assert max(gaps) > 1.15 * min(gaps)
    assert found.path_gap.worst == pytest.approx(max(gaps), rel=0.02)
    costs = [one.ode_cost or 0.0 for one in alone]
    assert found.ode_cost == pytest.approx(sum(costs) / 3, rel=1e-4)
    # The cost of the last is off by 7.8% of the batch's mean cost.
    assert found.outcome == "does not" and found.beyond == 1 and found.worst_component == 0


def test_where_states_do_not_fit_the_certificate_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocnet.certificate.reference.STATES_AT_ONCE", 5)
    problem, control = Wave(), PiecewiseConstant(0, 1, 1, 1)
    found = depth_certificate(problem, control, RK4(20), problem.sample(1), fine_steps=200)
    assert found.times == 5 and "at 5 times only" in found.verdict
