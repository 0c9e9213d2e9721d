"""Gradients by the costate recursion: equal to backprop's, and refused where they would not be."""

import copy
import shutil
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import nn, Tensor

import ocnet
from ocnet import (
    Backprop,
    Costate,
    Euler,
    Heun,
    Problem,
    Projection,
    RK4,
    RK38,
    Sample,
)
from ocnet.solver import sweep


D = 3
CONTROLS = [
    ocnet.PiecewiseConstant,
    ocnet.PiecewiseLinear,
    ocnet.CubicSpline,
    ocnet.Fourier,
    ocnet.Chebyshev,
]
SOLVERS = [Euler, Heun, RK4, RK38]


class Tracking(Problem):
    """A non-linear problem that uses everything: time, targets, and parameters of its own."""

    state_shape = (D,)
    control_shape = (D, D + 1)

    def __init__(self, generator: torch.Generator, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.gamma = 1.0
        self.A = nn.Parameter(torch.randn(D, D, generator=generator, dtype=dtype))
        self.readout = nn.Linear(D, 2, dtype=dtype)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        z = x @ u[..., :D].mT
        z += u[..., D]
        return self.gamma * torch.tanh(z) * torch.cos(t) + x.sin() @ self.A

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        miss = self.readout(x) - target
        return 0.1 * u.square().sum() + (1 + t) * miss.square().sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.pow(4).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        dtype = self.A.dtype
        return Sample(
            torch.randn(batch_size, D, generator=generator, dtype=dtype),
            torch.randn(batch_size, 2, generator=generator, dtype=dtype),
        )


class Field(Problem):
    """The problem of a vector field that a test brings, with all of the state in its costs."""

    def __init__(self, f: Callable, state_shape: tuple[int, ...], control_shape: tuple[int, ...]):
        super().__init__()
        self.f = f
        self.state_shape = state_shape
        self.control_shape = control_shape

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.f(t, x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.square().reshape(*self.batch_shape(x), -1).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sin().reshape(*self.batch_shape(x), -1).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, *self.state_shape, generator=generator))


def random_control(
    kind: type, generator: torch.Generator, shape: tuple[int, ...] = (D, D + 1), n: int = 6
) -> Any:
    control = kind(0.0, 1.0, n, shape)
    with torch.no_grad():
        control.path.normal_(generator=generator)
    return control


def cost_and_gradients(
    problem: Problem, control: ocnet.Control, solver: ocnet.Solver, sample: Sample
) -> list[Tensor]:
    """Costs, and gradients with respect to all that there is, with unequal weights on samples."""
    x0 = sample.x0.detach().requires_grad_()
    cost, trajectory = ocnet.evaluate(problem, control, solver, sample._replace(x0=x0))
    weights = torch.linspace(1, 2, cost.numel(), dtype=cost.dtype).reshape(cost.shape)
    total = (weights * cost).sum() + trajectory.states[2].sum()
    inputs = [x0, *control.parameters(), *problem.parameters()]
    return [cost.detach(), *torch.autograd.grad(total, inputs, materialize_grads=True)]


