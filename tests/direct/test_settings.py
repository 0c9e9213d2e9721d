"""Settings of the methods of `solve`: what is refused, and what `max_iterations` counts."""

import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import Batch, Euler, Problem, RK4, Sample
from ocnet.direct import Adam, InteriorPoint, LBFGS, Method, solve, SuccessiveApproximation
from problems.constrained import BoundedVanDerPol
from problems.free_time import Brachistochrone
from problems.linear_quadratic import ScalarLQR


BOTH = pytest.mark.parametrize("compile", [None, False])

METHODS = (InteriorPoint, LBFGS, Adam, SuccessiveApproximation)

WRONG = {
    "max_iterations": (-5, 0, 10**11, 2**62, 2**64, 2.5, True, "9", None, math.nan),
    "tolerance": (math.inf, math.nan, -1e-6, 0.0, 1.0, 1e-300, "1e-6", True, 1j),
}


def refused(name: str, value: object) -> AbstractContextManager:
    """One line that names a setting and its value."""
    line = f"^{name} must [^\n]*{re.escape(repr(value))}[^\n]*$"
    return pytest.raises((TypeError, ValueError), match=line)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("method", METHODS)
def test_what_every_method_refuses(method: Callable[..., Method], name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(
            (TypeError, ValueError), match=f"{name} must .*{re.escape(repr(value))}"
        ):
            method(**{name: value})


@pytest.mark.parametrize(
    "method, name, values",
    [
        (LBFGS, "steps_per_round", (0, -1, 1.5, 10**9)),
        (Adam, "steps_per_round", (0, 10**9)),
        (Adam, "lr", (0.0, -0.1, math.inf, math.nan, "fast")),
        (SuccessiveApproximation, "rho", (0.0, -1.0, math.inf, math.nan)),
        (SuccessiveApproximation, "inner", (0, -3, 10**9)),
        (SuccessiveApproximation, "memory", (-1, 2.0, 10**9)),
        (InteriorPoint, "sweep", ("parallel", None)),
    ],
)
def test_what_one_method_refuses(
    method: Callable[..., Method], name: str, values: tuple[object, ...]
) -> None:
    for value in values:
        with pytest.raises(
            (TypeError, ValueError), match=f"{name} must .*{re.escape(repr(value))}"
        ):
            method(**{name: value})


def test_integers_of_numpy_are_integers() -> None:
    numpy = pytest.importorskip("numpy")
    method = InteriorPoint(max_iterations=numpy.int64(40), tolerance=numpy.float64(1e-8))
    assert solve(ScalarLQR(), solver=Euler(8), method=method).status == "converged"


@pytest.mark.parametrize("n", [0, -4, 2.5, True])
def test_numbers_of_steps(n: int) -> None:
    with pytest.raises((TypeError, ValueError), match=f"n.*{n}"):
        RK4(n)


@BOTH
def test_more_steps_than_there_can_be_memory_for(compile: bool | None) -> None:
    for n in (10**7, 2**46, 2**63, 10**30):
        with pytest.raises(ValueError, match=f"n must be from 1 to 1000000, but got {n}"):
            solve(ScalarLQR(), solver=Euler(n), compile=compile)


class Unreachable(Problem):
    """`x' = u` cannot come from 0 to 3 in one unit of time with `|u| <= 1`."""

    state_shape, control_shape, control_bounds = (1,), (1,), (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 3

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Saddle(Unreachable):
    """`int (x^2 - 30 u^2 + u^4)`: `u = 0` is stationary and is not a minimum."""

    control_bounds = (-5.0, 5.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2 - 30 * u**2 + u**4).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :0]


class Late(Unreachable):
    """The same with a final time that is free, but not free enough."""

    final_time_bounds = (0.5, 2.0)


@BOTH
@pytest.mark.parametrize("problem", [Unreachable, Saddle, Late, BoundedVanDerPol, Brachistochrone])
def test_max_iterations_is_that_of_the_whole_answer(
    problem: Callable[[], Problem], compile: bool | None
) -> None:
    """Penalised problems, longer horizons and steps off a saddle included."""
    free = solve(problem(), solver=Euler(6), compile=compile)
    for most in (1, 7, 30):
        method = InteriorPoint(max_iterations=most)
        found = solve(problem(), solver=Euler(6), method=method, compile=compile)
        assert int(found.iterations) <= most
        if int(free.iterations) > most:
            assert found.status in ("exhausted", "saddle")
        else:
            assert (found.status, found.iterations) == (free.status, free.iterations)


@BOTH
def test_each_instance_has_iterations_of_its_own(compile: bool | None) -> None:
    """The easy instances of a batch end where they end alone, the hard one at the limit."""
    x0 = torch.tensor([[2.9], [0.0], [2.5]])
    found = solve(
        Unreachable().batch(x0), solver=Euler(8), method=InteriorPoint(max_iterations=25),
        compile=compile,
    )  # fmt: skip
    alone = solve(Unreachable().batch(x0[0]), solver=Euler(8), compile=compile)
    assert found.statuses == ("converged", "exhausted", "converged")
    assert int(found.iterations[1]) == 25
    assert int(found.iterations[0]) == int(alone.iterations) < 25
    torch.testing.assert_close(found.cost[0], alone.cost, rtol=1e-12, atol=0)


@BOTH
def test_what_is_left_for_further_attempts_is_counted_for_each_instance(
    compile: bool | None,
) -> None:
    """Two instances whose first attempts fail after different numbers of iterations."""
    x0 = torch.tensor([[0.0], [-50.0]])
    first = [
        count_attempts(Unreachable().batch(x), InteriorPoint(max_iterations=15))[0] for x in x0
    ]
    assert first[0] != first[1] and max(first) < 15
    most = 17
    found = solve(
        Unreachable().batch(x0), solver=Euler(8), method=InteriorPoint(max_iterations=most),
        compile=compile,
    )  # fmt: skip
    assert found.statuses == ("exhausted", "exhausted")
    assert found.iterations.tolist() == [most, most]


@pytest.mark.parametrize("problem", [Unreachable, Saddle, Late])
def test_the_iterations_are_those_of_all_attempts(problem: Callable[[], Problem]) -> None:
    """Each is a Newton step, whatever problem it is of."""
    method = InteriorPoint(max_iterations=40)
    attempts = count_attempts(problem(), method)
    found = solve(problem(), solver=Euler(8), method=method, compile=False)
    assert len(attempts) > 1 and int(found.iterations) == sum(attempts)


def count_attempts(problem: Problem | Batch, method: InteriorPoint) -> list[int]:
    """The Newton steps of each attempt that solving a single problem takes, in torch."""
    steps: list[int] = []
    iterate, advance = InteriorPoint.iterate, InteriorPoint.advance

    def attempt(*arguments: Any) -> Any:
        steps.append(0)
        return iterate(*arguments)

    def step(*arguments: Any) -> Any:
        steps[-1] += 1
        return advance(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InteriorPoint, "iterate", attempt)
        patch.setattr(InteriorPoint, "advance", step)
        solve(problem, solver=Euler(8), method=method, compile=False)
    return steps


@pytest.mark.parametrize("method", [LBFGS, Adam])
def test_first_order_counts_all_its_rounds(method: type[LBFGS | Adam]) -> None:
    found = solve(
        Unreachable(), solver=Euler(6), method=method(max_iterations=23, steps_per_round=5)
    )
    assert found.status == "exhausted" and 5 < int(found.iterations) <= 23


def test_successive_approximation_counts_the_sweeps_of_each_instance() -> None:
    x0 = torch.tensor([[0.0], [1.0], [100.0]])
    found = solve(ScalarLQR().batch(x0), solver=Euler(20), method=SuccessiveApproximation())
    assert found.status == "converged"
    few = solve(
        ScalarLQR().batch(x0), solver=Euler(20), method=SuccessiveApproximation(max_iterations=1)
    )
    assert few.statuses == ("converged", "exhausted", "exhausted")
    assert few.iterations.tolist() == [0, 1, 1] and int(found.iterations[0]) == 0
