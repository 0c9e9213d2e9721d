"""A converged answer that is not that of the problem as it is gets the status "inconsistent"."""

import re
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn, Tensor

from ocnet import Control, Euler, Problem, RK4, Sample
from ocnet.direct import Solution, solve
from ocnet.direct.compiled import build, Formulas, kernel_of


compiles = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")
CHANGED = {"limit": 10.0, "wind": 0.0, "goal": 2.0, "cap": 100.0, "floor": 0.0}
"""What the problems below read when they are called."""


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a test changes is put back after it."""
    for name, value in CHANGED.items():
        monkeypatch.setitem(CHANGED, name, value)


class Driven(Problem):
    """`x' = u + wind` from 0, `int u^2 + 100 relu(x - limit)^2 dt + 10 (x(1) - goal)^2`."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + CHANGED["wind"]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2 + 100 * (x - CHANGED["limit"]).relu() ** 2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 10 * ((x - CHANGED["goal"]) ** 2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u - CHANGED["cap"]

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return CHANGED["floor"] - x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1, dtype=torch.float64))


class Pinned(Driven):
    """The end is given."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - CHANGED["goal"]

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.new_zeros(x.shape[:-1])


class Closing(Driven):
    """A path constraint of two rows, of which `x <= cap` holds from t=.97 on: at the last node."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.cat([u - 200, torch.where(t > 0.97, x - CHANGED["cap"], x - 300)], -1)


class ClosingLate(Closing):
    """The same with a final time that is free to be 1 at most, and no other row at the end."""

    final_time_bounds = (0.5, 1.0)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t > 0.97, x - CHANGED["cap"], x - 300)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :0]


def stale(monkeypatch: pytest.MonkeyPatch, problem: Problem, **changes: float) -> Solution:
    """A solution by a kernel that was made before the changes: the fault that is planted."""
    monkeypatch.setattr(Formulas, "key", lambda self: ("stale",))
    monkeypatch.setattr(sys.modules[kernel_of.__module__], "known", OrderedDict())
    assert solve(problem, solver=Euler(20), compile=True).status == "converged"
    CHANGED.update(changes)
    return solve(problem, solver=Euler(20), compile=True)


@compiles
@pytest.mark.parametrize(
    ("problem", "changes", "reason"),
    [
        (Driven, {"limit": 0.5}, r"stage_cost differs at step \d+, t=0\.\d+"),
        (Driven, {"wind": 0.1}, r"dynamics differs at step 0, t=0:"),
        (Driven, {"cap": 0.5}, r"path_constraint differs at step 0, t=0: "),
        (Closing, {"cap": 1.0}, r"path_constraint\[1\] differs at step 20, t=1: "),
        (ClosingLate, {"cap": 1.0}, r"path_constraint\[0\] differs at step 20, t=1: "),
        (Closing, {"floor": 0.3}, r"terminal_inequality\[0\] differs at step 20, t=1: "),
        (Driven, {"goal": 1.0}, r"terminal_cost differs at step 20, t=1: "),
        (Driven, {"floor": 0.3}, r"terminal_inequality differs at step 20, t=1: "),
        (Pinned, {"goal": 1.9}, r"terminal_constraint differs at step 20, t=1: "),
    ],
)
def test_a_stale_kernel_is_found_out_and_the_function_named(
    problem: type[Problem], changes: dict, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = stale(monkeypatch, problem(), **changes)
    assert found.status == "inconsistent" and not found.converged
    assert re.match(reason, found.reason), found.reason


@compiles
def test_only_the_instances_that_are_wrong_are_inconsistent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = Driven().batch(torch.tensor([[0.0], [-3.0]], dtype=torch.float64))
    monkeypatch.setattr(Formulas, "key", lambda self: ("stale",))
    monkeypatch.setattr(sys.modules[kernel_of.__module__], "known", OrderedDict())
    assert solve(batch, solver=Euler(20), compile=True).status == "converged"
    CHANGED["limit"] = 1.5
    found = solve(batch, solver=Euler(20), compile=True)
    assert found.statuses == ("inconsistent", "converged")
    assert found.reason.startswith("stage_cost")


class Tariff(Problem):
    """24 units in 24 hours, `min int p(t) u^2 dt` with `p = 5` from 17 to 20."""

    t1 = 24.0
    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.where((t > 16.5) & (t < 19.5), 5.0, 1.0) * (u**2).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 24

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1, dtype=torch.float64))


