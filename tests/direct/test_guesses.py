"""What `solve` can start from: controls, states, functions of time, on other grids too."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ocnet import Euler, PiecewiseConstant, PiecewiseLinear, Problem, RK4, Sample, solve
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.guess import guessed
from ocnet.direct.transcription.transcription import Transcription
from problems.constrained import PendulumSwingUp
from problems.free_time import MinTime


N, T = 60, PendulumSwingUp.t1


def control_of(values: Tensor, t1: float) -> PiecewiseConstant:
    control = PiecewiseConstant(0.0, t1, len(values), values.shape[1:], dtype=values.dtype)
    with torch.no_grad():
        control.path.copy_(values)
    return control


@pytest.fixture(scope="module")
def swings() -> tuple[float, float]:
    """The two optima that `PendulumSwingUp` knows: by way of its own straight line, and without."""
    straight, other = (solve(PendulumSwingUp(way), solver=RK4(N)) for way in (True, False))
    assert straight.status == other.status == "converged"
    assert float(straight.cost) == pytest.approx(27.19, rel=1e-2)
    assert float(other.cost) == pytest.approx(19.40, rel=1e-2)
    return float(straight.cost), float(other.cost)


def line(t: Tensor | float) -> list[float]:
    """The straight line from hanging to standing as a function of time."""
    return [math.pi / T * float(t), math.pi / T]


STATES: dict[str, Any] = {
    "two nodes": torch.tensor([line(0.0), line(T)], dtype=torch.float64),
    "another grid": torch.tensor([line(T * k / 17) for k in range(18)], dtype=torch.float64),
    "single precision": torch.tensor([line(0.0), line(T)], dtype=torch.float32),
    "function": line,
}


@pytest.mark.parametrize(("name", "compile"), [*((n, None) for n in STATES), ("function", False)])
def test_states_lead_to_the_optimum_near_them(
    swings: tuple[float, float], name: str, compile: bool | None
) -> None:
    found = solve(PendulumSwingUp(), solver=RK4(N), start=STATES[name], compile=compile)
    assert found.status == "converged", found.reason
    assert float(found.cost) == pytest.approx(swings[0], rel=1e-8)


def test_each_instance_has_its_own_guess(swings: tuple[float, float]) -> None:
    straight = STATES["two nodes"]
    other = solve(PendulumSwingUp(), solver=RK4(N)).x[::4]
    grid = torch.linspace(0, 1, len(other))[:, None]
    both = torch.stack([torch.lerp(straight[0], straight[1], grid), other], 1)
    found = solve(PendulumSwingUp().batch(torch.zeros(2, 2)), solver=RK4(N), start=both)
    assert found.status == "converged"
    torch.testing.assert_close(found.cost, torch.tensor(swings), rtol=1e-8, atol=0)
    one = solve(PendulumSwingUp().batch(torch.zeros(2, 2)), solver=RK4(N), start=straight)
    torch.testing.assert_close(one.cost, torch.tensor([swings[0]] * 2), rtol=1e-8, atol=0)


def test_a_control_of_another_grid_saves_iterations() -> None:
    cold = solve(PendulumSwingUp(), solver=RK4(N))
    coarse = control_of(cold.u.detach()[::2], T)
    found = solve(PendulumSwingUp(), solver=RK4(N), start=coarse)
    torch.testing.assert_close(found.cost, cold.cost, rtol=1e-8, atol=0)
    both = solve(PendulumSwingUp(), solver=RK4(N), start=(cold.x[::3].detach(), coarse))
    torch.testing.assert_close(both.cost, cold.cost, rtol=1e-8, atol=0)
    assert int(both.iterations) < int(cold.iterations)


class Still(Problem):
    """`x' = u`, `int u^2`."""

    state_shape, control_shape = (2,), (2,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 2))


def test_a_guess_stretches_with_a_free_final_time() -> None:
    cold = solve(MinTime(), solver=Euler(20))
    longer = control_of(cold.u.detach(), 2 * float(cold.final_time))
    found = solve(MinTime(), solver=Euler(20), start=longer)
    torch.testing.assert_close(found.final_time, cold.final_time, rtol=1e-7, atol=0)


def test_states_are_interpolated_as_numpy_does() -> None:
    nlp = Transcription(Still().batch(torch.ones(3, 2)), Euler(7), Autograd())
    states = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    found = guessed(nlp, states).states
    assert found is not None
    at, nodes = np.linspace(0, 1, 8), np.linspace(0, 1, 5)
    for i in range(3):
        for j in range(2):
            expected = np.interp(at, nodes, states[:, i, j].numpy())
            np.testing.assert_allclose(found[:, i, j].numpy(), expected, rtol=1e-12)
    by_function = guessed(nlp, lambda t: torch.stack([t, 2 * t])).states
    assert by_function is not None
    np.testing.assert_allclose(by_function[:, 0, 1].numpy(), 2 * at, rtol=1e-12)


def nothing(t: Tensor) -> Tensor:
    raise RuntimeError("no idea")


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "number": (3.0, TypeError, "start must be a Solution, a Control, states .*but got 3.0"),
    "one node": (torch.ones(1, 2), ValueError, r"two times at least, but has shape \(1, 2\)"),
    "shape": (torch.ones(5, 3), ValueError, r"must have shape \(2,\) .*but got \(3,\)"),
    "batch": (torch.ones(5, 4, 2), ValueError, r"shape \(2,\) or \(3, 2\) .*got \(4, 2\)"),
    "integers": (torch.ones(5, 2, dtype=torch.int64), TypeError, "floating .*torch.int64"),
    "nan": (torch.full((5, 2), torch.nan), ValueError, "must be finite, but at node 0 it is .nan"),
    "function": (nothing, ValueError, "start fails as a function of time: no idea"),
    "function's shape": (lambda t: [0.0], ValueError, r"start\(t\) must have shape \(2,\)"),
    "function's inf": (lambda t: [0.0, 1 / (1 - t)], ValueError, "at node 4 it is .0.0, inf"),
    "horizon": (
        PiecewiseLinear(0.0, 2.0, 4, (2,)), ValueError, r"live on \[0, 1\], .*on \[0, 2\]",
    ),
    "control's shape": (
        PiecewiseConstant(0.0, 1.0, 4, (3,)), ValueError, r"control must have .*\(2,\).*\(3,\)",
    ),
    "pair": ((torch.ones(5, 2), 1.0), TypeError, "start's control must be open-loop, but got 1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_guess_is_told_in_one_line(name: str) -> None:
    start, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        solve(Still().batch(torch.ones(3, 2)), solver=Euler(4), start=start)
    assert "\n" not in str(caught.value)
