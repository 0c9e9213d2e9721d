"""The benchmark's two statements of each problem, for torch and for numpy, say the same."""

from typing import Any

import numpy as np
import pytest
import torch

from ocnet import Problem
from ocnet.checks import misspelt
from ocnet.control.base import OpenLoop
from tests.benchmarks.ocp_library.formulas import ALL, Formulas, rk4
from tests.benchmarks.ocp_library.judge import Answer, guess, judge, rollout
from tests.benchmarks.ocp_library.ours import stated


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_both_statements_agree_at_random_points(kind: type[Formulas]) -> None:
    formulas, rng = kind(), np.random.default_rng(0)
    problem = stated(formulas)
    p = np.array([rng.uniform(0.2, 0.7) for _ in formulas.constants])
    shift = {i: rng.uniform(-0.1, 0.1) for i in formulas.free}
    values = {**dict(zip(formulas.constants, p, strict=True))}
    values |= {f"shift{i}": v for i, v in shift.items()}
    for name, value in values.items():
        getattr(problem, name).fill_(value)
    for _ in range(5):
        x = np.array(formulas.x0) + rng.uniform(0.01, 0.2, len(formulas.x0))
        u, t = rng.uniform(0.1, 0.9, len(formulas.u_bounds)), rng.uniform(0, formulas.T)
        moved = x - np.array([shift.get(i, 0.0) for i in range(len(x))])
        at = (
            torch.tensor(t), torch.tensor(moved).reshape(problem.state_shape),
            torch.tensor(u).reshape(problem.control_shape or ()),
        )  # fmt: skip
        np.testing.assert_allclose(
            problem.dynamics(*at).flatten(), formulas.dynamics(np, t, x, u, p), rtol=1e-11
        )
        theirs = formulas.running(np, t, x, u, p)
        np.testing.assert_allclose(problem.stage_cost(*at, None), theirs, rtol=1e-11, atol=1e-14)
        theirs = formulas.final(np, x, p)
        np.testing.assert_allclose(problem.terminal_cost(at[1], None), theirs, rtol=1e-11)
        theirs = np.array(formulas.end(np, x, p))
        ours = problem.terminal_constraint(at[1], None)
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(
            sorted(problem.path_constraint(*at).tolist()),
            sorted([*box_rows(formulas, x), *formulas.rows(np, t, x, u, p)]),
            rtol=1e-11, atol=1e-12,
        )  # fmt: skip


def box_rows(formulas: Formulas, x: np.ndarray) -> list[float]:
    pairs = [(low - x[i], x[i] - high) for i, (low, high) in formulas.boxes.items()]
    return [float(v) for pair in pairs for v in pair if v > -np.inf]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_both_statements_have_the_same_bounds_and_guesses(kind: type[Formulas]) -> None:
    formulas = kind()
    problem: Problem = stated(formulas)
    assert problem.t0 == 0 and problem.t1 == pytest.approx(formulas.T)
    assert problem.final_time_bounds == formulas.T_bounds
    np.testing.assert_allclose(problem.sample(1).x0[0].flatten(), formulas.x0, rtol=1e-15)
    low, high = problem.control_bounds or (-torch.inf, torch.inf)
    shape = problem.control_shape or ()
    for bound, side in ((low, 0), (high, 1)):
        ours = torch.as_tensor(bound, dtype=torch.float64).expand(shape).flatten()
        np.testing.assert_allclose(ours, [pair[side] for pair in formulas.u_bounds], rtol=1e-15)
    constants = {name: tuple(c[1:]) for name, c in formulas.constants.items()}
    own = {k: v for k, v in problem.static_parameters.items() if not k.startswith("shift")}
    assert own == constants
    for name, (value, *_) in formulas.constants.items():
        assert float(getattr(problem, name)) == value
    for i, (low, high) in formulas.free.items():
        shift = problem.static_parameters[f"shift{i}"]
        assert shift == pytest.approx((low - formulas.x0[i], high - formulas.x0[i]))
    control = problem.initial_control(formulas.n)
    assert isinstance(control, OpenLoop)
    controls = control.values([k / 10 * formulas.T for k in range(10)])
    for row, k in zip(controls.detach().flatten(1), range(10), strict=True):
        np.testing.assert_allclose(row, formulas.start(k / 10), atol=1e-12)
    t = torch.linspace(0, formulas.T, 11, dtype=torch.float64)
    states = problem.initial_states(t, problem.sample(1).x0[0])
    assert (states is None) == (formulas.path(0.0) is None)
    if states is not None:
        theirs = np.array([formulas.path(k / 10) for k in range(11)], dtype=float)
        np.testing.assert_allclose(states.flatten(1)[1:], theirs[1:], atol=1e-12)


def test_the_judge_sees_each_kind_of_violation() -> None:
    formulas = {kind.name: kind() for kind in ALL}
    beam = formulas["beam"]
    u = np.full((1, 100), -2.0)
    x = rollout(beam, np.array([0.0, 1.0]), u, np.zeros(0), 1.0)
    # x1 = t - t^2 is exact under RK4: at most 1/4, and the end is met.
    good = judge(beam, Answer(x, u, np.zeros(0), 1.0))
    assert good.cost == pytest.approx(4.0) and good.where == "state bounds"
    assert good.violation == pytest.approx(0.15) and good.drift < 1e-12
    bent = x.copy()
    bent[0, 50] += 1.0
    verdict = judge(beam, Answer(bent, u, np.zeros(0), 1.0))
    assert verdict.violation == pytest.approx(1.15) and verdict.where == "state bounds"
    late = x.copy()
    late[1, -1] -= 0.5
    verdict = judge(beam, Answer(late, u, np.zeros(0), 1.0))
    assert verdict.violation == pytest.approx(0.5) and verdict.where in ("dynamics", "end")
    strong = np.full((1, 100), -12.0)
    x = rollout(beam, np.array([0.0, 1.0]), strong, np.zeros(0), 1.0)
    assert judge(beam, Answer(x, strong, np.zeros(0), 1.0)).violation > 2 - 1e-9
    other = judge(beam, Answer(x + 1, strong, np.zeros(0), 1.0))
    assert other.violation > 1 and not np.isnan(other.cost)
    assert judge(beam, Answer(x * np.nan, strong, np.zeros(0), 1.0)).violation == np.inf
    fan = formulas["ducted_fan"]
    start = guess(fan)
    assert judge(fan, start._replace(p=np.array([25.0]))).where == "constants"
    particle = formulas["dielectrophoretic_particle"]
    rest = Answer(np.repeat([[1.0], [0.0]], 101, 1), np.zeros((1, 100)), np.zeros(0), 200.0)
    verdict = judge(particle, rest)
    assert verdict.where == "final time" and verdict.violation == pytest.approx(150)


def test_the_step_of_the_judge_is_that_of_runge_kutta() -> None:
    """`x' = u x`: the step multiplies by the first five terms of the exponential series."""

    class Growth(Formulas):
        x0 = (1.0,)

        def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
            return (u[0] * x[0],)

        def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> float:
            return 3 * t**2

    x, cost = rk4(Growth(), np, 0.0, 0.1, [1.0], [2.0], [])
    assert x[0] == pytest.approx(1 + 0.2 + 0.02 + 0.008 / 6 + 0.0016 / 24, rel=1e-15)
    assert cost == pytest.approx(1e-3, rel=1e-14)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_every_statement_is_accepted(kind: type[Formulas]) -> None:
    assert not misspelt(stated(kind()))