class Storm(Tariff):
    """A wind from 5 on."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + torch.where(t > 4.5, 1.0, 0.0)


class Sunset(Tariff):
    """A limit that falls at noon."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u - torch.where(t > 11.5, 50.0, 100.0)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (Tariff, "stage_cost differs at step 17, t=17: 1 in the answer, but 5 where"),
        (Storm, "dynamics differs at step 5, t=5: "),
        (Sunset, "path_constraint differs at step 12, t=12: "),
    ],
)
def test_a_time_that_is_frozen_by_torch_is_found_out(
    problem: type[Problem], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Formulas, "read_time", lambda self: False)
    found = solve(problem(), solver=Euler(24), compile=False)
    assert found.status == "inconsistent"
    assert found.reason.startswith(reason), found.reason


class Moody(Driven):
    """A cost that changes while the problem is solved."""

    mood = 1.0

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        self.mood = 2.0
        return super().initial_control(n, generator)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return self.mood * (u**2).sum(-1)


@compiles
def test_a_function_that_changes_meanwhile_is_found_out() -> None:
    found = solve(Moody(), solver=Euler(20), compile=True)
    assert found.status == "inconsistent"
    assert found.reason.startswith("stage_cost differs at step 0")


class Weighted(Driven):
    """Everything that an instance may have of its own: target, parameter, constant, final time."""

    final_time_bounds = (0.5, 3.0)
    static_parameters = {"gain": (0.5, 2.0)}
    weight: Tensor

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("weight", torch.tensor(1.0, dtype=torch.float64))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.gain * u + 0.1 * t.sin() + CHANGED["wind"]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return self.weight * (u**2 + 0.1).sum(-1) + 0.01 * (t + self.gain**2)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return 10 * ((x - target) ** 2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u - CHANGED["cap"] * (1 + t)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=compiles), False])
@pytest.mark.parametrize("solver", [Euler(20), RK4(10)])
def test_instances_with_everything_of_their_own_are_consistent(
    solver: Euler | RK4, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = torch.tensor([[0.0], [0.3], [-0.2]], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    for some in (x0, x0[0]):
        own = weight if some.dim() == 2 else weight[0]
        batch = Weighted().batch(some, 2 + some, weight=own)
        found = solve(batch, solver=solver, compile=compiled)
        assert found.status == "converged", found.reason


@compiles
def test_an_instance_with_everything_of_its_own_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x0 = torch.tensor([[0.0], [0.3], [-0.2]], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    batch = Weighted().batch(x0, 2 + x0, weight=weight)
    monkeypatch.setattr(Formulas, "key", lambda self: ("stale",))
    monkeypatch.setattr(sys.modules[kernel_of.__module__], "known", OrderedDict())
    assert solve(batch, solver=RK4(10), compile=True).status == "converged"
    CHANGED["wind"] = 0.01
    found = solve(batch, solver=RK4(10), compile=True)
    assert found.status == "inconsistent"
    assert found.reason.startswith("dynamics differs at step 0"), found.reason


class Unstable(Problem):
    """`x' = 30 x + u`: a rollout blows a residual of 1e-9 up by e^30."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 30 * x + u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2 + 1e-4 * u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1, dtype=torch.float64))


class Edges(Tariff):
    """A price that jumps at the very times of stages, with steps that rounding makes unequal."""

    t1 = 2.4

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.where((t >= 0.7) & (t < 1.9), 5.0, 1.0) * (u**2).sum(-1)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=compiles), False])
@pytest.mark.parametrize("problem", [Unstable(), Edges()])
@pytest.mark.parametrize("solver", [Euler(24), RK4(24)])
def test_neither_instability_nor_rounding_is_an_inconsistency(
    problem: Problem, solver: Euler | RK4, compiled: bool
) -> None:
    assert solve(problem, solver=solver, compile=compiled).status == "converged"


def test_single_precision_is_consistent() -> None:
    x0 = torch.zeros(2, 1)
    assert solve(Driven().batch(x0), solver=RK4(20)).status == "converged"
    assert solve(Driven().batch(x0), solver=RK4(20), compile=False).status == "converged"


def test_the_times_are_stated() -> None:
    seconds = solve(Driven(), solver=Euler(20)).seconds
    assert all(value > 0 for value in seconds)
