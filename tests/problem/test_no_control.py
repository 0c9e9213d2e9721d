"""Problems without a control, whose parameters are trained: `control=None` in every call."""

from typing import Any, cast

import pytest
import torch
from torch import nn, Tensor
from torchdiffeq import odeint

import ocnet
from ocnet import (
    Euler,
    Problem,
    RK4,
    Sample,
    Solver,
    TorchDiffEq,
    train,
)
from ocnet.analysis import compare
from ocnet.certificate import depth_certificate
from ocnet.learning import measure
from ocnet.plot import states_and_controls
from ocnet.registry import named_solver


MODES = [
    *(named_solver("rk38", 20, way) for way in ("backprop", "checkpoint", "costate", "reversible")),
    *(named_solver("torchdiffeq:rk4", 20, way) for way in ("backprop", "adjoint")),
    *(named_solver("dopri5", 1, way) for way in ("backprop", "adjoint")),
]


class NeuralODE(Problem):
    """`x' = W tanh(V x)`, with a cost on the way and at the end."""

    state_shape, t1 = (2,), 1.5

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.V, self.W = nn.Linear(2, 4, bias=False).double(), nn.Linear(4, 2, bias=False).double()

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        assert u.shape == (0,)
        return self.W(self.V(x).tanh())

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 0.1 * x.square().sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return (x - target).square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        x0 = torch.randn(batch_size, 2, generator=generator, dtype=torch.float64)
        return Sample(x0, x0.flip(-1))


def sample() -> Sample:
    return NeuralODE().sample(5, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_costs_and_gradients_are_those_of_torchdiffeq(solver: Solver) -> None:
    problem, (x0, target) = NeuralODE(), sample()
    cost, found = ocnet.evaluate(problem, None, solver, Sample(x0, target))
    grads = torch.autograd.grad(cost.mean(), list(problem.parameters()))
    assert all(u.shape == (0,) for u in found.controls if isinstance(u, Tensor))

    twin = NeuralODE()

    def f(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x = state[0]
        return twin.W(twin.V(x).tanh()), 0.1 * x.square().sum(-1)

    ts = torch.tensor([0.0, 1.5], dtype=torch.float64)
    x, running = odeint(f, (x0, x0.new_zeros(5)), ts, rtol=1e-9, atol=1e-10)
    assert target is not None
    expected = running[-1] + (x[-1] - target).square().sum(-1)
    slopes = torch.autograd.grad(expected.mean(), list(twin.parameters()))
    close = 1e-4 if "Reversible" in repr(solver) else 1e-6
    torch.testing.assert_close(cost, expected, rtol=close, atol=close)
    for g, e in zip(grads, slopes, strict=True):
        torch.testing.assert_close(g, e, rtol=10 * close, atol=10 * close)


@pytest.mark.parametrize("solver", [Euler(10), TorchDiffEq("rk4", 10)], ids=repr)
def test_training_takes_the_steps_of_a_loop_by_hand(solver: Solver) -> None:
    problem, data = NeuralODE(), sample()
    optimizer = torch.optim.SGD(problem.parameters(), lr=0.1)
    history = train(problem, None, solver, optimizer, n_steps=5, data=[data], progress=False)

    twin, costs = NeuralODE(), []
    by_hand = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(5):
        by_hand.zero_grad()
        cost, _ = ocnet.evaluate(twin, None, solver, data)
        cost.mean().backward()
        by_hand.step()
        costs.append(float(cost.mean().detach()))
    assert history.cost == pytest.approx(costs, rel=1e-12)
    assert history.cost[-1] < history.cost[0]


def test_so_do_comparison_certificate_measures_and_pictures() -> None:
    problem, data = NeuralODE(), sample()
    found = compare(problem, None, [Euler(50), RK4(20)], sample=data, repeats=1, fine_steps=200)
    tight, path = ocnet.evaluate(problem, None, TorchDiffEq(rtol=1e-10, atol=1e-12), data)
    assert found.rows[1].cost == pytest.approx(float(tight.mean().detach()), rel=1e-6)
    assert found.control == ([], [])
    certificate = depth_certificate(problem, None, RK4(20), data, fine_steps=200)
    assert certificate.verdict
    measured = measure(problem, None, RK4(20), data)
    assert measured["cost"] == pytest.approx(float(tight.mean().detach()), rel=1e-6)
    _, path = ocnet.evaluate(problem, None, RK4(20), data)
    assert len(states_and_controls(path).axes) == 1
    assert RK4(20).first_non_finite(problem, None, data.x0) is None


def test_a_problem_with_a_control_wants_one() -> None:
    class Pushed(NeuralODE):
        control_shape = (1,)

    optimizer = torch.optim.SGD(Pushed().parameters(), lr=0.1)
    said = r"control=None is for problems without a control, but Pushed has control_shape=\(1,\)"
    calls: list[Any] = [
        lambda: ocnet.evaluate(Pushed(), None, RK4(4), sample()),
        lambda: TorchDiffEq().solve(Pushed(), None, sample().x0),
        lambda: train(Pushed(), None, RK4(4), optimizer, n_steps=1),
        lambda: compare(Pushed(), None, [RK4(4)]),
        lambda: measure(Pushed(), None, RK4(4), sample()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=said):
            call()


def test_what_is_neither_a_control_nor_none_is_refused() -> None:
    for wrong in (0, "None", nn.Identity()):
        with pytest.raises(TypeError, match="control must be an? .*Control"):
            RK4(4).solve(NeuralODE(), cast(Any, wrong), sample().x0)


def test_a_layer_cannot_do_without_its_control() -> None:
    """Of a network whose control is its layers, None is not a layer."""
    network = ocnet.resnet(2, (4,), channels=1, size=8)
    with pytest.raises((TypeError, AttributeError, ValueError)):
        network.solver.solve(network.problem, None, torch.zeros(1, 4, 8, 8))
