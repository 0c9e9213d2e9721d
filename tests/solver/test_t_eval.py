"""States at any times, under every solver: against torchdiffeq called by hand."""

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import nn, Tensor
from torchdiffeq import odeint

from ocnet import (
    Chebyshev,
    Checkpoint,
    Control,
    Costate,
    Euler,
    Heun,
    Layers,
    PiecewiseConstant,
    PiecewiseLinear,
    Problem,
    Projection,
    Reversible,
    RK4,
    RK38,
    Sample,
    Solver,
    TorchDiffEq,
)
from ocnet.registry import named_solver
from tests.support.blobs import Blobs


TIMES = [0.0, 0.13, 0.5, 0.77, 1.301, 1.7, 2.0]
X0 = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.4, 0.1]], dtype=torch.float64)

MODES = [
    *(named_solver("euler", 20, word) for word in ("backprop", "checkpoint", "costate")),
    *(named_solver("rk4", 20, word) for word in ("backprop", "checkpoint", "costate")),
    *(named_solver("torchdiffeq:rk4", 20, word) for word in ("backprop", "adjoint")),
    *(named_solver("dopri5", 1, word) for word in ("backprop", "adjoint")),
]


class Pendulum(Problem):
    """`angle'' = u - sin(angle) - t / 4`, from any state."""

    state_shape, control_shape, t1 = (2,), (1,), 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] - x[..., 0].sin() - t / 4], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 2))


def smooth() -> Chebyshev:
    """`u(t) = 0.3 + 0.5 s`, with `s` from -1 to 1 over the horizon."""
    control = Chebyshev(0, 2, 2, 1).double()
    with torch.no_grad():
        (path,) = control.parameters()
        path.copy_(torch.tensor([[0.3], [0.5]]))
    return control


