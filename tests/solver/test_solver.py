"""Solvers against a loop written out, against torchdiffeq, against closed forms."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from torch import nn, Tensor
from torchdiffeq import odeint

from ocnet import (
    Adjoint,
    Backprop,
    Checkpoint,
    Control,
    CubicSpline,
    Euler,
    evaluate,
    Feedback,
    Heun,
    Layers,
    PiecewiseConstant,
    PiecewiseLinear,
    Problem,
    Projection,
    RK4,
    RK38,
    Sample,
    Solver,
    SolverError,
    TorchDiffEq,
)


class Network(Problem):
    """A residual network on vectors that changes its width at given layers."""

    state_shape = (3,)
    control_shape = (4, 4)

    def __init__(self, jumps: Sequence[tuple[float, float]] = ()):
        super().__init__()
        self.projections = [Projection(a, b, nn.Linear(3, 3, bias=False)) for a, b in jumps]

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(x @ u[:3, :3] + u[3, :3]) * (1 + t)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + 0.1 * (u**2).sum()

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 3, generator=generator))


def network(
    n: int, jumps: Sequence[int], dtype: torch.dtype
) -> tuple[Network, PiecewiseConstant, Tensor]:
    torch.manual_seed(0)
    problem = Network([(k / n, (k + 1) / n) for k in jumps]).to(dtype)
    control = PiecewiseConstant(0, 1, n, (4, 4), dtype=dtype)
    nn.init.normal_(control.path)
    return problem, control, problem.sample(5).x0.to(dtype)


def loop(problem: Network, control: PiecewiseConstant, x: Tensor) -> tuple[Tensor, Tensor]:
    """Euler, written out: final state and running cost."""
    n = len(control.path)
    jumps = {round(p.start * n): p for p in problem.projections}
    cost = torch.zeros(len(x), dtype=x.dtype)
    for k in range(n):
        t, u = torch.tensor(k / n, dtype=x.dtype), control.path[k]
        cost = cost + 1 / n * problem.stage_cost(t, x, u, None)
        S_x = jumps[k](x) if k in jumps else x
        x = S_x + 1 / n * problem.dynamics(t, x, u)
    return x, cost


depths = pytest.mark.parametrize(
    ("n", "jumps"),
    [
        (1, []),
        (1, [0]),
        (7, []),
        (7, [3]),
        (100, []),
        (100, [30, 31, 99]),
        (1000, []),
        (1000, [0, 500]),
        pytest.param(10_000, [], marks=pytest.mark.slow),
        pytest.param(10_000, [77], marks=pytest.mark.slow),
    ],
)
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.mark.slow
@torch.no_grad()
@precisions
@depths
def test_euler_is_a_residual_network(n: int, jumps: list[int], dtype: torch.dtype) -> None:
    problem, control, x0 = network(n, jumps, dtype)
    x, cost = loop(problem, control, x0)
    tolerance = 100 * torch.finfo(dtype).eps * max(1.0, n**0.5)
    for solver in (Euler(n), TorchDiffEq("euler", n)):
        trajectory = solver.solve(problem, control, x0)
        torch.testing.assert_close(trajectory.states[-1], x, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(trajectory.running_cost, cost, rtol=tolerance, atol=tolerance)
        assert len(trajectory.states) == n + 1
        assert trajectory.evaluations == n


@pytest.mark.slow
@torch.no_grad()
@precisions
@depths
def test_rk4_is_torchdiffeqs(n: int, jumps: list[int], dtype: torch.dtype) -> None:
    problem, control, x0 = network(n, jumps, dtype)
    tolerance = 200 * torch.finfo(dtype).eps * max(1.0, n**0.5)
    ours, theirs = (
        RK38(n).solve(problem, control, x0),
        TorchDiffEq("rk4", n).solve(problem, control, x0),
    )
    torch.testing.assert_close(ours.states, theirs.states, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        ours.running_cost, theirs.running_cost, rtol=tolerance, atol=tolerance
    )


def test_plain_torchdiffeq_agrees() -> None:
    """The wrapper against torchdiffeq itself, on a smooth control."""
    problem = Network()
    control = CubicSpline(0, 1, 3, (4, 4))
    nn.init.normal_(control.path)
    x0 = problem.sample(4).x0
    with torch.no_grad():
        xs = odeint(
            lambda t, x: problem.dynamics(t, x, control(t, x)), x0, torch.tensor([0.0, 1.0]),
            rtol=1e-10, atol=1e-12,
        )  # fmt: skip
        ours = TorchDiffEq(rtol=1e-10, atol=1e-12).solve(problem, control, x0)
        rk4 = RK4(300).solve(problem, control, x0)
    torch.testing.assert_close(ours.states[-1], xs[-1], rtol=1e-8, atol=1e-9)  # pyright: ignore
    torch.testing.assert_close(ours.states[-1], rk4.states[-1], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(ours.running_cost, rk4.running_cost, rtol=1e-8, atol=1e-9)


def test_adaptive_steps_stop_at_the_knots() -> None:
    """A discontinuous control: without its knots the error would be that of one step."""
    problem, control, x0 = network(13, [], torch.float64)
    with torch.no_grad():
        tight = TorchDiffEq(rtol=1e-10, atol=1e-12).solve(problem, control, x0)
        fine = RK4(13 * 50).solve(problem, control, x0)
    torch.testing.assert_close(tight.states[-1], fine.states[-1], rtol=1e-8, atol=1e-9)
    assert tight.evaluations < 2500


def test_projections_in_every_solver() -> None:
    """A state that changes its size: the same jump, whatever solves between."""

    class Decay(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -0.7 * x

    class Narrow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0.7 * x[..., :2]

    class Narrowing(Problem):
        state_shape = (4,)

        def __init__(self) -> None:
            super().__init__()
            self.projections = [Projection(0.5, 0.6, nn.Linear(4, 2, bias=False))]

        def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
            return u(x)

        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(torch.ones(batch_size, 4))

    problem = Narrowing()
    control = Layers(0, 1, [Narrow() if k == 5 else Decay() for k in range(10)])
    (projection,) = problem.projections
    x = torch.full((3, 4), -0.7 * 0.5).exp()
    x = projection(x) + 0.1 * 0.7 * x[..., :2]
    expected = x * torch.tensor(-0.7 * 0.4).exp()
    x0 = problem.sample(3).x0
    for solver in (RK4(40), TorchDiffEq("rk4", 40), TorchDiffEq(rtol=1e-9, atol=1e-10), RK4(33)):
        trajectory = solver.solve(problem, control, x0)
        torch.testing.assert_close(trajectory.states[-1], expected, rtol=1e-6, atol=1e-8)
        with pytest.raises(ValueError, match="several shapes"):
            _ = trajectory.x


class Growth(Problem):
    """`x' = u x` with stage cost `x`: everything is known."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u * x

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "order"), [(Euler, 1), (Heun, 2), (RK4, 4), (RK38, 4)])
def test_observed_order(kind: Callable[[int], Solver], order: int) -> None:
    control = PiecewiseConstant(0, 1, 1, 1)
    nn.init.ones_(control.path)
    exact = torch.tensor(1.0).exp()
    errors = []
    for n in (20, 40):
        trajectory = kind(n).solve(Growth(), control, torch.ones(1, 1))
        errors.append((trajectory.states[-1] - exact, trajectory.running_cost - (exact - 1)))
    for coarse, fine in zip(*errors, strict=True):
        assert torch.log2(coarse / fine).item() == pytest.approx(order, abs=0.1)
    assert kind(1).order == order


