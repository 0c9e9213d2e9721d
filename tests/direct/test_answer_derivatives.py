"""An answer names functions whose derivatives do not fit their values, and kinks it stalled at."""

import re
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn, Tensor
from torch.autograd.function import once_differentiable

from ocnet import Euler, Problem, RK4, Sample, Solution, solve
from ocnet.checks import mismatches, ProblemError


Term = Callable[[Tensor, Tensor], Tensor | float]
zero: Term = lambda x, u: 0.0


class Swing(Problem):
    """`x' = (x2, u - x1) + f`, `int |x|^2 + u^2 + c`, `|x(2)|^2 + e`, from (1, .3)."""

    state_shape = (2,)
    control_shape = (1,)
    t1 = 2.0

    def __init__(self, f: Term = zero, c: Term = zero, e: Term = zero, g: Term | None = None):
        super().__init__()
        self.f, self.c, self.e, self.g = f, c, e, g

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] - x[..., 0]], -1) + self.f(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2 + self.c(x, u)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + self.e(x, x)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        rows = x.new_zeros(*x.shape[:-1], 0) if self.g is None else self.g(x, x)
        assert isinstance(rows, Tensor)
        return rows

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.3]).expand(batch_size, 2))


def answer(problem: Problem, compile: bool | None = None) -> Solution:
    return solve(problem, solver=RK4(10), compile=compile)


USELESS = {
    "round in a cost": (dict(c=lambda x, u: (3 * x[..., 1]).round()), "stage_cost", "jump"),
    "floor at the end": (dict(e=lambda x, u: (5 * x[..., 0]).floor()), "terminal_cost", "jump"),
    "long in dynamics": (dict(f=lambda x, u: 0.1 * x.long()), r"dynamics\[\d\]", ""),
    "rounded control": (dict(f=lambda x, u: 0.3 * u.round()), r"dynamics\[\d\]", "jump"),
}
DETACHED = {
    "dynamics": (dict(f=lambda x, u: -0.3 * x.detach() * x), r"dynamics\[\d\]"),
    "stage cost": (dict(c=lambda x, u: 3 * (x[..., 0].detach() - 1) ** 2), "stage_cost"),
    "terminal cost": (dict(e=lambda x, u: 4 * (x.detach()[..., 1] - 1) ** 2), "terminal_cost"),
    "terminal constraint": (
        dict(g=lambda x, u: x[..., :1] - 0.1 * x.detach()[..., 1:] ** 2 - 0.2),
        "terminal_constraint",
    ),
}


@pytest.mark.parametrize("name", USELESS)
def test_useless_derivatives_are_named(name: str) -> None:
    """All had "converged" with a derivative of zero."""
    terms, function, words = USELESS[name]
    solution = answer(Swing(**terms))
    assert solution.status != "converged"
    pattern = rf"{function} \(.*test_answer_derivatives.py:\d+\) has the derivative .*{words}"
    assert re.search(pattern, solution.reason), solution.reason


@pytest.mark.parametrize("name", DETACHED)
def test_detached_formulas_are_named(name: str) -> None:
    terms, function = DETACHED[name]
    solution = answer(Swing(**terms), compile=False)
    assert solution.status == "inconsistent", solution.reason
    assert re.search(rf"; {function} \(", solution.reason), solution.reason


