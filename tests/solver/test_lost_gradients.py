"""Gradients that would be lost or wrong: they work, or one line refuses them."""

import copy
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Adjoint,
    Backprop,
    Checkpoint,
    Costate,
    Euler,
    Feedback,
    Layers,
    PiecewiseConstant,
    Problem,
    Projection,
    Reversible,
    RK4,
    Sample,
    Solver,
    TorchDiffEq,
)


class Growth(Problem):
    """`x' = x`."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x + 0 * u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return t * x[..., 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))


def solved(problem: Problem, solver: Solver) -> tuple[Tensor, Tensor]:
    """The final state and the running cost from one."""
    t0, t1 = (torch.as_tensor(t).item() for t in (problem.t0, problem.t1))
    control = PiecewiseConstant(t0, t1, 10, 1)
    trajectory = solver.solve(problem, control, torch.ones(1, 1))
    return trajectory.states[-1].sum(), trajectory.running_cost.sum()


FOLLOW = [
    RK4(50),
    RK4(50, gradient=Checkpoint()),
    TorchDiffEq("dopri5"),
    TorchDiffEq("rk4", 50),
    TorchDiffEq("dopri5", gradient=Adjoint()),
]


@pytest.mark.parametrize("solver", FOLLOW, ids=repr)
def test_the_final_time_may_require_a_gradient(solver: Solver) -> None:
    problem: Any = Growth()
    problem.t1 = nn.Parameter(torch.tensor(2.0))
    x, cost = solved(problem, solver)
    assert x.item() == pytest.approx(7.389, abs=1e-3)
    (grad,) = torch.autograd.grad(x, problem.t1, retain_graph=True)
    assert grad.item() == pytest.approx(math.exp(2), rel=1e-5)
    # The cost is int_0^T t e^t dt, whose derivative is T e^T.
    (grad,) = torch.autograd.grad(cost, problem.t1)
    assert grad.item() == pytest.approx(2 * math.exp(2), rel=1e-5)


def test_the_initial_time_may_require_a_gradient() -> None:
    problem: Any = Growth()
    problem.t0 = torch.tensor(0.5, requires_grad=True)
    x, _ = solved(problem, RK4(50))
    (grad,) = torch.autograd.grad(x, problem.t0)
    assert grad.item() == pytest.approx(-math.exp(0.5), rel=1e-5)


WORD = {RK4: r"gradient=Costate\(\)", Reversible: "Reversible"}


@pytest.mark.parametrize("solver", [RK4(50, gradient=Costate()), Reversible(RK4(50))], ids=repr)
def test_modes_that_do_not_follow_the_horizon_say_so(solver: Solver) -> None:
    problem: Any = Growth()
    problem.t1 = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(ValueError, match=rf"t1=2.0 requires a gradient.*{WORD[type(solver)]}"):
        solved(problem, solver)


def test_a_policy_and_a_projection_do_not_follow_the_horizon() -> None:
    class Zero(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return 0 * x

    problem: Any = Growth()
    problem.t1 = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(ValueError, match="t1=2.0 requires a gradient.*Feedback"):
        Euler(4).solve(problem, Feedback(0, 2, Zero()), torch.ones(1, 1))
    problem.projections = [Projection(1.0, 1.5, nn.Identity())]
    with pytest.raises(ValueError, match="t1=2.0 requires a gradient.*projections"):
        solved(problem, Euler(4))


class Switched(Growth):
    """`x' = 1` before the switch at `s`, `-1` after it, in one of several spellings."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.s = how, nn.Parameter(torch.tensor(0.5))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        rate = {
            "where": lambda: torch.where(t < self.s, 1.0, -1.0),
            "sign": lambda: torch.sign(2 * self.s - 2 * t),
            "heaviside": lambda: 2 * torch.heaviside(self.s - t, torch.zeros(())) - 1,
            "float": lambda: 1.0 if float(t) < float(self.s) else -1.0,
            "smooth": lambda: torch.tanh((self.s - t) / 0.05),
            "state": lambda: torch.where(x > 0, x, self.s * x),
        }[self.how]
        return rate() + 0 * x + 0 * u


MODES = [
    RK4(50),
    RK4(50, gradient=Checkpoint()),
    RK4(50, gradient=Costate()),
    Reversible(RK4(50)),
    TorchDiffEq("rk4", 50),
    TorchDiffEq("rk4", 50, gradient=Adjoint()),
]


