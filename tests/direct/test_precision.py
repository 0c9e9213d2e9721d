"""`solve` computes in double precision, whatever the precision of what it is given and of torch."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn, Tensor

from ocnet import certify, Euler, load_solution, Problem, refine, Sample, save_solution, solve
from ocnet.testing import check_problem
from problems.linear_quadratic import ScalarLQR


class Learned(Problem):
    """A pendulum's dynamics as a small network, with tensors of every kind around it."""

    state_shape, control_shape, t1 = (2,), (1,), 1.0
    control_bounds = (torch.tensor([-2.0]), torch.tensor([2.0]))

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.net = nn.Linear(2, 2, bias=False).requires_grad_(False)
        self.net.weight.copy_(torch.randn(2, 2, generator=generator, dtype=torch.float64))
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("Q", torch.diag(torch.tensor([3.0, 1.0])))
        self.goals = {"end": torch.tensor([1.0, 0.0])}

    Q: Tensor

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.net(x).tanh() + self.gain * u @ torch.eye(2)[1:]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x @ self.Q) * x).sum(-1) + (u**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return ((x - self.goals["end"]) ** 2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.5, -0.25]).expand(batch_size, 2))


@pytest.fixture
def single() -> Iterator[None]:
    torch.set_default_dtype(torch.float32)
    yield
    assert torch.get_default_dtype() == torch.float32
    torch.set_default_dtype(torch.float64)


def in_double() -> Tensor:
    """The optimal cost where everything is in double precision from the start."""
    torch.set_default_dtype(torch.float64)
    problem = Learned().double()
    # What was rounded to single precision once stays so.
    problem.net.weight.copy_(problem.net.weight.float())
    cost = solve(problem, solver=Euler(10)).cost.detach()
    torch.set_default_dtype(torch.float32)
    return cost


@pytest.mark.parametrize("compile", [None, False])
def test_double_is_the_default(single: None, compile: bool | None) -> None:
    found = solve(Learned(), solver=Euler(10), compile=compile)
    assert found.status == "converged" and "1e-09" in found.reason
    for value in (found.cost, found.u, found.x, found.costates, found.multipliers.upper):
        assert value.dtype == torch.float64
    torch.testing.assert_close(found.cost.detach(), in_double(), rtol=1e-12, atol=0)


def test_the_problem_is_left_as_it_was(single: None) -> None:
    problem = Learned()
    found = solve(problem, solver=Euler(4))
    tensors = [*problem.parameters(), problem.Q, problem.goals["end"]]
    assert all(value.dtype == torch.float32 for value in tensors)
    assert found.batch.problem is not problem and found.batch.x0.dtype == torch.float64
    double = problem.double()
    double.goals = {"end": double.goals["end"].double()}
    kept = solve(double.batch(torch.zeros(2, dtype=torch.float64)), solver=Euler(4))
    assert kept.batch.problem is double


def test_another_precision_on_request(single: None) -> None:
    assert solve(Learned(), solver=Euler(4), dtype=None).u.dtype == torch.float32
    x0 = torch.zeros(2, dtype=torch.float64)
    assert solve(Learned().batch(x0), solver=Euler(4), dtype=torch.float32).u.dtype == torch.float32
    for wrong in (torch.float16, "float64", torch.int64):
        with pytest.raises(TypeError, match="^dtype must be torch.float64, torch.float32 or None"):
            solve(Learned(), solver=Euler(4), dtype=wrong)  # pyright: ignore[reportArgumentType]


def test_gradients_flow_to_what_was_given(single: None) -> None:
    problem = Learned()
    x0 = torch.tensor([[0.5, -0.25], [0.1, 0.3]], requires_grad=True)
    found = solve(problem.batch(x0), solver=Euler(10))
    found.cost.sum().backward()
    assert x0.grad is not None and x0.grad.dtype == torch.float32
    torch.testing.assert_close(x0.grad, found.costates[0].detach().float(), rtol=1e-6, atol=1e-7)
    assert problem.gain.grad is not None and problem.gain.grad.dtype == torch.float32
    with torch.no_grad():
        costs = []
        for e in (1e-3, -1e-3):
            moved = Learned().requires_grad_(False)
            moved.gain.add_(e)
            costs.append(solve(moved.batch(x0), solver=Euler(10)).cost.sum())
    slope = float(costs[0] - costs[1]) / 2e-3
    assert float(problem.gain.grad) == pytest.approx(slope, rel=1e-3)


def test_what_is_done_with_a_solution_is_in_double_too(single: None, tmp_path: Path) -> None:
    problem = Learned()
    found = solve(problem, solver=Euler(4))
    assert certify(found).verdict and refine(found).u.dtype == torch.float64
    save_solution(found, tmp_path / "found.safetensors")
    again = load_solution(tmp_path / "found.safetensors", problem)
    warm = solve(again.batch, solver=Euler(4), start=again)
    assert warm.status == "converged" and warm.u.dtype == torch.float64
    torch.testing.assert_close(warm.cost, found.cost)
    check_problem(ScalarLQR(), n_steps=20)


def test_a_failure_restores_the_default_and_names_the_way_out(single: None) -> None:
    outside = torch.ones(2, 2)

    class Captured(Learned):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x @ outside + u

    with pytest.raises(ValueError, match=r"dynamics .*dtype=None"):
        solve(Captured(), solver=Euler(4))
    assert solve(Captured(), solver=Euler(4), dtype=None).status == "converged"

    class Stubborn(Learned):
        def __deepcopy__(self, memo: object) -> Problem:
            raise RuntimeError("one of a kind")

    with pytest.raises(TypeError, match=r"Stubborn cannot be copied .*one of a kind.*dtype=None"):
        solve(Stubborn(), solver=Euler(4))
