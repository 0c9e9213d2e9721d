"""The reversible scheme: its order, its gradients, and memory that does not grow with depth."""

import math

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Chebyshev,
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
    Reversible,
    RK4,
    Sample,
    Solver,
    TerminalQuadratic,
)  # fmt: skip
from ocnet.analysis.memory import LiveMemory
from ocnet.networks import resnet
from ocnet.problem import Projection
from ocnet.solver.reversal import coupling
from tests.support.blobs import Blobs


class Swing(Problem):
    """`x' = tanh(A x + u) sin-like in time`, with costs on the way and at the end."""

    state_shape = (3,)
    control_shape = (3,)
    t1 = 2.0

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.A = nn.Parameter(torch.randn(3, 3, generator=generator) / 2)
        self.terminal_cost = TerminalQuadratic(torch.eye(3))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(x @ self.A.T + u) * (1 + t.sin())

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.square().sum(-1) * (1 + t) + (u.square() + self.A.diagonal() * u).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 3, generator=generator))


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.linear(x) * t.cos()


def controls() -> dict[str, Control]:
    torch.manual_seed(1)
    made: dict[str, Control] = {
        "constant": PiecewiseConstant(0, 2, 7, 3),
        "linear": PiecewiseLinear(0, 2, 5, 3),
        "spline": CubicSpline(0, 2, 4, 3),
        "chebyshev": Chebyshev(0, 2, 3, 3),
        "feedback": Feedback(0, 2, Policy()),
    }
    for control in made.values():
        for p in control.parameters():
            nn.init.normal_(p, std=0.5)
    return made


def written_out(
    problem: Problem, control: Control, solver: Reversible, x0: Tensor
) -> tuple[Tensor, Tensor]:
    """The same scheme by the book, one state after the other, for autograd to go through.

    The increment of the base method comes from the solver itself, on a horizon of one step.
    """
    n, t0, t1 = solver.n, problem.t0, problem.t1
    h, lam = (t1 - t0) / n, coupling(n)
    tableau = solver.solver.tableau
    y = z = x0
    cost = x0.new_zeros(len(x0))

    def psi(t: float, h: float, x: Tensor) -> tuple[Tensor, Tensor]:
        ks, total = [], x.new_zeros(len(x))
        for a, b, c in zip(tableau.a, tableau.b, tableau.c, strict=True):
            x_i = x + h * sum((a_j * k for a_j, k in zip(a, ks, strict=True)), x.new_zeros(()))
            s = t + c * h
            later = (c == 1) == (h > 0) and c in (0, 1)
            law = control.laws([s], side="left" if later else "right")[0]
            u = law(x_i)
            ks.append(problem.dynamics(x.new_tensor(s), x_i, u))
            total = total + h * b * problem.stage_cost(x.new_tensor(s), x_i, u, None)
        return h * sum(b * k for b, k in zip(tableau.b, ks, strict=True)), total  # pyright: ignore

    for k in range(n):
        step, running = psi(t0 + k * h, h, z)
        y = lam * y + (1 - lam) * z + step
        z = z - psi(t0 + (k + 1) * h, -h, y)[0]
        cost = cost + running
    return y, cost + problem.terminal_cost(y, None)


def gradients(cost: Tensor, *tensors: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(cost.mean(), tensors))