OUTSIDE: dict[str, tuple[dict[str, Term], str]] = {
    "numpy": (dict(c=lambda x, u: torch.as_tensor(np.sin(x.detach().numpy()[..., 0]))), "stage"),
    "data": (dict(e=lambda x, u: 4 * (x.data[..., 1] - 1) ** 2), "terminal"),
    "a list": (dict(c=lambda x, u: torch.tensor(x.detach().exp().tolist())[..., 0]), "stage"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_values_taken_out_of_tensors_are_refused(name: str) -> None:
    terms, function = OUTSIDE[name]
    with pytest.raises(ProblemError, match=rf"^{function}_cost \(.*answer_derivatives.py:\d+\)"):
        answer(Swing(**terms))


def test_machine_code_differentiates_what_it_computes() -> None:
    """It knows no `detach`, so that its answer is that of the formula."""
    detached = Swing(c=lambda x, u: 3 * (x[..., 0].detach() - 1) ** 2)
    whole = Swing(c=lambda x, u: 3 * (x[..., 0] - 1) ** 2)
    found, expected = answer(detached), answer(whole, compile=False)
    if found.backend == "machine code":
        assert found.status == expected.status == "converged"
        torch.testing.assert_close(found.cost, expected.cost)


@pytest.mark.slow
def test_a_static_parameter_read_as_a_number() -> None:
    """`float(self.a)` has no derivative: the guess .3 had been "optimal"; right is 1."""

    class Shift(Swing):
        static_parameters = {"a": (-2.0, 2.0)}

        def __init__(self, value: Callable[[Tensor], Tensor]):
            super().__init__(e=lambda x, u: (value(self.a) - 1) ** 2)
            self.a = nn.Parameter(torch.tensor(0.3))

    frozen = answer(Shift(lambda a: a.detach()), compile=False)
    assert frozen.status == "inconsistent", frozen.reason
    assert "terminal_cost" in frozen.reason and " in a at t=2" in frozen.reason
    free = answer(Shift(lambda a: a), compile=False)
    assert free.status == "converged"
    torch.testing.assert_close(free.parameters["a"], torch.tensor(1.0), rtol=1e-6, atol=0)


LEGITIMATE: dict[str, dict[str, Term]] = {
    "relu": dict(c=lambda x, u: 5 * torch.relu(x[..., 0] - 0.5)),
    "steep": dict(c=lambda x, u: torch.tanh(1e3 * (x[..., 0] - 0.4))),
    "norm": dict(c=lambda x, u: x.norm(dim=-1)),
    "root": dict(c=lambda x, u: (x[..., 0] ** 2 + 1e-4).sqrt()),
    "huber": dict(c=lambda x, u: nn.functional.huber_loss(x, 0 * x, reduction="none").sum(-1)),
    "friction": dict(f=lambda x, u: -0.05 * x.sign()),
    "where": dict(c=lambda x, u: torch.where(x[..., 0] > 0.5, 2 * x[..., 0] - 1, 0 * x[..., 0])),
    "far away": dict(c=lambda x, u: torch.where(x[..., 0] > 4, 100.0, 0.0)),
    "domain": dict(c=lambda x, u: -(x[..., 0] + 1.2).log()),
    "stiff": dict(e=lambda x, u: 1e4 * (x[..., 0] - 0.2) ** 2),
    "large": dict(c=lambda x, u: 1e9 + x[..., 0]),
}


@pytest.mark.parametrize("name", LEGITIMATE)
@pytest.mark.parametrize("compile", [None, False])
def test_legitimate_formulas_are_not_doubted(name: str, compile: bool | None) -> None:
    """Not every one is solved, as some have kinks, but none is said to be inconsistent."""
    solution = answer(Swing(**LEGITIMATE[name]), compile)
    assert solution.status in ("converged", "stalled")
    assert "has the derivative" not in solution.reason, solution.reason


class Idle(Problem):
    """`x' = u + f` from 0, `int u^2 + c`, `e`: nothing moves."""

    state_shape = (1,)
    control_shape = (1,)

    def __init__(self, f: Term = zero, c: Term = zero, e: Term = zero):
        super().__init__()
        self.f, self.c, self.e = f, c, e

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + self.f(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 + self.c(x, u)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 0 * x[..., 0] + self.e(x, x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


POWERS: dict[str, dict[str, Term]] = {
    "cost": dict(c=lambda x, u: x[..., 0] ** 3),
    "dynamics": dict(f=lambda x, u: u**3 - u),
    "end": dict(e=lambda x, u: x[..., 0] - x[..., 0].sin()),
}


@pytest.mark.parametrize("name", POWERS)
def test_a_derivative_that_is_least_at_the_answer(name: str) -> None:
    """A cube's quotient is a third of its derivatives to both sides of 0, which is the answer."""
    solution = solve(Idle(**POWERS[name]), solver=Euler(4), compile=False)
    assert solution.status == "converged", solution.reason
    assert float(solution.cost) == pytest.approx(0, abs=1e-12)


class Square(torch.autograd.Function):
    """`x^2` with a derivative that cannot be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
        return 2 * gradient * ctx.saved_tensors[0]


LOST: dict[str, tuple[dict[str, Term], str]] = {
    "cost": (dict(c=lambda x, u: Square.apply(x[..., 0] - 1)), "stage_cost"),  # pyright: ignore
    "end": (dict(e=lambda x, u: Square.apply(x[..., 0] - 1)), "terminal_cost"),  # pyright: ignore
    "dynamics": (dict(f=lambda x, u: 1 + Square.apply(x)), r"dynamics\[0\]"),  # pyright: ignore
}


@pytest.mark.parametrize("name", LOST)
def test_derivatives_that_are_lost_in_the_second_one_are_named(name: str) -> None:
    """`solve` finds Jacobians in the second sweep: they were zero, and it had "converged"."""
    terms, function = LOST[name]
    problem = Idle(**terms, **({} if name == "end" else dict(e=lambda x, u: (x[..., 0] - 1) ** 2)))
    solution = solve(problem, solver=Euler(4), compile=False)
    assert solution.status in ("inconsistent", "stalled"), solution.reason
    pattern = rf"; {function} \(.*derivatives.py:\d+\) has a derivative in .*lost.*again"
    assert re.search(pattern, solution.reason), solution.reason


UNDERIVABLE: dict[str, dict[str, Term]] = {
    "stage_cost": dict(c=lambda x, u: x[..., 0] // 0.1),
    "terminal_cost": dict(e=lambda x, u: torch.special.gammainc(x[..., 0] + 1, x[..., 0] + 2)),
    "dynamics": dict(f=lambda x, u: x.exp().mul_(2).sub_(2)),
}


@pytest.mark.parametrize("name", UNDERIVABLE)
def test_what_cannot_be_differentiated_is_named(name: str) -> None:
    with pytest.raises(ProblemError, match=rf"^{name} \(.*\d+\) cannot be differentiated: .*"):
        solve(Idle(**UNDERIVABLE[name]), solver=Euler(4), compile=False)


UNNAMED: dict[str, tuple[dict[str, Term], str]] = {
    "hypot": (dict(c=lambda x, u: torch.hypot(u, u)[..., 0]), "stage_cost .*no finite derivatives"),
    "sinc": (dict(e=lambda x, u: torch.sinc(x[..., 0])), "terminal_cost .*no finite derivatives"),
    "entropy": (
        dict(c=lambda x, u: -torch.special.entr(x[..., 0])), "stage_cost .*no finite derivatives"
    ),
    "largest": (
        dict(c=lambda x, u: torch.cat([u - 0.01, -2 * u], -1).amax(-1)), "stage_cost .*kink in u"
    ),
    "where": (
        dict(c=lambda x, u: torch.where(u > 0.01, u, -2 * u)[..., 0]), "stage_cost .*kink in u"
    ),
    "end": (
        dict(e=lambda x, u: 9 * torch.cat([x - 0.3, 0.3 - x], -1).amax(-1)),
        "terminal_cost .*kink in x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNNAMED)
def test_kinks_of_operations_without_a_name_of_their_own(name: str) -> None:
    """They show in the derivatives: function, line, variable and time."""
    terms, words = UNNAMED[name]
    solution = solve(Idle(**terms), solver=Euler(4), compile=False)
    assert solution.status in ("stalled", "diverged"), solution.reason
    assert re.search(rf"; {words}.* at t=[\d.]+.*: \w+", solution.reason), solution.reason


@hypothesis.given(
    a=st.floats(-3, 3), b=st.floats(-3, 3), scale=st.floats(1e-3, 1e3), single=st.booleans(),
    share=st.floats(0.2, 1), wrong=st.booleans(),
)  # fmt: skip
@hypothesis.settings(max_examples=100, deadline=None)
def test_random_formulas(
    a: float, b: float, scale: float, single: bool, share: float, wrong: bool
) -> None:
    """A derivative is doubted if and only if a share of it is missing, in either precision."""
    dtype = torch.float32 if single else torch.float64

    def function(w: Tensor) -> Tensor:
        v = share * w.detach() + (1 - share) * w if wrong else w
        smooth = (a * w[..., 0]).sin() + b * w[..., 1] ** 2 + (w[..., 0] - w[..., 1]).abs()
        return scale * torch.stack([smooth, (1 + a**2) * (v[..., 0] + v[..., 1] ** 3)], -1)

    w = torch.tensor([[0.3, -0.7], [1.1, 0.4]], dtype=dtype)
    found = mismatches(function, w, torch.ones(2, dtype=dtype))
    assert [one.row for one in found] == ([1] if wrong else [])


KINKS = {
    "absolute control": (dict(c=lambda x, u: u[..., 0].abs()), "stage_cost", "kink", r"\|y\|"),
    "root": (dict(c=lambda x, u: u[..., 0].abs().sqrt()), "stage_cost", "infinite", "sqrt"),
    "norm of the control": (
        dict(c=lambda x, u: 2 * u.norm(dim=-1)), "stage_cost", "kink", r"\|y\|",
    ),
    "clamp": (dict(f=lambda x, u: u.clamp(-0.1, 0.1) * x), "dynamics", "kink", "clamp"),
    "logarithm": (dict(c=lambda x, u: -x[..., 0].log()), "stage_cost", "infinite", "log"),
    "root at the end": (
        dict(e=lambda x, u: 5 * x.abs().sum(-1)), "terminal_cost", "kink", r"\|y\|",
    ),
    "power": (dict(c=lambda x, u: (u[..., 0] ** 2) ** 0.4), "stage_cost", "infinite", "p < 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("compile", [None, False])
def test_kinks_are_named(name: str, compile: bool | None) -> None:
    """Function, line, time and the usual reformulation, where the iteration does not converge."""
    terms, function, kind, symbol = KINKS[name]
    solution = answer(Swing(**terms), compile)
    assert solution.status in ("stalled", "diverged", "exhausted"), solution.reason
    place = rf"{function} \(.*test_answer_derivatives.py:\d+\)"
    pattern = rf"; {place} has an? .*{kind}.*{symbol}.*, at t=[\d.]+: \w+"
    assert re.search(pattern, solution.reason), solution.reason


def test_a_state_that_starts_at_the_root() -> None:
    """`x' = sqrt(x) + u` from 0 has no finite derivative at its start."""

    class Tank(Swing):
        state_shape = (1,)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return -x.sqrt() + u

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return (x[..., 0] - 1) ** 2 + u[..., 0] ** 2

        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            return 0 * x[..., 0]

        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(torch.zeros(batch_size, 1))

    solution = solve(Tank(), solver=Euler(10))
    assert solution.status == "diverged"
    assert "dynamics (" in solution.reason and "infinite derivative" in solution.reason
    assert "sqrt(y + 1e-8)" in solution.reason