@pytest.mark.parametrize("solver", MODES, ids=repr)
@pytest.mark.parametrize("how", ["where", "sign", "heaviside", "float"])
def test_switch_times_are_refused(solver: Solver, how: str) -> None:
    said = r"Switched.dynamics \(.*test_lost_gradients.py:\d+.*\) fails:"
    with pytest.raises(ValueError, match=said):
        solved(Switched(how), solver)
    with torch.no_grad():
        solved(Switched(how), solver)
    frozen = Switched(how).requires_grad_(False)
    if not (how == "float" and "Costate" in repr(solver)):
        solved(frozen, solver)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_smooth_switches_and_switches_in_the_state_pass(solver: Solver) -> None:
    problem = Switched("smooth")
    x, _ = solved(problem, solver)
    (grad,) = torch.autograd.grad(x, problem.s)
    assert grad.item() == pytest.approx(2.0, rel=1e-2)
    solved(Switched("state"), solver)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_gradients_inside_of_dynamics_name_what_works(solver: Solver) -> None:
    class Descent(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            with torch.enable_grad():
                y = x if x.requires_grad else x.detach().requires_grad_()
                return -torch.autograd.grad(y.square().sum(), y)[0] + 0 * u

    class Plain(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return -torch.autograd.grad(x.square().sum(), x, create_graph=True)[0] + 0 * u

    class Works(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return -torch.func.grad(lambda x: x.square().sum())(x) + 0 * u

    # The recursion records it, second derivative included.
    refused = [Descent()] if "Costate" in repr(solver) else [Descent(), Plain()]
    for problem in refused:
        with pytest.raises((ValueError, RuntimeError), match=r"func|functorch"):
            solved(problem, solver)
    if "Checkpoint" in repr(solver):
        said = r"Works.dynamics .* fails: .*gradient=Backprop\(\)"
        with pytest.raises(RuntimeError, match=said):
            solved(Works(), solver)
        return
    x, _ = solved(Works(), solver)
    assert x.item() == pytest.approx(math.exp(-2), rel=1e-3)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_tensors_that_are_no_parameters(solver: Solver) -> None:
    class Loose(Growth):
        def __init__(self):
            super().__init__()
            self.k = torch.tensor(1.0, requires_grad=True)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return self.k * x + 0 * u

    problem: Any = Loose()
    if any(mode in repr(solver) for mode in ("Costate", "Reversible", "Adjoint")):
        with pytest.raises(ValueError, match=r"another tensor of shape \(\)"):
            solved(problem, solver)
        return
    x, _ = solved(problem, solver)
    (grad,) = torch.autograd.grad(x, problem.k)
    assert grad.item() == pytest.approx(math.e, rel=1e-5)


class Dropping(Growth):
    """`x' = -dropout(x)`, from the default generator or one of its own."""

    def __init__(self, generator: torch.Generator | None = None):
        super().__init__()
        self.generator = generator

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        mask = torch.bernoulli(torch.full_like(x, 0.5), generator=self.generator)
        return -mask * x + u


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "solver", [TorchDiffEq("rk4", 9, gradient=Adjoint()), Reversible(RK4(9))], ids=repr
)
def test_random_numbers_that_cannot_be_drawn_again(solver: Solver, own: bool) -> None:
    generator = torch.Generator().manual_seed(0) if own else None
    with pytest.raises(ValueError, match="must draw no random numbers"):
        solved(Dropping(generator), solver)


class Elsewhere(Growth):
    """`x' = -m x + u`, with a mask that is not drawn by torch."""

    def __init__(self, source: str):
        super().__init__()
        self.source, self.own = source, np.random.default_rng(0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        draw = {
            "numpy": np.random.rand, "python": random.random, "of its own": self.own.random,
            "of its file": FILES.random, "old": OLD.random_sample,
        }  # fmt: skip
        return u - x * float(draw[self.source]() > 0.5)


FILES, OLD = random.Random(0), np.random.RandomState(0)


@pytest.mark.parametrize("source", ["numpy", "python", "of its own", "of its file", "old"])
@pytest.mark.parametrize(
    "solver", [mode for mode in MODES if not isinstance(mode.gradient, Backprop)],
    ids=repr,
)  # fmt: skip
def test_random_numbers_from_elsewhere_cannot_be_drawn_again(solver: Solver, source: str) -> None:
    with pytest.raises(ValueError, match="random numbers"):
        solved(Elsewhere(source), solver.with_steps(5))
    with torch.no_grad():
        solved(Elsewhere(source), RK4(5))
    x, _ = solved(Elsewhere(source), RK4(5))
    assert x.requires_grad


def test_checkpointing_refuses_a_generator_and_repeats_the_default_one() -> None:
    with pytest.raises(ValueError, match="Checkpoint.*must draw no random numbers"):
        solved(Dropping(torch.Generator().manual_seed(0)), RK4(9, gradient=Checkpoint()))
    grads = []
    for solver in (RK4(9), RK4(9, gradient=Checkpoint())):
        control = PiecewiseConstant(0, 1, 10, 1)
        torch.manual_seed(1)
        solver.solve(Dropping(), control, torch.ones(4, 1)).states[-1].sum().backward()
        assert control.path.grad is not None
        grads.append(control.path.grad)
    torch.testing.assert_close(*grads)


class Normed(nn.Module):
    """A layer with batch norm."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.linear(x)))


class Net(Problem):
    """A residual network of such layers."""

    state_shape = (3,)
    t1 = 4.0

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return u(x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 3, generator=generator))


def test_a_second_backward_pass_and_a_gradient_penalty_of_checkpointing() -> None:
    torch.manual_seed(0)
    layers, x0 = Layers(0, 4, [Normed() for _ in range(4)]), torch.randn(8, 3)
    found = {}
    for gradient in (Backprop(), Checkpoint()):
        control = copy.deepcopy(layers)
        x = Euler(4, gradient=gradient).solve(Net(), control, x0).states[-1]
        parameters = list(control.parameters())
        first = torch.autograd.grad(x.square().sum(), parameters, retain_graph=True)
        again = torch.autograd.grad(x.square().sum(), parameters, create_graph=True)
        torch.testing.assert_close(first, again)
        penalty = torch.stack([g.square().sum() for g in again]).sum()
        found[gradient] = (first, torch.autograd.grad(penalty, parameters), control.state_dict())
    torch.testing.assert_close(found[Checkpoint()], found[Backprop()])


@pytest.mark.parametrize(
    "solver", [m for m in MODES if any(g in repr(m) for g in ("cost", "rev", "adj"))], ids=repr
)
def test_second_derivatives_that_there_are_not(solver: Solver) -> None:
    control = PiecewiseConstant(0, 1, 10, 1)
    x = solver.solve(Growth(), control, torch.ones(1, 1, requires_grad=True)).states[-1].sum()
    with pytest.raises(ValueError, match="has no second derivative"):
        torch.autograd.grad(x, control.path, create_graph=True)


@pytest.mark.parametrize("tied", ["module", "weight", "buffer"])
def test_refining_keeps_what_layers_share(tied: str) -> None:
    if tied == "module":
        layers = [nn.Linear(2, 2)] * 4
    elif tied == "weight":
        layers = [nn.Linear(2, 2) for _ in range(4)]
        for layer in layers[1:]:
            layer.weight = layers[0].weight
    else:
        layers = [nn.BatchNorm1d(2) for _ in range(4)]
        for layer in layers[1:]:
            layer.running_mean = layers[0].running_mean
    control = Layers(0, 1, layers)
    fine = control.refine()
    assert len(fine.layers) == 8
    if tied == "module":
        assert len(list(fine.parameters())) == 2
    if tied == "weight":
        assert len(list(fine.parameters())) == 1 + 8
    if tied == "buffer":
        assert len({id(layer.running_mean) for layer in fine.layers}) == 1
        assert len({id(layer.running_var) for layer in fine.layers}) == 8
    assert not {id(p) for p in control.parameters()} & {id(p) for p in fine.parameters()}


def test_each_sample_is_solved_to_the_tolerance() -> None:
    class Rates(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return torch.stack([torch.zeros_like(x[..., 0]), x[..., 0] * torch.cos(9 * t)], -1)

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return x[..., 1] ** 2

        state_shape = (2,)

    hard = torch.tensor([[30.0, 0.0]])
    batch = torch.cat([hard, torch.zeros(10_000, 2)])
    control = PiecewiseConstant(0, 1, 1, 1)
    exact = 30 * math.sin(9) / 9
    errors = {}
    for name, norm, x0 in (
        ("alone", "sample", hard), ("batch", "sample", batch), ("joint", "joint", batch),
    ):  # fmt: skip
        solver = TorchDiffEq("dopri5", rtol=1e-6, atol=1e-8, norm=norm)  # pyright: ignore
        x = solver.solve(Rates(), control, x0).states[-1]
        errors[name] = abs(x[0, 1].item() - exact)
    assert errors["batch"] == pytest.approx(errors["alone"], rel=1e-3)
    assert errors["joint"] > 10 * errors["batch"]
    # The way back keeps the same norm.
    grads = []
    for x0 in (hard, batch[:200]):
        x0 = x0.clone().requires_grad_()
        solver = TorchDiffEq("dopri5", rtol=1e-6, atol=1e-8, gradient=Adjoint())
        cost = solver.solve(Rates(), control, x0).running_cost.sum()
        grads.append(torch.autograd.grad(cost, x0)[0][0])
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-6)


class SquareSlope(torch.autograd.Function):
    """The gradient of `|x|^2`, found by autograd, with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            return torch.autograd.grad(y.square().sum(), y)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 2 * grads[0]


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_a_function_with_its_own_backward_pass_may_take_gradients_inside(solver: Solver) -> None:
    class Descent(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return u - SquareSlope.apply(x)  # pyright: ignore[reportOperatorIssue]

    if "Costate" in repr(solver):
        with pytest.raises(ValueError, match="Descent.dynamics .* fails: .*setup_context"):
            solved(Descent(), solver)
        return
    control, x0 = PiecewiseConstant(0.0, 1.0, 10, (1,)), torch.ones(1, 1, requires_grad=True)
    x = solver.solve(Descent(), control, x0).states[-1]
    grads = torch.autograd.grad(x.sum(), [x0, control.path])
    # `x' = u - 2 x`: the first is `exp(-2)`, the others an integral of `exp(-2 (1 - t))`.
    edges = torch.exp(-2 * (1 - torch.linspace(0, 1, 11))) / 2
    torch.testing.assert_close(
        grads[0].flatten(), torch.exp(torch.tensor([-2.0])), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(grads[1].flatten(), edges.diff(), rtol=1e-4, atol=0)