@pytest.mark.parametrize("method", [Euler, Heun, RK4])
@pytest.mark.parametrize("name", list(controls()))
def test_gradients_are_those_of_backprop_through_the_scheme(method: type, name: str) -> None:
    problem, control = Swing(), controls()[name]
    x0 = problem.sample(4, torch.Generator().manual_seed(2)).x0.requires_grad_()
    solver = Reversible(method(14))
    tensors = [x0, *problem.parameters(), *control.parameters()]
    cost, trajectory = evaluate(problem, control, solver, Sample(x0))
    y, expected = written_out(problem, control, solver, x0)
    torch.testing.assert_close(trajectory.states[-1], y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(cost, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(cost, *tensors), gradients(expected, *tensors), rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("method, order", [(Euler, 1), (Heun, 2), (RK4, 4)])
def test_the_order_is_that_of_the_method(method: type, order: int) -> None:
    problem, control = Swing(), controls()["chebyshev"]
    sample = problem.sample(4, torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact, _ = evaluate(problem, control, RK4(2000), sample)
        errors = [
            (evaluate(problem, control, Reversible(method(n)), sample)[0] - exact).abs().max()
            for n in (40, 80)
        ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_layers_and_projections(generator: torch.Generator) -> None:
    """A ResNet of two stages: after the projection both copies of the state start anew."""
    network = resnet(4, (4, 8), size=8, generator=generator).double()
    images, labels = torch.rand(5, 3, 8, 8), torch.arange(5)
    problem, layers = network.problem, network.control.layers
    parameters = [p for p in network.parameters() if p.requires_grad]
    network.solver = Reversible(Euler(4))
    before = {name: b.clone() for name, b in network.named_buffers()}
    cost, _ = evaluate(problem, network.control, network.solver, Sample(images, labels))
    found = torch.autograd.grad(cost.mean(), parameters, allow_unused=True)
    after = {name: b.clone() for name, b in network.named_buffers()}

    network.load_state_dict({**network.state_dict(), **before})
    lam, y = coupling(4), problem.embed(images)
    z = y
    for k in range(4):
        skip = problem.backbone.skips.get(k)
        if skip is not None:
            y = z = skip(y) + layers[k](y)
        else:
            y = lam * y + (1 - lam) * z + layers[k](z)
            z = z + layers[k](y)
    expected_cost = problem.terminal_cost(y, labels)
    expected = torch.autograd.grad(expected_cost.mean(), parameters, allow_unused=True)
    torch.testing.assert_close(cost, expected_cost)
    for p, g in zip(found, expected, strict=True):
        assert (p is None) == (g is None)
        if p is not None:
            torch.testing.assert_close(p, g, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(after, dict(network.named_buffers()))


@pytest.mark.slow
def test_memory_does_not_grow_with_depth() -> None:
    def held(solver: Solver) -> float:
        torch.manual_seed(0)
        problem = Blobs(width=16, dropout=0.0, norm=False)
        layer = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        control = Layers(0.0, problem.t1, [layer] * solver.n)
        sample = problem.sample(200, torch.Generator().manual_seed(0))
        with LiveMemory() as live:
            cost, _ = evaluate(problem, control, solver, sample)
            cost.mean().backward()
        return live.peak

    flat = [held(Reversible(Euler(n))) for n in (20, 80, 320)]
    assert max(flat) < 1.1 * min(flat)
    assert held(Euler(80)) > 8 * flat[1]


def test_rounding_grows_by_a_factor_that_no_number_of_steps_exceeds() -> None:
    assert all(coupling(n) ** -n < 60 for n in (1, 50, 400, 20_000))
    assert coupling(50) == 0.99 and coupling(4000) == 0.999


@pytest.mark.parametrize("n", [50, 1000])
def test_single_precision_is_enough(n: int) -> None:
    problem, control = Swing(), controls()["chebyshev"]
    x0 = torch.ones(1, 3)

    def gradient(dtype: torch.dtype) -> Tensor:
        problem.to(dtype)
        control.to(dtype)
        x = x0.to(dtype).requires_grad_()
        cost, _ = evaluate(problem, control, Reversible(Euler(n)), Sample(x))
        return torch.autograd.grad(cost.sum(), x)[0].double()

    torch.testing.assert_close(
        gradient(torch.float32), gradient(torch.float64), rtol=1e-3, atol=1e-4
    )


def test_what_draws_random_numbers_is_refused() -> None:
    problem = Blobs(dropout=0.5)
    control = problem.initial_control(3)
    with pytest.raises(ValueError, match="must draw no random numbers: set dropout to 0"):
        evaluate(problem, control, Reversible(Euler(3)), problem.data("train"))
    control.eval()
    evaluate(problem, control, Reversible(Euler(3)), problem.data("train"))


def test_half_precision_keeps_whole_states() -> None:
    torch.set_default_dtype(torch.float32)
    problem = Blobs(dropout=0.0, norm=False)
    torch.manual_seed(0)
    control = problem.initial_control(20)

    def gradient(solver: Solver) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            cost, _ = evaluate(problem, control, solver, problem.data("train"))
        return torch.autograd.grad(cost.mean(), problem.embedding.weight)[0]

    half = gradient(Reversible(Euler(20)))
    with torch.autocast("cpu", enabled=False):
        cost, _ = evaluate(problem, control, Reversible(Euler(20)), problem.data("train"))
    whole = torch.autograd.grad(cost.mean(), problem.embedding.weight)[0]
    assert (half - whole).norm() < 0.03 * whole.norm()


class Gains(Control):
    """A law that holds a tensor of its own making."""

    def laws(self, ts, side="right"):  # noqa: ANN001, ANN201
        return [lambda x: x for _ in ts]

    def pieces(self):  # noqa: ANN201
        return [lambda t, x: x]

    def refine(self):  # noqa: ANN201
        return self


def test_other_controls_are_refused() -> None:
    with pytest.raises(TypeError, match="layers and feedback policies, but got Gains"):
        evaluate(Swing(), Gains(0, 2), Reversible(Euler(3)), Sample(torch.ones(1, 3)))


def test_a_projection_without_steps_beside_it() -> None:
    class Small(Swing):
        def __init__(self):
            super().__init__()
            self.projections = [Projection(0.0, 2.0, nn.Identity())]

    problem, control = Small(), controls()["constant"]
    x0 = torch.ones(2, 3)
    reversible, plain = (
        evaluate(problem, control, solver, Sample(x0))[0]
        for solver in (Reversible(Euler(1)), Euler(1))
    )
    torch.testing.assert_close(reversible, plain)
