"""One running cost: observed or not, it is the same number in every solver and gradient mode."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Adjoint,
    Backprop,
    Checkpoint,
    ControlEnergy,
    Costate,
    Euler,
    evaluate,
    Heun,
    PiecewiseConstant,
    Problem,
    Reversible,
    RK4,
    Sample,
    solve,
    Solver,
    TorchDiffEq,
)
from ocnet.cost import Node, ObservedStageCost, StageCost
from ocnet.registry import named_solver


SOLVERS = [
    Euler(7),
    Heun(7),
    RK4(7),
    Euler(7, gradient=Checkpoint()),
    RK4(7, gradient=Checkpoint()),
    Euler(7, gradient=Costate()),
    RK4(7, gradient=Costate()),
    Reversible(Euler(7)),
    Reversible(RK4(7)),
    TorchDiffEq("dopri5", rtol=1e-6, atol=1e-8),
    TorchDiffEq("rk4", 7),
    TorchDiffEq("rk4", 7, gradient=Adjoint()),
]

STAGES: dict[type[Solver], int] = {Euler: 1, Heun: 2, RK4: 4}


class Plain(StageCost):
    """`w (1 + t) |x - target|^2`."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7))

    def forward(self, t: Tensor, x: Tensor, u: Any, target: Tensor | None = None) -> Tensor:
        assert target is not None
        return self.w * (1 + t).to(x) * (x - target).square().sum(-1)


class Observed(ObservedStageCost):
    """The same, from the distances that were observed, many nodes at once."""

    def __init__(self, steps_at_once: int | None = None):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7))
        self.steps_at_once = steps_at_once
        self.sizes: list[int] = []

    def observe(self, node: Node, target: Tensor | None) -> Tensor | None:
        return None if target is None else (node.x - target).square().sum(-1)

    def total(self, nodes: Sequence[Node], target: Tensor | None) -> Tensor:
        self.sizes.append(len(nodes))
        weights = torch.stack([(node.weight * (1 + node.t)).to(node.x) for node in nodes])
        return self.w * (weights[:, None] * torch.stack([node.y for node in nodes])).sum(0)


class Spring(Problem):
    state_shape = (2,)
    control_shape = (1,)
    t1 = 2.0

    def __init__(self, cost: StageCost):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(1.3))
        self.stage_cost = cost

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] - self.k * x[..., 0]], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        x0 = torch.randn(batch_size, 2, generator=generator)
        return Sample(x0, torch.ones(batch_size, 2))


def cost_and_gradients(cost: StageCost, solver: Solver) -> list[Tensor]:
    problem = Spring(cost)
    control = PiecewiseConstant(0.0, 2.0, 7, 1)
    with torch.no_grad():
        control.path.copy_(torch.linspace(-1, 1, control.path.numel()).view_as(control.path))
    sample = problem.sample(3, torch.Generator().manual_seed(0))
    found, _ = evaluate(problem, control, solver, sample)
    found.sum().backward()
    weights = [p for p in cost.parameters()]
    return [found.detach(), *(p.grad for p in (control.path, problem.k, *weights))]  # pyright: ignore


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("steps_at_once", [None, 3])
def test_an_observed_cost_is_the_plain_one(solver: Solver, steps_at_once: int | None) -> None:
    cost = Observed(steps_at_once)
    for observed, plain in zip(
        cost_and_gradients(cost, solver), cost_and_gradients(Plain(), solver), strict=True
    ):
        torch.testing.assert_close(observed, plain)
    if type(solver) in STAGES and isinstance(solver.gradient, Backprop) and steps_at_once:
        assert max(cost.sizes) == STAGES[type(solver)] * min(steps_at_once, 7)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_observed_and_plain_costs_add_and_scale(solver: Solver) -> None:
    both = cost_and_gradients(0.25 * Observed() + 3.0 * ControlEnergy(), solver)  # pyright: ignore
    plain = cost_and_gradients(0.25 * Plain() + 3.0 * ControlEnergy(), solver)  # pyright: ignore
    for a, b in zip(both, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("gradient", ["backprop", "checkpoint", "costate", "reversible"])
def test_a_cost_that_needs_its_target_observes_with_it(gradient: str) -> None:
    """The reversible scheme steps in both directions; only the one ahead has a cost."""

    class Strict(Observed):
        def observe(self, node: Node, target: Tensor | None) -> Tensor | None:
            assert target is not None
            return super().observe(node, target)

    cost_and_gradients(Strict(), named_solver("euler", 7, gradient))


def test_every_node_knows_its_step() -> None:
    seen = []

    class Noting(Observed):
        def observe(self, node: Node, target: Tensor | None) -> Tensor | None:
            seen.append((node.k, node.time))
            return super().observe(node, target)

    cost_and_gradients(Noting(), Heun(7))
    h = 2.0 / 7
    assert [k for k, _ in seen] == [k for k in range(7) for _ in range(2)]
    assert [t for _, t in seen] == pytest.approx([(k + c) * h for k in range(7) for c in (0, 1)])


def test_solve_refuses_a_cost_that_observes() -> None:
    problem = Spring(Observed())
    with pytest.raises(ValueError, match=r"stage_cost observes states.*Observed"):
        solve(problem, solver=RK4(5))
    with pytest.raises(ValueError, match=r"stage_cost observes states.*Observed"):
        solve(Spring(0.1 * Observed() + ControlEnergy()), solver=RK4(5))  # pyright: ignore
