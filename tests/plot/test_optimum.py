"""What the picture of a solution shows: its data, its bounds and its labels."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from ocnet import Euler, RK4
from ocnet.direct import Solution, solve
from ocnet.plot.optimum import SHOWN, solution as picture
from problems.constrained import BoundedVanDerPol
from problems.free_time import MinTime, OrbitRaising
from problems.linear_quadratic import DoubleIntegratorLQR
from problems.nonlinear import DeepLinear


def drawn(ax: Axes) -> list[np.ndarray]:
    """The ordinates of all curves that have one for each time."""
    return [
        np.asarray(line.get_ydata()) for line in ax.lines if len(np.ravel(line.get_xdata())) > 2
    ]


def steps(ax: Axes) -> list[StepPatch]:
    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


def check(figure: Figure, found: Solution, instance: int) -> None:
    """All four axes hold the numbers of one instance."""
    n, size = found.solver.n, max(1, found.cost.numel())
    state, control, costate, energy = figure.axes
    t = found.trajectory.t.numpy()
    for ax, value in ((state, found.x), (costate, found.costates)):
        value = value.reshape(n + 1, size, -1)[:, instance, :SHOWN].numpy()
        curves = drawn(ax)
        assert len(curves) == value.shape[1]
        for i, curve in enumerate(curves):
            np.testing.assert_array_equal(curve, value[:, i])
            np.testing.assert_array_equal(ax.lines[i].get_xdata(), t)
    u = found.u.reshape(n, size, -1)[:, instance, :SHOWN].numpy()
    assert len(steps(control)) == u.shape[1]
    for i, patch in enumerate(steps(control)):
        values, edges, _ = patch.get_data()
        np.testing.assert_array_equal(values, u[:, i])
        np.testing.assert_array_equal(edges, t)
    np.testing.assert_array_equal(
        drawn(energy)[0], found.hamiltonian.reshape(n, size)[:, instance].numpy()
    )
    np.testing.assert_allclose(np.asarray(energy.lines[0].get_xdata()), (t[1:] + t[:-1]) / 2)


def test_all_four_axes_show_the_solution_and_say_what_it_is() -> None:
    found = solve(BoundedVanDerPol(), solver=Euler(20))
    figure = found.plot()
    check(figure, found, 0)
    state, control, costate, energy = figure.axes
    assert state.get_ylabel() == "state $x$" and costate.get_ylabel() == "costate $p$"
    assert control.get_ylabel() == "control $u$, bounds dotted"
    assert "Hamiltonian" in energy.get_ylabel()
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "time $t$", "time $t$"]
    for ax, letter in ((state, "x"), (costate, "p")):
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == [f"${letter}_{{1}}$", f"${letter}_{{2}}$"]
    dotted = [float(np.ravel(line.get_ydata())[0]) for line in control.lines]
    assert sorted(dotted) == [-0.3, 1.0]


def test_without_bounds_none_are_drawn_and_rounding_looks_like_nothing() -> None:
    found = solve(DoubleIntegratorLQR(), solver=RK4(20))
    figure = found.plot()
    check(figure, found, 0)
    control, energy = figure.axes[1], figure.axes[3]
    assert len(control.lines) == 0 and control.get_ylabel() == "control $u$"
    low, high = energy.get_ylim()
    assert high - low >= 2e-3 * float(found.hamiltonian.abs().max())


@pytest.mark.parametrize("instance", [0, 2])
def test_one_instance_of_a_batch_is_shown(instance: int) -> None:
    x0 = torch.tensor([[0.0, 1.0], [0.5, 0.5], [-0.5, 0.2]])
    found = solve(BoundedVanDerPol().batch(x0), solver=Euler(12))
    check(picture(found, instance), found, instance)


def test_many_components_are_cut_and_the_horizon_is_the_one_found() -> None:
    found = solve(DeepLinear(), solver=Euler(10))
    check(found.plot(), found, 0)
    found = solve(MinTime(), solver=Euler(20))
    figure = found.plot()
    check(figure, found, 0)
    assert abs(float(figure.axes[0].lines[0].get_xdata()[-1]) - 2.0) < 1e-6


def test_whole_turns_of_an_angle_are_not_shown() -> None:
    found = solve(OrbitRaising(), solver=Euler(20))
    turns = 2 * torch.pi * torch.arange(20).remainder(3).reshape(-1, 1)
    trajectory = found.trajectory
    turned = dataclasses.replace(trajectory, controls=tuple(found.u + turns))
    values = [
        steps(picture(dataclasses.replace(found, trajectory=t)).axes[1])[0].get_data()[0]
        for t in (trajectory, turned)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-12)
    assert abs(np.diff(values[0])).max() < np.pi and abs(np.median(values[0])) <= np.pi
    np.testing.assert_allclose(np.sin(values[0]), found.u[:, 0].sin(), atol=1e-12)


class Named(BoundedVanDerPol):
    """The same with names, units, and a constraint that acts."""

    state_names, state_units = ("position", "speed"), ("m", "m/s")
    control_names, control_units = ("force",), ("N",)
    control_bounds = (torch.tensor([-0.3]), torch.tensor([1.0]))

    def path_constraint(self, t: torch.Tensor, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return u - 0.5


def test_names_units_bounds_and_the_status_are_shown() -> None:
    x0 = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    found = solve(Named().batch(x0), solver=Euler(12))
    figure = found.plot(instance=1)
    state, control = figure.axes[:2]
    assert figure.get_suptitle() == "Named, instance 1: converged"
    assert [t.get_text() for t in state.get_legend().get_texts()] == ["position [m]", "speed [m/s]"]
    assert [t.get_text() for t in control.get_legend().get_texts()] == ["force [N]"]
    dotted = [float(np.ravel(line.get_ydata())[0]) for line in control.lines]
    assert dotted == pytest.approx([-0.3, 1.0])
    grey = [patch for patch in control.patches if not isinstance(patch, StepPatch)]
    assert len(grey) == 2
    acts = (found.multipliers.path[:, 1, 0] > 1e-4 * found.multipliers.path.max()).sum()
    assert len(state.patches) == int(acts) > 0
    with pytest.raises(ValueError, match="instance must be below 2, but got 2"):
        found.plot(instance=2)
