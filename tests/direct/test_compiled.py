"""Compiled problems against the same problems by torch, and formulas against autograd."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn, Tensor

from ocnet import Euler, ExplicitRungeKutta, Problem, RK4, Sample
from ocnet.checks import ProblemError
from ocnet.direct import InteriorPoint, solve
from ocnet.direct.compiled import build, kernel_of, Unsupported
from ocnet.direct.compiled.expression import Graph, OPERATIONS
from ocnet.direct.compiled.symbol import Symbol
from ocnet.direct.solving import single
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.iterate import linearise
from ocnet.direct.transcription.transcription import Transcription
from ocnet.direct.transcription.variables import Iterate
from problems import constrained, double_integrator, free_time, linear_quadratic, nonlinear


compiles = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")

FORMULAS = {
    "sin": lambda x, y: x.sin(),
    "cos": lambda x, y: x.cos(),
    "tan": lambda x, y: x.tan(),
    "asin": lambda x, y: (x / 4).asin(),
    "acos": lambda x, y: (x / 4).acos(),
    "atan": lambda x, y: x.atan(),
    "atan2": lambda x, y: torch.atan2(x, y),
    "hyperbolic": lambda x, y: x.sinh() + 2 * x.cosh() * x.tanh(),
    "exp": lambda x, y: x.exp() + y.expm1(),
    "log": lambda x, y: x.abs().log() + (x**2).log1p(),
    "roots": lambda x, y: (1 + x**2).sqrt() + (1 + y**2).rsqrt(),
    "erf": lambda x, y: x.erf(),
    "powers": lambda x, y: x**3 - x**-2 + (1 + x**2) ** 1.5 + (5 + x) ** y + 2**x,
    "quotient": lambda x, y: x / y - 1 / y + x.reciprocal(),
    "signs": lambda x, y: x.abs() * y.sign() + x.clamp(-0.5, 0.5) + y.clamp(max=0.1),
    "larger": lambda x, y: torch.maximum(x, y) - 3 * torch.minimum(x**2, y) + x.relu(),
    "where": lambda x, y: torch.where((x > y) & ~(x < -0.5), x**2, -y),
    "logistic": lambda x, y: x.sigmoid() * y,
    "sums": lambda x, y: x * y.sum() - x.mean() * (x * y).sum(-1, keepdim=True) + x.norm(),
    "products": lambda x, y: (
        torch.outer(x, y) @ x + torch.stack([x, y]).mT @ torch.stack([y, x]) @ y
    ),
    "rows and columns": lambda x, y: (x @ torch.outer(x, y)) * (torch.outer(y, x) @ y) + x @ y,
    "moves": lambda x, y: torch.cat([x[1:], y[:1]]) + x.flip(0) * torch.stack([x, y], -1)[..., 1],
    "einsum": lambda x, y: torch.einsum("i,j,j->i", x, y, y) + torch.diag_embed(x) @ y,
}


def in_place(x: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[0] = x[1] * y[0]
    out[1:] += 2 * y[1:].sin()
    return out


FORMULAS["in place"] = in_place


def evaluated(graph: Graph, nodes: list[int], inputs: dict[str, float]) -> list[float]:
    found: dict[int, float] = {}
    for node in graph.needed(nodes):
        kind, *rest = graph.nodes[node]
        if kind in ("constant", "input"):
            found[node] = rest[0] if kind == "constant" else inputs[rest[0]]
        else:
            found[node] = OPERATIONS[kind].value(*(found[a] for a in rest))
    return [found[node] for node in nodes]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_and_derivatives_equal_autograd(name: str, generator: torch.Generator) -> None:
    formula, graph = FORMULAS[name], Graph()
    codes = [f"x{i}" for i in range(6)]
    ids = torch.tensor([graph.input(code) for code in codes])
    x, y = (Symbol(part, graph, torch.float64) for part in ids.split(3))
    out = formula(x, y).ids.reshape(-1).tolist()
    weights = [graph.input(f"w{i}") for i in range(len(out))]
    total = graph.zero
    for w, node in zip(weights, out, strict=True):
        total = graph.apply("add", total, graph.apply("mul", w, node))
    variables = ids.tolist()
    gradient = graph.gradient(total, variables)
    hessian = [node for v in variables for node in graph.tangents(gradient, v)]
    jacobian = [node for v in variables for node in graph.tangents(out, v)]

    at = torch.randn(6, generator=generator)
    by = torch.randn(len(out), generator=generator)
    inputs = dict(zip(codes, at.tolist(), strict=True))
    inputs |= {f"w{i}": v for i, v in enumerate(by.tolist())}
    plain = lambda v: formula(*v.split(3)).reshape(-1)
    expected = [
        plain(at),
        torch.autograd.functional.jacobian(plain, at).T,
        torch.autograd.functional.hessian(lambda v: plain(v) @ by, at),
    ]
    for nodes, value in zip((out, jacobian, hessian), expected, strict=True):
        found = torch.tensor(evaluated(graph, nodes, inputs)).reshape(value.shape)
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-9)


ALL = [
    (linear_quadratic.TerminalLQR, Euler(20)),
    (nonlinear.VanDerPol, RK4(20)),
    (nonlinear.BilinearPenalty, RK4(20)),
    (nonlinear.DeepLinear, Euler(10)),
    (double_integrator.BrysonDenham, Euler(40)),
    (constrained.LinearResNet, Euler(10)),
    (constrained.BoundedVanDerPol, Euler(50)),
    (constrained.PendulumSwingUp, RK4(50)),
    (free_time.MinTime, Euler(20)),
    (free_time.MoonLander, RK4(20)),
    (free_time.Brachistochrone, RK4(20)),
    (free_time.Goddard, Euler(50)),
    (free_time.OrbitRaising, RK4(30)),
]


def varied(nlp: Transcription, generator: torch.Generator) -> Iterate:
    """An iterate with nothing zero."""
    it = Iterate.without_multipliers(nlp, *nlp.constant_start(nlp.n))
    return Iterate(*(v + 0.1 * torch.rand(v.shape, generator=generator).to(v) for v in it))


@compiles
@pytest.mark.parametrize(("problem", "solver"), ALL)
@pytest.mark.parametrize("relaxed", [False, True])
def test_compiled_derivatives_equal_autograd(
    problem: type[Problem], solver: ExplicitRungeKutta, relaxed: bool, generator: torch.Generator
) -> None:
    nlp = Transcription(single(problem()), solver, Autograd())
    nlp.scale = nlp.scale * 0.3
    nlp = nlp.relaxed(1e3, nlp.anchor + 0.5) if relaxed else nlp
    it = varied(nlp, generator)
    expected = linearise(nlp, it)
    nlp.backend = kernel_of(nlp)
    found = linearise(nlp, it)
    for a, b in zip((found.along, found.end), (expected.along, expected.end), strict=True):
        for v, w in zip((*a.values, *a.jacobians, a.hessian), (*b.values, *b.jacobians, b.hessian),
                        strict=True):  # fmt: skip
            torch.testing.assert_close(v, w, rtol=1e-9, atol=1e-9)


@compiles
@pytest.mark.parametrize(("problem", "solver"), ALL)
def test_the_compiled_iteration_takes_the_same_steps(
    problem: type[Problem], solver: ExplicitRungeKutta
) -> None:
    method = InteriorPoint(max_iterations=7, tolerance=1e-14)
    found, expected = (
        solve(problem(), solver=solver, method=method, compile=compiled)
        for compiled in (True, False)
    )
    assert found.statuses == expected.statuses
    for name in ("x", "u", "costates", "cost", "final_time", "violation", "hamiltonian"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@compiles
@pytest.mark.parametrize(("problem", "solver"), ALL)
def test_compiled_and_not_find_the_same_optimum(
    problem: type[Problem], solver: ExplicitRungeKutta
) -> None:
    found, expected = (
        solve(problem(), solver=solver, compile=compiled) for compiled in (True, False)
    )
    assert found.status == expected.status == "converged"
    assert abs(int(found.iterations) - int(expected.iterations)) <= 3
    torch.testing.assert_close(found.cost, expected.cost, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.u, expected.u, rtol=1e-4, atol=1e-4)


class Slide(Problem):
    """A mass with friction, drag and target that can be changed in every way."""

    t1 = 2.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-2.0, 2.0)
    drag: Tensor

    def __init__(self, friction: float = 0.1):
        super().__init__()
        self.mass = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("drag", torch.tensor([0.2, 0.3]))
        self.friction = friction

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        v = x[..., 1]
        drag = self.drag[0] * v + self.drag[1] * v**3 + self.friction * v.tanh()
        return torch.stack([v, (u[..., 0] - drag + t.sin()) / self.mass], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1) + (x**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 10 * ((x - (0.0 if target is None else target)) ** 2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, -0.5]).expand(batch_size, 2))


def both(problem: Problem, **parameters: Tensor) -> tuple[Tensor, Tensor]:
    batch = problem.batch(torch.tensor([[1.0, -0.5], [0.3, 0.2]]), **parameters)
    found, expected = (solve(batch, solver=RK4(20), compile=c) for c in (True, False))
    assert found.status == expected.status == "converged"
    return found.cost, expected.cost


@compiles
def test_what_is_compiled_follows_every_change_of_the_problem() -> None:
    problem, costs = Slide(), []

    def check(**parameters: Tensor) -> None:
        found, expected = both(problem, **parameters)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
        assert all(not torch.allclose(found, before, rtol=1e-4) for before in costs)
        costs.append(found)

    check()
    with torch.no_grad():
        problem.mass.fill_(3.0)
    check()
    problem.drag = torch.tensor([0.4, 0.0])
    check()
    problem.friction = 0.7
    check()
    problem.t1 = 3.0
    check()
    problem.control_bounds = (-0.1, 0.1)
    check()
    check(mass=torch.tensor([0.8, 1.3]))
    check(target=torch.tensor([[0.5, 0.1], [-0.5, 0.3]]))


class Wall(Slide):
    """Far from the wall nothing tells where it stands."""

    def __init__(self):
        super().__init__()
        self.wall = [0.5, 4.0]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        over = (x[..., 0] - self.wall[0]).clamp(min=0)
        return super().stage_cost(t, x, u, target) + self.wall[1] * over**2


@compiles
def test_what_is_compiled_follows_a_change_that_few_points_show() -> None:
    problem = Wall()
    problem.wall[0] = 50.0
    far, _ = both(problem)
    problem.wall[0] = 0.9
    near, expected = both(problem)
    torch.testing.assert_close(near, expected, rtol=1e-8, atol=1e-9)
    assert not torch.allclose(near, far, rtol=1e-5)


WIND = [0.0]


class Gale(Slide):
    """What it depends on is not part of the problem."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return super().dynamics(t, x, u) + WIND[0]