def assert_equal_to_backprop(
    problem: Problem,
    control: ocnet.Control,
    solver: Callable[..., ocnet.Solver],
    sample: Sample,
    n: int = 6,
    compile: bool = False,
) -> None:
    expected = cost_and_gradients(problem, control, solver(n), sample)
    fast = solver(n, gradient=Costate(compile=compile))
    actual = cost_and_gradients(problem, control, fast, sample)
    for a, b in zip(actual, expected, strict=True):
        tolerance = 1e-12 if b.dtype == torch.float64 else 2e-5
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("n", [6, 9])
def test_equals_backprop(solver: Any, kind: Any, n: int, generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(kind, generator)
    assert_equal_to_backprop(problem, control, solver, problem.sample(4, generator), n)


@pytest.mark.parametrize("solver", SOLVERS)
def test_equals_backprop_in_single_precision(solver: Any, generator: torch.Generator) -> None:
    problem = Tracking(generator, torch.float32)
    control = random_control(ocnet.PiecewiseLinear, generator).float()
    assert_equal_to_backprop(problem, control, solver, problem.sample(4, generator))


@pytest.mark.parametrize("solver", SOLVERS)
def test_crosses_projections(solver: Any, generator: torch.Generator) -> None:
    problem = Field(lambda t, x, u: (x[..., :2] * u).tanh() + t * u, (4,), (2,))
    # The first changes the shape of the state, the second only turns it.
    problem.projections = [
        Projection(0.0, 1 / 6, nn.Linear(4, 2)),
        Projection(1 / 2, 2 / 3, nn.Linear(2, 2)),
    ]
    control = random_control(ocnet.PiecewiseLinear, generator, (2,))
    assert_equal_to_backprop(problem, control, solver, problem.sample(3, generator))


FIELDS = {
    "no control": (lambda t, x, u: -x.sin(), (2,), (2,)),
    "no state": (lambda t, x, u: u.expand_as(x), (2,), (2,)),
    "no time, one state": (lambda t, x, u: x * u, (), ()),
    "constant": (lambda t, x, u: torch.ones_like(x), (2,), (2,)),
    "time, twice": (lambda t, x, u: t * x + (3 * t).cos() * u * x, (2,), (2,)),
    "views": (lambda t, x, u: (x.reshape(-1, 4) * u).reshape(x.shape), (2, 2), (4,)),
    "softmax": (lambda t, x, u: (x @ u).softmax(-1), (3,), (3, 3)),
    "relu and index": (lambda t, x, u: torch.relu(x @ u)[..., [2, 0, 0]], (3,), (3, 3)),
    "norm": (lambda t, x, u: nn.functional.layer_norm(x, (3,)) * u, (3,), (3,)),
    "chunks": (lambda t, x, u: torch.cat((x * u).chunk(2, -1)[::-1], -1), (4,), (4,)),
    "convolution": (
        lambda t, x, u: nn.functional.conv2d(x, u, padding=1).tanh(),
        (2, 4, 4),
        (2, 2, 3, 3),
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_equals_backprop_for_many_fields(name: str, generator: torch.Generator) -> None:
    f, state_shape, control_shape = FIELDS[name]
    problem = Field(f, state_shape, control_shape)
    control = random_control(ocnet.PiecewiseConstant, generator, control_shape)
    assert_equal_to_backprop(problem, control, Heun, problem.sample(3, generator))


def test_equals_backprop_for_a_batch_of_controls(generator: torch.Generator) -> None:
    problem = Field(lambda t, x, u: (u @ x[..., None]).squeeze(-1).sin(), (D,), (D, D))
    control = random_control(ocnet.PiecewiseLinear, generator, (4, 1, D, D))
    x0 = torch.randn(4, 2, D, generator=generator)
    assert_equal_to_backprop(problem, control, RK4, Sample(x0))


def test_takes_states_and_gradients_of_any_strides(generator: torch.Generator) -> None:
    f, state_shape, control_shape = FIELDS["views"]
    problem = Field(f, state_shape, control_shape)
    problem.terminal_cost = lambda x, target: x.sum((-2, -1))
    control = random_control(ocnet.PiecewiseConstant, generator, control_shape)
    x0 = torch.randn(2, 2, 1, generator=generator).expand(2, 2, 3).permute(2, 1, 0)
    assert_equal_to_backprop(problem, control, Heun, Sample(x0))


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(ocnet.CubicSpline, generator)
    monkeypatch.setattr("ocnet.solver.costate.CHUNK", 4 * D * 2)
    assert_equal_to_backprop(problem, control, Heun, problem.sample(4, generator), 7)


@pytest.mark.parametrize("solver", SOLVERS)
def test_equals_central_differences(solver: Any, generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(ocnet.PiecewiseLinear, generator)
    sample = problem.sample(4, generator)
    method = solver(12, gradient=Costate())

    def cost() -> Tensor:
        return ocnet.evaluate(problem, control, method, sample)[0].mean()

    for parameter in [*control.parameters(), *problem.parameters()]:
        direction = torch.randn(parameter.shape, generator=generator)
        (gradient,) = torch.autograd.grad(cost(), parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-5)
                values.append(cost())
                parameter.sub_(direction, alpha=sign * 1e-5)
        expected = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-7, atol=1e-8)


def test_is_the_costate_of_the_linear_regulator() -> None:
    """`p <- p + h (a p + q x)`, and the gradient of the control is `h (r u + b p)`."""
    a, b, q, r, n = -0.5, 2.0, 3.0, 0.1, 50
    problem = Field(lambda t, x, u: a * x + b * u, (), ())
    problem.stage_cost = lambda t, x, u, target: (q * x**2 + r * u**2) / 2
    problem.terminal_cost = lambda x, target: x.new_zeros(())
    control = ocnet.PiecewiseConstant(0.0, 1.0, n, ())
    with torch.no_grad():
        control.path.copy_(torch.linspace(-1, 1, n))
    solver = Euler(n, gradient=Costate())
    cost, trajectory = ocnet.evaluate(problem, control, solver, Sample(torch.tensor(1.0)))
    cost.backward()

    h, p, expected = 1 / n, 0.0, []
    u, x = control.path.tolist(), trajectory.x.detach().tolist()
    for k in reversed(range(n)):
        expected.append(h * (r * u[k] + b * p))
        p = p + h * (a * p + q * x[k])
    torch.testing.assert_close(control.path.grad, torch.tensor(expected[::-1]))


def test_follows_what_changes_between_two_solves(generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(ocnet.PiecewiseConstant, generator)
    sample = problem.sample(4, generator)
    assert_equal_to_backprop(problem, control, Euler, sample)
    problem.gamma = 0.3
    with torch.no_grad():
        problem.A.mul_(2)
        control.path.mul_(0.5)
    assert_equal_to_backprop(problem, control, Euler, sample)


def test_trains_like_backprop(generator: torch.Generator) -> None:
    problem = Tracking(generator).requires_grad_(False)
    start = random_control(ocnet.PiecewiseConstant, generator).path.detach()
    batch = [problem.sample(8, generator)]
    costs = []
    for gradient in (Backprop(), Costate()):
        control = ocnet.PiecewiseConstant(0.0, 1.0, 6, (D, D + 1))
        control.load_state_dict({"path": start})
        optimizer = torch.optim.Adam(control.parameters(), lr=0.01)
        solver = Euler(6, gradient=gradient)
        history = ocnet.train(
            problem, control, solver, optimizer, n_steps=20, data=batch, progress=False
        )
        costs.append(torch.tensor(history.cost))
    torch.testing.assert_close(costs[1], costs[0], rtol=1e-10, atol=0)
    assert costs[0][-1] < costs[0][0]


COMPILES = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="needs a C++ compiler"
)


@pytest.fixture
def few_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three evaluations of the dynamics compiled at once."""
    monkeypatch.setattr("ocnet.solver.costate.COMPILED_EVALUATIONS", 3)
    monkeypatch.setattr("ocnet.solver.sweep.COMPILED", {})


@COMPILES
@pytest.mark.slow
@pytest.mark.usefixtures("few_compiled")
@pytest.mark.parametrize(("solver", "n"), [(Euler, 7), (Heun, 2)])
def test_compiled_equals_backprop(solver: Any, n: int, generator: torch.Generator) -> None:
    """Whole chunks and steps left over; the second problem uses what the first had compiled."""
    control = random_control(ocnet.PiecewiseLinear, generator)
    problem, another = Tracking(generator), Tracking(generator)
    sample = problem.sample(4, generator)
    assert_equal_to_backprop(problem, control, solver, sample, n, compile=True)
    assert_equal_to_backprop(another, control, solver, sample, n, compile=True)
    assert len(sweep.COMPILED) == 2, "one function forward, one back"
    problem.gamma = 0.3
    assert_equal_to_backprop(problem, control, solver, sample, n, compile=True)


@COMPILES
@pytest.mark.slow
@pytest.mark.usefixtures("few_compiled")
def test_compiled_keeps_problems_apart(generator: torch.Generator) -> None:
    """The way back of one problem comes after the way forward of another."""
    problems = [Tracking(generator) for _ in range(2)]
    control = random_control(ocnet.PiecewiseConstant, generator)
    sample = problems[0].sample(4, generator)

    def gradients(solver: ocnet.Solver) -> list[Tensor]:
        costs = [ocnet.evaluate(problem, control, solver, sample)[0].sum() for problem in problems]
        pairs = zip(costs, problems, strict=True)
        return [torch.autograd.grad(cost, problem.A)[0] for cost, problem in pairs]

    actual = gradients(Euler(6, gradient=Costate(compile=True)))
    torch.testing.assert_close(actual, gradients(Euler(6)), rtol=1e-12, atol=1e-12)


def test_compiles_the_costate_recursion_alone() -> None:
    with pytest.raises(TypeError, match="compile"):
        Euler(6, compile=True)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="compile must be True or False, but got 'yes'"):
        Costate(compile=cast(Any, "yes"))


def test_a_failed_compilation_says_why(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("no C++ compiler\nwas found")

    monkeypatch.setattr("torch._inductor.compile", fails)
    monkeypatch.setattr("ocnet.solver.sweep.COMPILED", {})
    problem = Tracking(generator)
    control = random_control(ocnet.PiecewiseConstant, generator)
    solver = Euler(16, gradient=Costate(compile=True))
    with pytest.raises(
        RuntimeError, match="cannot compile the dynamics: no C.. compiler was found"
    ):
        ocnet.evaluate(problem, control, solver, problem.sample(4, generator))


def test_needs_no_recording_without_gradients(generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(ocnet.PiecewiseConstant, generator)
    sample = problem.sample(4, generator)
    with torch.no_grad():
        expected, _ = ocnet.evaluate(problem, control, Euler(6), sample)
        actual, _ = ocnet.evaluate(problem, control, Euler(6, gradient=Costate()), sample)
    assert torch.equal(actual, expected)


class Shared(Tracking):
    """One module under two names, and one parameter in two modules."""

    def __init__(self, generator: torch.Generator):
        super().__init__(generator)
        self.same = self.readout
        self.other = nn.Linear(D, 2, dtype=torch.float64)
        self.other.weight = self.readout.weight

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x * self.other.weight.sum() + self.same(x) @ u[:2, :D]


def test_leaves_shared_modules_as_they_are(generator: torch.Generator) -> None:
    problem = Shared(generator)
    before = {k: id(z) for k, z in problem.named_parameters(remove_duplicate=False)}
    control = random_control(ocnet.PiecewiseConstant, generator)
    assert_equal_to_backprop(problem, control, Heun, problem.sample(4, generator))
    assert before == {k: id(z) for k, z in problem.named_parameters(remove_duplicate=False)}


def test_an_unused_parameter_has_no_gradient(generator: torch.Generator) -> None:
    problem = Field(lambda t, x, u: x * u, (D,), (D,))
    problem.unused = nn.Parameter(torch.ones(()))
    control = random_control(ocnet.PiecewiseConstant, generator, (D,))
    solver = Euler(6, gradient=Costate())
    ocnet.evaluate(problem, control, solver, problem.sample(2, generator))[0].sum().backward()
    assert problem.unused.grad is None
    assert control.path.grad is not None


def test_refuses_a_second_derivative(generator: torch.Generator) -> None:
    problem = Tracking(generator)
    control = random_control(ocnet.PiecewiseConstant, generator)
    solver = Euler(6, gradient=Costate())
    cost, _ = ocnet.evaluate(problem, control, solver, problem.sample(2, generator))
    with pytest.raises(ValueError, match=r"Costate\(\) has no second derivative"):
        torch.autograd.grad(cost.sum(), control.path, create_graph=True)


FOREIGN = torch.ones(D, requires_grad=True)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda t, x, u: nn.functional.dropout(x) * u, "without random numbers"),
        (lambda t, x, u: x * u * torch.rand(D), "without random numbers"),
        (lambda t, x, u: x * u if t < 0.5 else x, "lets values decide"),
        (lambda t, x, u: x * float(u.sum()), "lets values decide"),
        (lambda t, x, u: torch.tensor(x.detach().tolist()) * u, "cannot record the dynamics"),
        (lambda t, x, u: x * u * FOREIGN, "parameters are those of the problem"),
        (lambda t, x, u: (x * u)[..., :2], "dynamics must return shape"),
    ],
)
def test_refuses_dynamics_that_it_cannot_record(
    f: Callable, message: str, generator: torch.Generator
) -> None:
    problem = Field(f, (D,), (D,))
    control = ocnet.PiecewiseConstant(0.0, 1.0, 6, D)
    with pytest.raises(ValueError, match=message):
        Euler(6, gradient=Costate()).solve(problem, control, torch.randn(2, D))


def test_refuses_dynamics_that_count() -> None:
    problem = Field(lambda t, x, u: x * u * counter.add_(1), (D,), (D,))
    counter = torch.zeros(())
    problem.register_buffer("counter", counter)
    control = ocnet.PiecewiseConstant(0.0, 1.0, 6, D)
    with pytest.raises(ValueError, match="cannot record the dynamics.*in-place"):
        Euler(6, gradient=Costate()).solve(problem, control, torch.randn(2, D))


def test_refuses_batch_normalisation_over_a_batch() -> None:
    norm = nn.BatchNorm1d(D)
    problem = Field(lambda t, x, u: norm(x) * u, (D,), (D,))
    problem.norm = norm
    control = ocnet.PiecewiseConstant(0.0, 1.0, 6, D)
    x0 = torch.randn(4, D)
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(ValueError, match="cannot record the dynamics"):
        Euler(6, gradient=Costate()).solve(problem, control, x0)
    torch.testing.assert_close(norm.running_mean, before["running_mean"])
    problem.eval()
    assert_equal_to_backprop(problem, control, Euler, Sample(x0))


@pytest.mark.parametrize(
    "control",
    [
        ocnet.Layers(0.0, 1.0, [nn.Linear(D, D)]),
        ocnet.Feedback(0.0, 1.0, nn.Identity()),
    ],
)
def test_refuses_a_control_that_is_not_open_loop(control: ocnet.Control) -> None:
    problem = Field(lambda t, x, u: x, (D,), (D,))
    with pytest.raises(ValueError, match=f"open-loop control.*{type(control).__name__}"):
        Euler(6, gradient=Costate()).solve(problem, control, torch.randn(2, D))
