"""Instances that fail: each by itself, with a status of its own and without a gradient."""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn, Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import (
    InteriorPoint,
    LBFGS,
    load_solution,
    Method,
    save_solution,
    Solution,
    solve,
    SuccessiveApproximation,
)


BOTH = pytest.mark.parametrize("compile", [None, False])
WORDS = "The gradient through what did not converge is NaN: "


class Pull(Problem):
    """`x' = a u`, `|u| <= 3`, `int u^2 + (x(1) - target)^2` in exactly 4 Euler steps.

    Where no bound is met `u = a d / (1 + a^2)` for the distance `d = target - x0`, and the cost
    `d^2 / (1 + a^2)`.
    """

    state_shape, control_shape, control_bounds = (1,), (1,), (-3.0, 3.0)

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.0))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.a[..., None] * u if self.a.dim() else self.a * u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        goal = 1.0 if target is None else target[..., 0]
        return (x[..., 0] - goal) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Reach(Pull):
    """The same with `x(1) = 2` to be met: from below -1 it cannot be."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 2


X0 = torch.tensor([[0.0], [math.nan], [2.5], [math.inf], [-1.0]], dtype=torch.float64)
GOOD = [0, 2, 4]

METHODS: dict[str, Callable[[], Method]] = {
    "interior point": InteriorPoint,
    "lbfgs": LBFGS,
    "successive approximation": SuccessiveApproximation,
}


def same(found: Solution, at: list[int], alone: Solution) -> None:
    """Some instances of a batch are, bit by bit, what they are in a batch of their own."""
    assert [found.statuses[i] for i in at] == list(alone.statuses)
    assert [found.reasons[i] for i in at] == list(alone.reasons)
    for name in ("cost", "violation", "iterations", "final_time"):
        assert torch.equal(getattr(found, name)[at], getattr(alone, name)), name
    for name in ("x", "u", "costates", "hamiltonian"):
        assert torch.equal(getattr(found, name)[:, at], getattr(alone, name)), name
    for one, other in zip(found.optimality, alone.optimality, strict=True):
        assert torch.equal(one[at], other)


@BOTH
@pytest.mark.parametrize("name", METHODS)
def test_instances_that_are_not_finite_do_not_touch_the_others(
    name: str, compile: bool | None
) -> None:
    problem, method = Pull().requires_grad_(False), METHODS[name]()
    found = solve(problem.batch(X0), solver=Euler(4), method=method, compile=compile)
    alone = solve(problem.batch(X0[GOOD]), solver=Euler(4), method=method, compile=compile)
    same(found, GOOD, alone)
    torch.testing.assert_close(found.cost[GOOD], (1 - X0[GOOD, 0]) ** 2 / 2, rtol=1e-5, atol=1e-8)
    assert [found.statuses[i] for i in (1, 3)] == ["invalid"] * 2
    assert [found.reasons[i] for i in (1, 3)] == ["x0[0] is nan", "x0[0] is inf"]
    assert found.iterations[[1, 3]].tolist() == [0, 0]
    for value in (found.cost, found.violation, found.x[1], found.u[0], found.costates[0]):
        assert value[[1, 3]].isnan().all() and value[GOOD].isfinite().all()
    for value in found.optimality:
        assert value[[1, 3]].isnan().all() and value[GOOD].isfinite().all()


@BOTH
def test_parameters_that_are_not_finite(compile: bool | None) -> None:
    problem, x0 = Pull().requires_grad_(False), torch.zeros(2, 2, 1)
    a = torch.tensor([[1.0, 2.0], [-math.inf, 0.5]])
    found = solve(problem.batch(x0, a=a), solver=Euler(4), compile=compile)
    assert found.statuses == ("converged", "converged", "invalid", "converged")
    assert found.reasons[2] == "a is -inf"
    right = 1 / (1 + a**2)
    right[1, 0] = math.nan
    torch.testing.assert_close(found.cost, right, equal_nan=True)
    found = solve(problem.batch(x0, a=torch.tensor(math.nan)), solver=Euler(4), compile=compile)
    assert found.status == "invalid" and found.reason == "a is nan"


@BOTH
def test_a_target_that_is_not_finite_fails_alone(compile: bool | None) -> None:
    """A cost may leave such entries out, so that it is the cost that tells."""
    problem, x0 = Pull().requires_grad_(False), torch.zeros(3, 1)
    target = torch.tensor([[1.0], [math.nan], [2.0]])
    found = solve(problem.batch(x0, target), solver=Euler(4), compile=compile)
    assert found.statuses == ("converged", "diverged", "converged")
    torch.testing.assert_close(found.cost[[0, 2]], torch.tensor([0.5, 2.0]))


@BOTH
def test_the_only_instance_is_not_finite(compile: bool | None) -> None:
    found = solve(Pull().batch(torch.tensor([math.nan])), solver=Euler(4), compile=compile)
    assert found.status == "invalid" and found.reason == "x0[0] is nan"
    assert found.cost.isnan() and found.cost.shape == ()
    assert solve(Pull().batch(X0[[1, 3]]), solver=Euler(4), compile=compile).status == "invalid"


@BOTH
@pytest.mark.parametrize("name", ["x", "u", "costates", "multipliers"])
def test_a_start_that_is_not_finite_is_not_used(name: str, compile: bool | None) -> None:
    """The instance starts cold and says so; the others start warm."""
    problem = Reach().requires_grad_(False)
    batch = problem.batch(torch.tensor([[0.0], [0.5], [1.0]]))
    start = solve(batch, solver=Euler(4), compile=compile)
    broken = {
        "x": lambda: start.trajectory.states[2][1].fill_(math.nan),
        "u": lambda: start.control.path[1, 1].fill_(math.inf),
        "costates": lambda: start.costates[2, 1].fill_(math.nan),
        "multipliers": lambda: start.multipliers.terminal[1].fill_(math.nan),
    }
    whole = solve(batch, solver=Euler(4), start=start, compile=compile)
    broken[name]()
    found = solve(batch, solver=Euler(4), start=start, compile=compile)
    cold = solve(batch, solver=Euler(4), compile=compile)
    assert found.status == "converged"
    assert re.search("; started cold, as the .* of the start are not finite$", found.reasons[1])
    assert found.iterations.tolist() == [
        whole.iterations[0],
        cold.iterations[1],
        whole.iterations[2],
    ]
    assert torch.equal(found.cost[1], cold.cost[1])
    assert torch.equal(found.cost[[0, 2]], whole.cost[[0, 2]])
    assert found.reasons[0] == whole.reasons[0]


@BOTH
def test_a_start_of_an_invalid_instance(compile: bool | None) -> None:
    problem = Pull().requires_grad_(False)
    start = solve(problem.batch(X0), solver=Euler(4), compile=compile)
    x0 = X0.nan_to_num(0.5, 0.5)
    found = solve(problem.batch(x0), solver=Euler(4), start=start, compile=compile)
    assert found.status == "converged"
    assert ["started cold" in reason for reason in found.reasons] == [
        False,
        True,
        False,
        True,
        False,
    ]
    torch.testing.assert_close(found.cost, (1 - x0[:, 0]) ** 2 / 2)


def failing(compile: bool | None, problem: Problem, **settings: str) -> tuple[Solution, Tensor]:
    """One instance that converges, one that cannot and one that is invalid."""
    x0 = torch.tensor([[0.5], [-4.0], [math.nan]], requires_grad=True)
    found = solve(problem.batch(x0), solver=Euler(4), compile=compile, **settings)  # pyright: ignore
    assert found.statuses == ("converged", "infeasible", "invalid")
    return found, x0


@BOTH
def test_the_gradient_through_what_failed_is_nan(compile: bool | None) -> None:
    """Whichever number of it is asked for."""
    problem = Reach()
    found, x0 = failing(compile, problem)
    for i, word in ((1, "infeasible"), (2, "invalid")):
        for value in (found.cost[i], found.x[-1, i], found.x[:, i], found.u[:, i],
                      found.costates[:, i]):  # fmt: skip
            with pytest.warns(RuntimeWarning, match=f"^{WORDS}instance {i} is {word}: "):
                slope, by_a = torch.autograd.grad(value.sum(), (x0, problem.a), retain_graph=True)
            assert slope[i].isnan().all() and by_a.isnan()
            assert torch.equal(slope[[0, 3 - i]], torch.zeros(2, 1))


@BOTH
def test_the_gradient_through_the_others_is_right(compile: bool | None) -> None:
    problem = Reach()
    found, x0 = failing(compile, problem)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope, by_a = torch.autograd.grad(found.cost[found.converged].sum(), (x0, problem.a))
    torch.testing.assert_close(slope, torch.tensor([[-3.0], [0.0], [0.0]]))
    torch.testing.assert_close(by_a, torch.tensor(-4.5))
    found, x0 = failing(compile, problem)
    with pytest.warns(RuntimeWarning, match="instance 1 is infeasible: .* So are 1 more"):
        slope, by_a = torch.autograd.grad(found.cost.sum(), (x0, problem.a))
    torch.testing.assert_close(slope[0], torch.tensor([-3.0]))
    assert slope[1:].isnan().all() and by_a.isnan()


@BOTH
def test_the_gradient_through_what_failed_is_an_error_on_request(compile: bool | None) -> None:
    found, x0 = failing(compile, Reach(), gradient_of_failed="raise")
    with pytest.raises(RuntimeError, match="no gradient .* instance 1 is infeasible: "):
        found.cost.sum().backward()
    found, x0 = failing(compile, Reach(), gradient_of_failed="raise")
    found.cost[0].backward()
    assert x0.grad is not None and torch.isfinite(x0.grad).all()
    with pytest.raises(ValueError, match="gradient_of_failed must be .*'zero'"):
        solve(Reach(), solver=Euler(4), gradient_of_failed="zero")  # pyright: ignore


@BOTH
def test_what_was_cut_short_has_no_gradient(compile: bool | None) -> None:
    """Not at an optimum, the implicit function theorem says nothing."""
    x0 = torch.tensor([0.5], requires_grad=True)
    method = InteriorPoint(max_iterations=1)
    found = solve(Reach().batch(x0), solver=Euler(4), method=method, compile=compile)
    with pytest.warns(RuntimeWarning, match="instance 0 is exhausted"):
        found.cost.backward()
    assert x0.grad is not None and x0.grad.isnan().all()


def test_a_saved_solution_keeps_its_invalid_instances(tmp_path: str) -> None:
    found = solve(Pull().requires_grad_(False).batch(X0), solver=Euler(4))
    save_solution(found, f"{tmp_path}/found.safetensors")
    again = load_solution(f"{tmp_path}/found.safetensors", Pull())
    assert (again.statuses, again.backend) == (found.statuses, found.backend)
    torch.testing.assert_close(again.cost, found.cost, equal_nan=True)
    assert replace(again, cost=found.cost).converged.tolist() == [True, False, True, False, True]