def test_gradients() -> None:
    """Backprop through Euler, checkpointing, the adjoint and central differences agree."""
    problem, control, x0 = network(6, [2], torch.float64)
    parameters = [control.path, problem.projections[0].map.weight]

    def gradient(solver: Solver) -> tuple[Tensor, ...]:
        cost, _ = evaluate(problem, control, solver, Sample(x0))
        return torch.autograd.grad(cost.mean(), parameters)

    euler = gradient(Euler(6))
    torch.testing.assert_close(gradient(Euler(6, gradient=Checkpoint())), euler)
    for p, g in zip(parameters, euler, strict=True):
        entries = p.data.view(-1)
        for i in (0, 4, 7):
            value, eps = entries[i].clone(), 1e-5
            costs = []
            for shift in (eps, -eps):
                entries[i] = value + shift
                costs.append(evaluate(problem, control, Euler(6), Sample(x0))[0].mean().detach())
            entries[i] = value
            central = (costs[0] - costs[1]) / (2 * eps)
            torch.testing.assert_close(g.view(-1)[i], central, rtol=1e-8, atol=1e-8)

    fine = gradient(RK4(600))
    for how in (Backprop(), Adjoint()):
        tight = gradient(TorchDiffEq(rtol=1e-9, atol=1e-11, gradient=how))
        torch.testing.assert_close(tight, fine, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_batches_of_controls() -> None:
    problem = Growth()
    control = PiecewiseLinear(0, 1, 2, (5, 1))
    nn.init.normal_(control.path)
    together = Euler(8).solve(problem, control, torch.ones(5, 1)).states[-1]
    for i in range(5):
        alone = PiecewiseLinear(0, 1, 2, 1)
        alone.path.copy_(control.path[:, i])
        torch.testing.assert_close(
            together[i : i + 1], Euler(8).solve(problem, alone, torch.ones(1, 1)).states[-1]
        )


@torch.no_grad()
def test_layers_and_feedback_in_every_solver() -> None:
    class Branches(Growth):
        control_shape = None

        def dynamics(self, t: Tensor, x: Tensor, u: Any) -> Tensor:
            return u(x)

    layers = Layers(0, 3, [nn.Linear(1, 1) for _ in range(3)])
    problem = Branches()
    problem.t1 = 3.0
    x = x0 = torch.ones(2, 1)
    for layer in layers.layers:
        x = x + layer(x)
    for solver in (Euler(3), TorchDiffEq("euler", 3)):
        torch.testing.assert_close(solver.solve(problem, layers, x0).states[-1], x)

    class Policy(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -x

    # x' = -x^2 from 1: x(1) = 1/2.
    for solver in (RK4(50), TorchDiffEq(rtol=1e-9, atol=1e-10)):
        x = solver.solve(Growth(), Feedback(0, 1, Policy()), torch.ones(1, 1)).states[-1]
        torch.testing.assert_close(x, torch.full((1, 1), 0.5), rtol=1e-7, atol=1e-7)


def test_an_adaptive_solver_that_breaks_down_tells_where() -> None:
    class BlowUp(Growth):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x**2 + u

    problem, control = BlowUp(), PiecewiseConstant(0, 1.6, 4, 1)
    problem.t1 = 1.6
    with pytest.raises(SolverError, match="dopri5 broke down at time t=1, layer 2 of 4") as info:
        TorchDiffEq().solve(problem, control, torch.ones(1, 1))
    trajectory = info.value.trajectory
    assert info.value.time == pytest.approx(1, abs=1e-6)
    # x = 1 / (1 - t) up to there.
    early = trajectory.t < 0.9
    torch.testing.assert_close(
        trajectory.x[early, 0, 0], 1 / (1 - trajectory.t[early]), rtol=1e-4, atol=1e-4
    )
    assert early.sum() > 3


wide = PiecewiseConstant(0, 1, 2, 2)


def make(**changes: object) -> tuple[Problem, Control, Tensor]:
    """A problem with something wrong."""
    problem = type("Wrong", (Growth,), changes)()
    return problem, PiecewiseConstant(0, 1, 2, 1), torch.ones(3, 1)


@pytest.mark.parametrize(
    ("problem", "control", "x0", "error", "message"),
    [
        (*make(t1=0.0), ValueError, "t0 < t1.*t1=0.0"),
        (*make()[:2], torch.ones(3, 2), ValueError, r"x0 must have shape .*\(3, 2\)"),
        (*make()[:2], torch.ones(3, 1, dtype=torch.int64), TypeError, "(?s)x0.*(int64|i64)"),
        (make()[0], wide, torch.ones(3, 1), ValueError, r"values .*\(2,\)"),
        (make()[0], PiecewiseConstant(0, 2, 2, 1), torch.ones(3, 1), ValueError, "horizon"),
        (make()[0], "u", torch.ones(3, 1), TypeError, "control .*str"),
        (*make(dynamics=lambda s, t, x, u: x[..., 0]), ValueError, r"dynamics .*\(3,\)"),
        (*make(stage_cost=lambda s, t, x, u, y: x), ValueError, r"stage_cost .*\(3, [13]\)"),
        (*make(terminal_cost=lambda s, x, y: x), ValueError, r"terminal_cost .*\(3, 1\)"),
    ],
)  # fmt: skip
def test_rejects_what_does_not_fit(
    problem: Problem, control: Control, x0: Tensor, error: type[Exception], message: str
) -> None:
    for solver in (Euler(2), TorchDiffEq()):
        with pytest.raises(error, match=message):
            evaluate(problem, control, solver, Sample(x0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Euler(0), ValueError, "n >= 1.*n=0"),
        (lambda: RK4(cast(Any, 2.0)), TypeError, "n must be an integer, but got 2.0"),
        (lambda: Euler(2, gradient=cast(Any, "x")), TypeError, "gradient .*'x'"),
        (lambda: TorchDiffEq("rk5"), ValueError, "method .*'rk5'"),
        (lambda: TorchDiffEq("euler"), ValueError, "euler .*n=None"),
        (lambda: TorchDiffEq(rtol=0.0), ValueError, "rtol > 0.*rtol=0.0"),
        (lambda: TorchDiffEq(atol=-1.0), ValueError, "atol > 0.*atol=-1.0"),
        (lambda: Projection(1.0, 1.0, nn.Identity()), ValueError, "start < end"),
    ],
)
def test_rejects_bad_arguments(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


def test_rejects_what_is_no_problem() -> None:
    _, control, x0 = make()
    for solver in (Euler(2), TorchDiffEq()):
        with pytest.raises(TypeError, match="problem .*str"):
            solver.solve("p", control, x0)  # pyright: ignore


def test_missing_method_is_named() -> None:
    class Half(Problem):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x

    with pytest.raises(TypeError, match="sample"):
        Half()  # pyright: ignore