def by_hand(times: list[float], u: Callable[[Tensor], Tensor]) -> Tensor:
    """The states by torchdiffeq alone."""

    def f(t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([x[:, 1], u(t) - x[:, 0].sin() - t / 4], -1)

    ts = torch.tensor([0.0, *(t for t in times if t > 0)], dtype=torch.float64)
    found = cast(Tensor, odeint(f, X0, ts, rtol=1e-11, atol=1e-12))
    return found if times[0] == 0 else found[1:]


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_states_at_irregular_times_are_those_of_torchdiffeq(solver: Solver) -> None:
    control = smooth()
    found = solver.solve(Pendulum(), control, X0, t_eval=TIMES)
    exact = by_hand(TIMES, lambda t: 0.3 + 0.5 * (t - 1))
    assert found.t_eval is not None and found.t_eval.tolist() == TIMES
    close = {1: 0.1, 4: 2e-5, 5: 1e-6}[solver.order]
    torch.testing.assert_close(found.x_eval, exact, rtol=0, atol=close)


@pytest.mark.parametrize("method, order", [(Euler, 1), (Heun, 2), (RK4, 4)])
def test_between_the_steps_they_have_the_order_of_the_method(method: Any, order: int) -> None:
    """The largest error at times that no grid has, on two grids."""
    control, times = smooth(), [0.1 + 0.2 * math.pi * k / 4 for k in range(12)]
    exact = by_hand(times, lambda t: 0.3 + 0.5 * (t - 1))
    with torch.no_grad():
        errors = [
            (method(n).solve(Pendulum(), control, X0, t_eval=times).x_eval - exact).abs().max()
            for n in (20, 40)
        ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_their_gradient_is_that_of_torchdiffeq(solver: Solver) -> None:
    """Of a sum of squares at some times, with respect to the control and the initial states."""
    control, x0 = smooth(), X0.clone().requires_grad_()
    (path,) = control.parameters()
    found = solver.solve(Pendulum(), control, x0, t_eval=TIMES[1:-1]).x_eval
    grads = torch.autograd.grad(found.square().sum(), [path, x0])

    expected = slopes_by_hand(path, solver)
    close = {1: 1e-12, 4: 2e-4, 5: 1e-5}[solver.order]
    for g, e in zip(grads, expected, strict=True):
        torch.testing.assert_close(g, e, rtol=0, atol=close * float(e.abs().max()))


def slopes_by_hand(path: Tensor, solver: Solver) -> tuple[Tensor, ...]:
    """The same gradient by torchdiffeq: of Euler with as many steps, or of a tight solution."""
    coefficients, y0 = path.detach().clone().requires_grad_(), X0.clone().requires_grad_()

    def f(t: Tensor, x: Tensor) -> Tensor:
        u = coefficients[0, 0] + coefficients[1, 0] * (t - 1)
        return torch.stack([x[:, 1], u - x[:, 0].sin() - t / 4], -1)

    ts = torch.tensor([0.0, *TIMES[1:-1]], dtype=torch.float64)
    if solver.order == 1:
        # Between its steps it draws straight lines.
        found = odeint(f, y0, ts, method="euler", options={"step_size": 2 / solver.n})
    else:
        found = odeint(f, y0, ts, rtol=1e-10, atol=1e-11)
    energy = cast(Tensor, found)[1:].square().sum()
    return torch.autograd.grad(energy, [coefficients, y0])


def test_torchdiffeq_interpolates_the_same_steps_in_the_same_way() -> None:
    """Its "rk4" is Kutta's 3/8 rule, and its cubic that of Hermite."""
    with torch.no_grad():
        found = RK38(20).solve(Pendulum(), smooth(), X0, t_eval=TIMES).x_eval

        def f(t: Tensor, x: Tensor) -> Tensor:
            u = 0.3 + 0.5 * (t - 1)
            return torch.stack([x[:, 1], u - x[:, 0].sin() - t / 4], -1)

        ts, options = (
            torch.tensor(TIMES, dtype=torch.float64),
            {"step_size": 0.1, "interp": "cubic"},
        )
        expected = cast(Tensor, odeint(f, X0, ts, method="rk4", options=options))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("solver", [*MODES, Reversible(RK4(20))], ids=repr)
def test_at_the_ends_of_steps_they_are_the_states_themselves(solver: Solver) -> None:
    control = PiecewiseLinear(0, 2, 4, 1)
    ends = [0.0, 2.0] if isinstance(solver, Reversible) else [0.0, 0.1, 0.3, 1.9, 2.0]
    plain = solver.solve(Pendulum(), control, X0)
    found = solver.solve(Pendulum(), control, X0, t_eval=torch.tensor(ends, dtype=torch.float64))
    nodes = [round(t, 9) for t in found.t_kept.tolist()]
    for t, x in zip(ends, found.states_eval, strict=True):
        assert torch.equal(x, found.states[nodes.index(t)])
    # Asking changes no step of a method whose steps are its own.
    if not isinstance(solver, TorchDiffEq):
        assert torch.equal(found.t, plain.t)
    torch.testing.assert_close(found.states[-1], plain.states[-1])
    torch.testing.assert_close(found.running_cost, plain.running_cost)


def test_checkpointing_keeps_what_is_next_to_the_times_and_no_more() -> None:
    found = Euler(100, gradient=Checkpoint()).solve(
        Pendulum(), smooth(), X0, t_eval=[0.05, 0.05 + 1e-12, 0.5][::2]
    )
    assert found.kept == (0, 2, 3, 10, 20, 25, *range(30, 101, 10))
    assert len(found.controls) == 100


def test_a_jump_of_the_control_is_not_smeared() -> None:
    """At a knot the slopes of a step are the limits from inside of it."""

    class Integrator(Pendulum):
        state_shape = (1,)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return u.expand_as(x)

    control = PiecewiseConstant(0, 2, 2, 1)
    with torch.no_grad():
        control.path.copy_(torch.tensor([[1.0], [-1.0]]))
    times, x0 = [0.25, 0.75, 1.0, 1.25, 1.75], torch.zeros(1, 1)
    for solver in (Euler(2), Heun(4), RK4(4), RK4(2, gradient=Costate()), TorchDiffEq("dopri5")):
        found = solver.solve(Integrator(), control, x0, t_eval=times)
        torch.testing.assert_close(
            found.x_eval.flatten(), torch.tensor([0.25, 0.75, 1.0, 0.75, 0.25])
        )


def test_layers_and_the_statistics_of_their_batches() -> None:
    """Halfway through a layer is halfway to its output; batch norm follows each batch once."""
    problem, torch_seed = Blobs(dropout=0.0), torch.manual_seed(0)
    control = problem.initial_control(5, torch_seed)
    x0 = problem.embed(problem.data("train").x0)
    for solver in (Euler(5), Heun(5)):
        counts = []
        for t_eval in (None, [0.3 * problem.t1]):
            inner = problem.initial_control(5, torch.Generator().manual_seed(0))
            found = solver.solve(problem, inner, x0, t_eval=t_eval)
            counts.append([b.clone() for name, b in inner.named_buffers() if "num" in name])
            if t_eval is not None and solver.order == 1:
                halfway = (found.states[1] + found.states[2]) / 2
                torch.testing.assert_close(found.states_eval[0], halfway)
        torch.testing.assert_close(counts[0], counts[1])
    assert isinstance(control, Layers)


def test_on_both_sides_of_a_projection() -> None:
    problem: Any = Pendulum()
    problem.projections = [Projection(0.5, 1.0, nn.Linear(2, 3, dtype=torch.float64))]
    problem.dynamics = lambda t, x, u: (
        0 * x if x.shape[-1] == 3 else x.new_zeros((*x.shape[:-1], 3 if 0.5 <= float(t) < 1 else 2))
    )
    for solver in (Euler(4), TorchDiffEq("euler", 4)):
        found = solver.solve(problem, smooth(), X0, t_eval=[0.2, 0.5, 1.0, 1.7])
        assert [tuple(x.shape) for x in found.states_eval] == [(3, 2), (3, 2), (3, 3), (3, 3)]
        with pytest.raises(ValueError, match="several shapes.*use `states_eval`"):
            _ = found.x_eval
        with pytest.raises(ValueError, match="0.7 is inside of the one from 0.5 to 1"):
            solver.solve(problem, smooth(), X0, t_eval=[0.7])


@pytest.mark.parametrize(
    "t_eval, said",
    [
        ([0.5, 2.5], r"t_eval must lie in the horizon \[0, 2\], but got 2.5"),
        ([-0.1], r"horizon \[0, 2\], but got -0.1"),
        ([0.5, math.nan], "but got nan"),
        ([math.inf], "but got inf"),
        ([0.5, 0.3], "t_eval must increase, but got 0.3 after 0.5"),
        ([0.5, 0.5], "t_eval must increase, but got 0.5 twice"),
        ([], "t_eval must hold a time, but got none"),
        (torch.empty(0), "t_eval must hold a time, but got none"),
        (torch.empty(3, 0), "t_eval must hold a time, but got none"),
        (torch.tensor([[0.5, 1.0], [0.5, 2.5], [0.1, 0.2]]), "but got 2.5"),
        (torch.tensor([[0.5, math.nan]] * 3), "but got nan"),
        (torch.zeros(2, 2), r"t_eval must have shape \(eval,\) or \(3, eval\), but got \(2, 2\)"),
        (torch.tensor([1.0], requires_grad=True), "t_eval requires a gradient"),
        (1.0, "t_eval must be a sequence of times, but got 1.0"),
        ("1", "t_eval must be a sequence of times, but got '1'"),
        (["a"], "Each of t_eval must be a number, but got 'a'"),
    ],
)
@pytest.mark.parametrize("solver", [Euler(4), Reversible(Euler(4)), TorchDiffEq()], ids=repr)
def test_times_that_cannot_be_had_are_named(solver: Solver, t_eval: Any, said: str) -> None:
    control: Control = PiecewiseConstant(0, 2, 4, 1)
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        solver.solve(Pendulum(), control, X0, t_eval=t_eval)
    assert "\n" not in str(caught.value)


def test_what_no_mode_can_give_is_refused() -> None:
    control = PiecewiseConstant(0, 2, 4, 1)
    with pytest.raises(ValueError, match=r"t_eval needs the state at t=0.5, which this solver"):
        Reversible(Euler(4)).solve(Pendulum(), control, X0, t_eval=[0.5])
    problem: Any = Pendulum()
    problem.t1 = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(ValueError, match=r"t1=2.0 requires a gradient, which states at given"):
        Euler(4).solve(problem, control, X0, t_eval=[0.5])
    with pytest.raises(ValueError, match=r"no states at other times: solve\(..., t_eval=...\)"):
        _ = Euler(4).solve(Pendulum(), control, X0).x_eval


OWN = torch.tensor([[0.5, 0.13, 1.9], [1.301, 0.5, 0.5], [0.0, 2.0, 0.77]], dtype=torch.float64)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_each_sample_may_have_times_of_its_own(solver: Solver) -> None:
    """In any order; states and gradients are those at all times, of which each takes its own."""
    control, x0 = smooth(), X0.clone().requires_grad_()
    (path,) = control.parameters()
    every = sorted(set(OWN.flatten().tolist()))
    index = torch.tensor([[every.index(t) for t in row] for row in OWN.tolist()])

    def grads(x: Tensor) -> tuple[Tensor, ...]:
        weights = torch.arange(1.0, 1 + x.numel(), dtype=x.dtype).view_as(x)
        return torch.autograd.grad((weights * x).sum(), [path, x0])

    found = solver.solve(Pendulum(), control, x0, t_eval=OWN)
    shared = solver.solve(Pendulum(), control, x0, t_eval=every).x_eval
    expected = torch.stack([shared[index[:, j], range(3)] for j in range(3)])
    assert found.x_eval.shape == (3, 3, 2)
    torch.testing.assert_close(found.x_eval, expected, rtol=1e-12, atol=1e-12)
    for g, e in zip(grads(found.x_eval), grads(expected), strict=True):
        close = 1e-6 if "Adjoint" in repr(solver) else 1e-11
        torch.testing.assert_close(g, e, rtol=close, atol=close)
