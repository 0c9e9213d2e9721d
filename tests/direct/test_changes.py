"""What a problem reads, wherever it is kept, counts as it is when `solve` is called."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, RK4, Sample
from ocnet.direct import solve
from ocnet.direct.compiled import build, kernel


compiles = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")
BACKENDS = [pytest.param(None, marks=compiles), False]
"""Machine code where the problem can be compiled, and torch."""


class Limited(Problem):
    """`x' = u` from 0, cost `int u^2 + 100 relu(x - limit)^2 dt + 10 (x(1) - 2)^2`."""

    state_shape = (1,)
    control_shape = (1,)

    def __init__(self, limit: Callable[[], Any]):
        super().__init__()
        self.limit = limit

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        over = (x - self.limit()).relu()
        return (u**2 + 100 * over**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 10 * ((x - 2) ** 2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1, dtype=torch.float64))


FAR, NEAR = 40 / 11, 10.2585
"""The least cost with the limit 10, which is not reached, and with the limit 1/2."""

LIMIT = 10.0
SPACE = SimpleNamespace(limit=10.0, inner=SimpleNamespace(limit=10.0))
ENTRIES = {"limit": 10.0}
ARRAY = np.array([0.0, 10.0])
TENSOR = torch.tensor([0.0, 10.0], dtype=torch.float64)
HELD = [lambda: 10.0]


class Settings:
    limit = 10.0


def of_default(limit: list[float] = [10.0]) -> float:  # noqa: B006
    return limit[0]


def set_global() -> None:
    globals()["LIMIT"] = 0.5


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], object]]] = {
    "global": (lambda: LIMIT, set_global),
    "namespace": (lambda: SPACE.limit, lambda: setattr(SPACE, "limit", 0.5)),
    "inner": (lambda: SPACE.inner.limit, lambda: setattr(SPACE.inner, "limit", 0.5)),
    "dictionary": (lambda: ENTRIES["limit"], lambda: ENTRIES.update(limit=0.5)),
    "array": (lambda: ARRAY[1], lambda: ARRAY.__setitem__(1, 0.5)),
    "tensor": (lambda: TENSOR[1], lambda: TENSOR.data.__setitem__(1, 0.5)),
    "function": (lambda: HELD[0](), lambda: HELD.__setitem__(0, lambda: 0.5)),
    "class": (lambda: Settings.limit, lambda: setattr(Settings, "limit", 0.5)),
    "default": (of_default, lambda: of_default.__defaults__[0].__setitem__(0, 0.5)),  # pyright: ignore
}


@pytest.mark.parametrize("compiled", BACKENDS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_outside_the_problem_is_seen(
    name: str, compiled: bool | None, restored: None
) -> None:
    limit, change = CHANGES[name]
    problem = Limited(limit)
    before = solve(problem, solver=Euler(20), compile=compiled)
    change()
    after = solve(problem, solver=Euler(20), compile=compiled)
    assert before.status == after.status == "converged"
    assert float(before.cost) == pytest.approx(FAR, abs=1e-6)
    assert float(after.cost) == pytest.approx(NEAR, abs=1e-4)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a test changes is put back after it."""
    globals()["LIMIT"] = SPACE.limit = SPACE.inner.limit = Settings.limit = ENTRIES["limit"] = 10.0
    ARRAY[1] = TENSOR[1] = of_default.__defaults__[0][0] = 10.0  # pyright: ignore
    HELD[0] = lambda: 10.0


class Held(Limited):
    """What it reads is its own, but neither a parameter nor a buffer."""

    def __init__(self):
        super().__init__(lambda: self.table["limits"][1])
        self.table = {"limits": np.array([0.0, 10.0])}


class Method(Limited):
    """A penalty that another function may replace."""

    def __init__(self):
        super().__init__(lambda: 10.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1) + penalty(x)


def penalty(x: Tensor, limit: float = 10.0) -> Tensor:
    return 100 * ((x - limit).relu() ** 2).sum(-1)


@pytest.mark.parametrize("compiled", BACKENDS)
def test_an_entry_of_an_own_array_and_a_patched_function_are_seen(
    compiled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, method = Held(), Method()
    costs = [float(solve(p, solver=Euler(20), compile=compiled).cost) for p in (held, method)]
    assert costs == pytest.approx([FAR, FAR], abs=1e-6)
    held.table["limits"][1] = 0.5
    near = lambda x: 100 * ((x - 0.5).relu() ** 2).sum(-1)
    monkeypatch.setitem(Method.stage_cost.__globals__, "penalty", near)
    costs = [float(solve(p, solver=Euler(20), compile=compiled).cost) for p in (held, method)]
    assert costs == pytest.approx([NEAR, NEAR], abs=1e-4)


FACTOR: Any = np.int64(3)


class Counted(Limited):
    """A formula with a number of numpy's, `int 3 u^2 + 10 (x(1) - 2)^2`: 120/13."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2 * FACTOR).sum(-1)


class Flagged(Limited):
    """A target of integers, and a cost that is another one without a target."""

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 10 * ((x - (0 if target is None else target)) ** 2).sum(-1)


@pytest.mark.parametrize("compiled", BACKENDS)
def test_integers_are_what_they_are(compiled: bool | None) -> None:
    found = solve(Counted(lambda: 10.0), solver=Euler(20), compile=compiled)
    assert float(found.cost) == pytest.approx(120 / 13)
    batch = Flagged(lambda: 10.0).batch(torch.zeros(1, dtype=torch.float64), torch.tensor([2]))
    found = solve(batch, solver=Euler(20), compile=compiled)
    assert float(found.cost) == pytest.approx(FAR)


@compiles
def test_derivatives_are_traced_once_for_the_same_formulas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = solve(Limited(lambda: 7.0), solver=Euler(20), compile=True)
    monkeypatch.setattr(kernel, "written", lambda *args: pytest.fail("differentiated again"))
    again = solve(Limited(lambda: 7.0), solver=Euler(20), compile=True)
    assert torch.equal(first.cost, again.cost)


@compiles
def test_a_step_of_four_stages_is_written_down_by_one_call() -> None:
    calls = []

    class Counting(Limited):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            calls.append(type(x) is not Tensor)
            return super().dynamics(t, x, u)

    problem = Counting(lambda: 7.0)
    for _ in range(2):
        calls.clear()
        assert solve(problem, solver=RK4(5), compile=True).status == "converged"
        # With symbols it is called for the formulas, and for what they read where there are rows.
        assert 1 <= sum(calls) <= 2