@compiles
def test_what_is_compiled_follows_a_change_outside_the_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = Gale()
    calm, _ = both(problem)
    monkeypatch.setattr(sys.modules[__name__], "WIND", [0.5])
    windy, expected = both(problem)
    torch.testing.assert_close(windy, expected, rtol=1e-8, atol=1e-9)
    assert not torch.allclose(windy, calm, rtol=1e-3)


@compiles
def test_derivatives_of_the_optimum_do_not_depend_on_the_compiler() -> None:
    gradients = []
    for compiled in (True, False):
        problem = Slide()
        x0 = torch.tensor([1.0, -0.5], requires_grad=True)
        cost = solve(problem.batch(x0), solver=Euler(20), compile=compiled).cost
        gradients.append(torch.autograd.grad(cost, (x0, problem.mass)))
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-8)


@compiles
def test_threads_share_a_batch(generator: torch.Generator) -> None:
    x0 = 2 * torch.rand(70, 2, generator=generator) - 1
    alone = solve(constrained.BoundedVanDerPol().batch(x0), solver=Euler(20), compile=True)
    torch.set_num_threads(2)
    try:
        shared = solve(constrained.BoundedVanDerPol().batch(x0), solver=Euler(20), compile=True)
    finally:
        torch.set_num_threads(1)
    assert alone.status == "converged"
    assert torch.equal(alone.u, shared.u) and torch.equal(alone.iterations, shared.iterations)


