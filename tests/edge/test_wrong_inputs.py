"""Every wrong input is told in one line, which names the user's function, file and line."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, Tensor

from ocnet import Batch, continue_in, Euler, PiecewiseConstant, Problem, Sample, solve, train
from ocnet.analysis.measurement import compare


class Good(Problem):
    """`x' = (x2, u)` from (1, 0), `int |x|^2 + u^2`."""

    state_shape = (2,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0]).expand(batch_size, 2))


class Scalar(Good):
    state_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)


class Bounded(Good):
    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., :1] - 5


def variant(**members: Any) -> Problem:
    return type("Variant", (Good,), members)()


def states(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = (2,)) -> Any:
    return Batch(Good(), torch.ones(shape, dtype=dtype), None, {})


def writes(self: Problem, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
    x[..., 0] *= 2
    return x


def writes_control(self: Problem, t: Tensor, x: Tensor, u: Tensor, target: Any) -> Tensor:
    u.mul_(2)
    return u[..., 0] ** 2


def branches(self: Problem, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
    return x if x[..., 0] > 0 else -x


PLACE = r"\(.*test_wrong_inputs.py:\d+\)"
INPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "float16": (lambda: states(torch.float16), "float32 or float64, but x0 is torch.float16"),
    "bfloat16": (lambda: states(torch.bfloat16), "float32 or float64, but x0 is torch.bfloat16"),
    "complex": (lambda: states(torch.complex128), "floating point numbers, but got torch.complex"),
    "integers": (lambda: states(torch.int64), "floating point numbers, but got torch.int64"),
    "empty batch": (lambda: states(shape=(0, 2)), r"at least one state, but has shape \(0, 2\)"),
    "no control": (lambda: variant(control_shape=(0,)), r"control_shape must have sizes .*\(0,\)"),
    "control_shape=1": (lambda: variant(control_shape=1), r"control_shape must be a tuple .*got 1"),
    "state_shape=2": (lambda: variant(state_shape=2), r"state_shape must be a tuple .*got 2"),
    "equal bounds": (lambda: variant(control_bounds=(1.0, 1.0)), "must leave room between them"),
    "bounds over time": (
        lambda: variant(control_bounds=(-torch.ones(4, 1), 1.0)),
        r"control_bounds .*shape \(1,\), but one has \(4, 1\); .*path_constraint",
    ),
    "three bounds": (lambda: variant(control_bounds=(0, 1, 2)), "control_bounds must be a pair"),
    "three final times": (
        lambda: variant(final_time_bounds=(0.5, 1.0, 2.0)),
        r"final_time_bounds must be a pair of numbers, but got \(0.5, 1.0, 2.0\)",
    ),
    "final time before the start": (
        lambda: variant(final_time_bounds=(-1.0, 1.0)),
        r"final_time_bounds .* not before t0=0.0, but got \(-1.0, 1.0\)",
    ),
    "equal final times": (
        lambda: variant(final_time_bounds=(1.0, 1.0)),
        r"final_time_bounds .* first before the second .* \(1.0, 1.0\)",
    ),
    "numpy": (
        lambda: variant(dynamics=lambda self, t, x, u: torch.as_tensor(np.sin(x))),
        rf"^dynamics {PLACE} fails: .*use torch's functions in place of numpy's",
    ),
    "math": (
        lambda: variant(dynamics=lambda self, t, x, u: x * math.sin(x)),
        rf"{PLACE} fails: .*use torch's functions in place of math's",
    ),
    "if": (
        lambda: variant(dynamics=branches),
        r"^dynamics \(.*test_wrong_inputs.py:\d+ in branches\) fails: .*use torch.where",
    ),
    "writes": (lambda: variant(dynamics=writes), rf"^dynamics {PLACE} writes into its arguments"),
    "writes control": (
        lambda: variant(stage_cost=writes_control),
        rf"^stage_cost {PLACE} writes into its arguments",
    ),
    "None": (
        lambda: variant(dynamics=lambda self, t, x, u: None),
        rf"^dynamics {PLACE} must return a tensor, but got NoneType",
    ),
    "list": (
        lambda: variant(dynamics=lambda self, t, x, u: [x[..., 1], u[..., 0]]),
        rf"^dynamics {PLACE} must return a tensor, but got list",
    ),
    "integers returned": (
        lambda: variant(terminal_cost=lambda self, x, target: x[..., 0].long()),
        rf"^terminal_cost {PLACE} must return floating point numbers",
    ),
    "signature": (
        lambda: variant(dynamics=lambda self, x, u: x),
        rf"^dynamics {PLACE} must be written as dynamics\(self, t, x, u\)",
    ),
    "signature of a cost": (
        lambda: variant(stage_cost=lambda self, t, x, u: x[..., 0]),
        rf"^stage_cost {PLACE} must be written as stage_cost\(self, t, x, u, target\)",
    ),
    "first sample only": (
        lambda: variant(dynamics=lambda self, t, x, u: torch.stack([x[1], u[0]])),
        rf"^dynamics {PLACE} fails: .*are components whatever the batch",
    ),
    "a component only": (
        lambda: variant(dynamics=lambda self, t, x, u: x[0]),
        rf"^dynamics {PLACE} must return shape \(\*batch, 2\).*x\[0\] is not",
    ),
    "a typo inside": (
        lambda: variant(terminal_constraint=lambda self, x, target: x - self.goal),
        rf"{PLACE} fails: AttributeError: .*goal",
    ),
    "sample": (
        lambda: variant(sample=lambda self, n, generator=None: torch.zeros(n, 2)),
        rf"^sample {PLACE} must return Sample\(x0\)",
    ),
    "too many rows": (
        lambda: variant(sample=lambda self, n, generator=None: Sample(torch.zeros(3, 2))),
        rf"^sample {PLACE} must return .* 3 rows",
    ),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_solve_tells_in_one_line(name: str) -> None:
    make, message = INPUTS[name]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        solve(make(), solver=Euler(4))
    assert "\n" not in str(caught.value)


def test_wider_numbers_where_the_precision_is_that_of_the_states() -> None:
    wide = variant(dynamics=lambda self, t, x, u: x * torch.ones(2, dtype=torch.float64))
    message = rf"^dynamics {PLACE} must return torch.float32 .*but got torch.float64; .*to\(x\)"
    with pytest.raises(ValueError, match=message):
        solve(Batch(wide, torch.ones(2, dtype=torch.float32), None, {}), dtype=None)


def test_methods_and_starts() -> None:
    method: Any = "lbfgs"
    with pytest.raises(TypeError, match="method such as InteriorPoint.*'lbfgs'"):
        solve(Good(), method=method)
    other = solve(Scalar().batch(torch.ones(1)), solver=Euler(4))
    with pytest.raises(ValueError, match=r"state_shape=\(2,\), but it solves Scalar with \(1,\)"):
        solve(Good(), solver=Euler(4), start=other)
    start = solve(Bounded(), solver=Euler(4))
    with pytest.raises(ValueError, match="only one of Good and Bounded has a path_constraint"):
        solve(Good(), solver=Euler(4), start=start)
    late = type("Late", (Good,), {"terminal_constraint": lambda self, x, target: x - 0.5})
    half = type("Half", (Good,), {"terminal_constraint": lambda self, x, target: x[..., :1]})
    for compile in (None, False):
        start = solve(late(), solver=Euler(4), compile=compile)
        with pytest.raises(ValueError, match="terminal_constraint rows: .* has 1, .* start has 2"):
            solve(half(), solver=Euler(4), start=start, compile=compile)
    shifted = Shifted()
    with pytest.raises(ValueError, match=r"static parameters: .* has {'a': \(\)}, .* start has {}"):
        solve(shifted, solver=Euler(4), start=other)
    with pytest.raises(TypeError, match="compile must be True, False or None, but got .lbfgs."):
        solve(Good(), solver=Euler(4), compile=method)
    with pytest.raises(TypeError, match="start must be a Solution, a Control, states .*but got"):
        solve(Good(), solver=Euler(4), start=method)


def test_empty_batches_in_compare_and_train() -> None:
    problem, control = Good(), PiecewiseConstant(0.0, 1.0, 4, 1)
    empty = Sample(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"at least one sample, but has shape \(0, 2\)"):
        compare(problem, control, [Euler(4)], sample=empty, repeats=1)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="at least one sample"):
        train(problem, control, Euler(4), optimizer, n_steps=1, data=[empty], progress=False)


class Movable(Problem):
    """`x' = u`, `x(0) = a` for the best `a` in [-1, 1], `int u^2 + (x(1) - 2)^2`: .5 at `a = 1`."""

    state_shape = (1,)
    control_shape = (1,)
    static_parameters = {"a": (-1.0, 1.0)}

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.3))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x[..., 0] - 2) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Shifted(Movable):
    """`y = x - a` starts at 0."""

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x[..., 0] + self.a - 2) ** 2


def test_static_parameters_that_move_the_start() -> None:
    """They had stayed at their guess: "converged" at 1.445, where .5 is right."""

    class Embedded(Movable):
        def embed(self, x0: Tensor) -> Tensor:
            return x0 + self.a

    class AsNumber(Movable):
        def embed(self, x0: Tensor) -> Tensor:
            return x0 + self.a.item()

    class Sampled(Movable):
        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(self.a.detach().expand(batch_size, 1))

    class Horizon(Movable):
        @property
        def t1(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
            return 2.0 + float(self.a.detach())

    class Latest(Movable):
        @property
        def final_time_bounds(self) -> tuple[float, float]:  # pyright: ignore
            return 0.5, 2.0 + float(self.a.detach())

    class Limit(Movable):
        @property
        def control_bounds(self) -> tuple[float, float]:  # pyright: ignore
            return -1.0, 1.0 + float(self.a.detach())

    for kind, reader in ((Embedded, "embed"), (AsNumber, "embed"), (Sampled, "sample")):
        with pytest.raises(ValueError, match=rf"^{reader} {PLACE} reads 'a'"):
            solve(kind(), solver=Euler(4))
    for kind, reader in ((Horizon, "t1"), (Latest, "final_time_bounds"), (Limit, "control_bounds")):
        for problem in (kind(), kind().batch(torch.zeros(2, 1))):
            with pytest.raises(ValueError, match=f"^{reader} .*reads 'a'"):
                solve(problem, solver=Euler(4))
    problem = Embedded()
    with pytest.raises(ValueError, match="x0 depends on the static parameter 'a'"):
        solve(problem.batch(problem.embed(torch.zeros(1))), solver=Euler(4))


@pytest.mark.parametrize("compile", [None, False])
def test_static_parameters_that_do_nothing(compile: bool | None) -> None:
    """Their guess had been the answer: where `a` is copied, multiplied by zero, or only meant."""

    class Copied(Movable):
        def __init__(self):
            super().__init__()
            self.start = self.a.detach().clone()

        def embed(self, x0: Tensor) -> Tensor:
            return x0 + self.start

    class Cancelled(Movable):
        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            return (x[..., 0] - 2) ** 2 + 0 * self.a

    problem = Movable()
    moved = problem.batch(torch.zeros(2, 1) + float(problem.a.detach()))
    for given in (Copied(), Cancelled(), moved):
        with pytest.raises(ValueError, match="static parameter 'a' acts in no function"):
            solve(given, solver=Euler(4), compile=compile)


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("way", ["cancels", "cannot be traced"])
def test_static_parameters_that_change_nothing(compile: bool | None, way: str) -> None:
    """What no formula shows, the derivatives along the answer show."""

    class Idle(Movable):
        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            cost = (x[..., 0] - 2) ** 2
            if way == "cancels":
                return cost + (x[..., 0] + self.a - self.a) - x[..., 0]
            return cost.reshape(*cost.shape, 1).sort(-1).values[..., 0]

    solution = solve(Idle(), solver=Euler(4), compile=compile)
    assert "the static parameter 'a' changes nothing along this path" in solution.reason


def test_the_same_parameter_in_the_dynamics_is_solved() -> None:
    """The same problem, with `a` where it may act."""
    solution = solve(Shifted(), solver=Euler(4))
    assert solution.status == "converged"
    torch.testing.assert_close(solution.cost, torch.tensor(0.5), rtol=1e-6, atol=0)


def test_continuation_in_a_parameter_that_moves_the_start() -> None:
    class Embedded(Movable):
        static_parameters = {}

        def embed(self, x0: Tensor) -> Tensor:
            return x0 + self.a

    solution = solve(Embedded().requires_grad_(False), solver=Euler(4))
    with pytest.raises(ValueError, match="^embed .* reads 'a'"):
        continue_in(solution, "a", [0.5])