class Branching(Slide):
    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] - x[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1) * (2 if float(x.detach().sum()) > 1e9 else 1)


class Sorting(Slide):
    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x.sort().values ** 2).sum(-1)


@compiles
def test_what_has_no_formula_is_solved_by_torch() -> None:
    with pytest.raises(Unsupported, match="aten.sort"):
        solve(Sorting(), solver=Euler(8), compile=True)
    assert solve(Sorting(), solver=Euler(8)).status == "converged"


@pytest.mark.parametrize("compile", [None, True, False])
def test_a_branch_on_the_state_is_refused(compile: bool | None) -> None:
    with pytest.raises(ProblemError, match=r"^stage_cost .*no values taken out of tensors"):
        solve(Branching(), solver=Euler(8), compile=compile)


def test_without_a_compiler_torch_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "compiler", lambda: None)

    class New(Slide):
        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            return (x**4).sum(-1) + (x[..., 0] * x[..., 1] ** 2).cosh()

    problem = New()
    with pytest.raises(Unsupported, match="no C compiler was found"):
        solve(problem, solver=Euler(8), compile=True)
    nlp = Transcription(single(problem), Euler(8), Autograd())
    with pytest.raises(Unsupported, match="no C compiler was found"):
        kernel_of(nlp)
    assert solve(problem, solver=Euler(8)).status == "converged"


@compiles
def test_compiled_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("OCNET_CACHE", str(tmp_path))
    build.library.cache_clear()
    solve(Slide(friction=0.123), solver=Euler(8), compile=True)
    files = list(tmp_path.rglob("*.so"))
    assert len(files) == 1
    build.library.cache_clear()
    monkeypatch.setattr(build, "built", lambda *args: pytest.fail("compiled again"))
    solution = solve(Slide(friction=0.456), solver=Euler(40), compile=True)
    expected = solve(Slide(friction=0.456), solver=Euler(40), compile=False)
    torch.testing.assert_close(solution.cost, expected.cost)
