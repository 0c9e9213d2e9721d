"""Costs at given times, shared or of each sample its own: against torchdiffeq called by hand."""

import math
from typing import Any, cast

import pytest
import torch
from torch import nn, Tensor
from torchdiffeq import odeint

import ocnet
from ocnet import (
    Euler,
    Observation,
    Penalty,
    PiecewiseConstant,
    Problem,
    Reversible,
    RK4,
    Sample,
    Solver,
    TorchDiffEq,
    train,
)
from ocnet.analysis import compare
from ocnet.evaluation import objective, observation_times
from ocnet.learning import Engine, training
from ocnet.registry import named_solver


TIMES = (0.2, 0.55, 0.9, 1.37, 2.0)

SOLVERS = [
    *(named_solver("euler", 20, word) for word in ("backprop", "checkpoint", "costate")),
    *(named_solver("rk38", 20, word) for word in ("backprop", "checkpoint", "costate")),
    *(named_solver("torchdiffeq:rk4", 20, word) for word in ("backprop", "adjoint")),
    *(named_solver("dopri5", 1, word) for word in ("backprop", "adjoint")),
]


def errors(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`|x(t_j) - y_j|^2`, with the data in the last columns of the target."""
    return (x - y[..., -2:].movedim(1, 0)).square().sum(-1)


class Spiral(Problem):
    """`x' = A x + u` from data at irregular times, with `A` to be found."""

    state_shape, control_shape, t1 = (2,), (2,), 2.0

    def __init__(self, *observations: Observation):
        super().__init__()
        self.A = nn.Parameter(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64))
        self.observations = observations

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + u

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return data(batch_size)


def exact(x0: Tensor, times: Tensor) -> Tensor:
    """The states of the true system, shape `(batch, time, 2)`."""
    A = torch.tensor([[-0.3, 1.5], [-1.8, -0.2]], dtype=torch.float64)
    return torch.stack([x0 @ torch.linalg.matrix_exp(A * t).mT for t in times], -2)


def data(n: int = 4) -> Sample:
    """Initial states, and what is seen of them at the shared times."""
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return Sample(x0, exact(x0, torch.tensor(TIMES, dtype=torch.float64)))


def own_data() -> Sample:
    """Each sample at times of its own, of which some do not count: `(t, counts, y)`."""
    x0 = data(3).x0
    times = torch.tensor(
        [[0.3, 0.31, 1.1], [0.7, 1.9, 50.0], [-7.0, 0.0, 3.0]], dtype=torch.float64
    )
    counts = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=torch.float64)
    seen = torch.stack([exact(x[None], t.clamp(0, 2))[0] for x, t in zip(x0, times, strict=True)])
    return Sample(x0, torch.cat([times[..., None], counts[..., None], seen], -1))


OWN = Observation(lambda y: y[..., 0], errors, mask=lambda y: y[..., 1] > 0)


def control() -> PiecewiseConstant:
    found = PiecewiseConstant(0, 2, 4, 2).double()
    with torch.no_grad():
        found.path.copy_(torch.linspace(-0.3, 0.3, 8).view(4, 2))
    return found


def by_hand(path: Tensor, A: Tensor, x0: Tensor, times: Tensor, solver: Solver) -> Tensor:
    """The states at some times by torchdiffeq, with the steps of a solver or tight, as it takes."""

    def f(t: Tensor, x: Tensor) -> Tensor:
        return x @ A.mT + path[min(int(float(t.detach()) * 2), 3)]

    ts = torch.cat([torch.zeros(1, dtype=torch.float64), times])
    if solver.is_fixed and not isinstance(solver, TorchDiffEq):
        method = {1: "euler", 4: "rk4"}[solver.order]
        options = {"step_size": 0.1, "interp": "linear" if solver.order == 1 else "cubic"}
        return cast(Tensor, odeint(f, x0, ts, method=method, options=options))[1:]
    options = {"jump_t": torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)}
    return cast(Tensor, odeint(f, x0, ts, rtol=1e-9, atol=1e-10, options=options))[1:]


def assert_same(solver: Solver, found: list[Tensor], expected: list[Tensor]) -> None:
    fixed = solver.is_fixed and not isinstance(solver, TorchDiffEq)
    # What torchdiffeq reads at a knot from the left differs where a stage lies on it.
    close = 1e-12 if fixed and solver.order == 1 else 2e-2 if fixed else 5e-4
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=close, atol=close * float(b.abs().max()))


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_at_shared_times_it_is_the_cost_of_torchdiffeq(solver: Solver) -> None:
    problem, u, sample = Spiral(Observation(TIMES, errors)), control(), data()
    cost, _ = ocnet.evaluate(problem, u, solver, sample)
    grads = torch.autograd.grad(cost.sum(), [problem.A, u.path])

    A, path = (z.detach().clone().requires_grad_() for z in (problem.A, u.path))
    assert sample.target is not None
    x = by_hand(path, A, sample.x0, torch.tensor(TIMES, dtype=torch.float64), solver)
    expected = (x - sample.target.movedim(1, 0)).square().sum((0, 2))
    slopes = torch.autograd.grad(expected.sum(), [A, path])
    assert_same(solver, [cost.detach(), *grads], [expected.detach(), *slopes])


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
def test_with_times_of_its_own_each_sample_is_as_if_alone(solver: Solver) -> None:
    """Of three samples one has no data at all, and two have some that do not count."""
    problem, u, sample = Spiral(OWN), control(), own_data()
    cost, _ = ocnet.evaluate(problem, u, solver, sample)
    grads = torch.autograd.grad(cost.sum(), [problem.A, u.path])
    A, path = (z.detach().clone().requires_grad_() for z in (problem.A, u.path))
    assert sample.target is not None
    alone = []
    for x0, y in zip(sample.x0, sample.target, strict=True):
        seen = y[y[:, 1] > 0]
        if len(seen):
            x = by_hand(path, A, x0[None], seen[:, 0], solver)[:, 0]
            alone.append((x - seen[:, 2:]).square().sum())
        else:
            alone.append(torch.zeros((), dtype=torch.float64))
    expected = torch.stack(alone)
    assert float(cost[2].detach()) == 0
    slopes = torch.autograd.grad(expected.sum(), [A, path])
    assert_same(solver, [cost.detach(), *grads], [expected.detach(), *slopes])


def test_training_takes_the_same_steps_as_a_loop_of_torchdiffeq() -> None:
    """Ten steps of gradient descent, from Python by hand and by `train`."""
    problem, u = Spiral(Observation(TIMES, errors)), PiecewiseConstant(0, 2, 1, 2).double()
    u.requires_grad_(False)
    optimizer = torch.optim.SGD([problem.A], lr=0.02)
    history = train(problem, u, Euler(40), optimizer, n_steps=10, data=[data()], progress=False)
    A = Spiral().A.detach().clone().requires_grad_()
    sample, costs = data(), []
    ts = torch.tensor([0.0, *TIMES], dtype=torch.float64)
    assert sample.target is not None

    def loss() -> Tensor:
        step = {"step_size": 0.05}
        x = odeint(lambda t, x: x @ A.mT, sample.x0, ts, method="euler", options=step)
        return (cast(Tensor, x)[1:] - sample.target.movedim(1, 0)).square().sum((0, 2)).mean()  # pyright: ignore

    for _ in range(10):
        costs.append(loss())
        (slope,) = torch.autograd.grad(costs[-1], A)
        with torch.no_grad():
            A -= 0.02 * slope
    costs = [float(cost.detach()) for cost in costs]
    assert history.cost == pytest.approx(costs, rel=1e-12)
    torch.testing.assert_close(problem.A.detach(), A.detach(), rtol=1e-12, atol=1e-12)
    assert costs[-1] < costs[0] / 2


def test_parts_of_a_batch_see_their_own_times() -> None:
    """What is computed in parts, to save memory, is the same."""
    costs = []
    for accumulate in (1, 3):
        problem, u = Spiral(OWN), control().requires_grad_(False)
        optimizer = torch.optim.SGD([problem.A], lr=0.01)
        steps = training(
            problem, u, RK4(20), optimizer, [own_data()] * 3,
            engine=Engine("cpu", accumulate=accumulate),
        )  # fmt: skip
        costs.append([record.cost for record in steps])
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)


def test_a_cost_need_not_add_over_time() -> None:
    """Such as the largest error on the way, or a terminal one that it comes on top of."""
    worst = Observation(TIMES, lambda t, x, y: x.norm(dim=-1).amax(0))
    late = Observation(TIMES, lambda t, x, y: t[:, None] * x[..., 0])
    problem, u, sample = Spiral(worst, late), control(), data()
    problem.terminal_cost = lambda x, target: 10 * x[..., 1]
    cost, found = ocnet.evaluate(problem, u, RK4(40), sample)
    states = RK4(40).solve(problem, u, sample.x0, t_eval=TIMES).x_eval
    by_hand = states.norm(dim=-1).amax(0) + sum(
        t * x for t, x in zip(TIMES, states[..., 0], strict=True)
    )
    torch.testing.assert_close(cost, by_hand + 10 * found.states[-1][..., 1])


def test_several_observations_have_times_of_their_own() -> None:
    """Some shared and some not, in one problem."""
    early = Observation([0.1, 0.2], lambda t, x, y: x.square().sum(-1))
    both, u, sample = Spiral(early, OWN), control(), own_data()
    total = ocnet.evaluate(both, u, RK4(20), sample)[0]
    parts = [ocnet.evaluate(Spiral(part), u, RK4(20), sample)[0] for part in (early, OWN)]
    torch.testing.assert_close(total, parts[0] + parts[1])


def test_a_decoder_is_trained_with_the_rest() -> None:
    class Decoded(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = nn.Linear(2, 1).double()

        def forward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return (self.decoder(x)[..., 0] - y[..., 0].movedim(1, 0)).square()

    problem = Spiral(Observation(TIMES, Decoded()))
    assert len(list(problem.parameters())) == 3
    u = control().requires_grad_(False)
    optimizer = torch.optim.Adam(problem.parameters(), lr=0.05)
    history = train(problem, u, RK4(20), optimizer, n_steps=30, data=[data()], progress=False)
    assert history.cost[-1] < history.cost[0] / 3


def test_compare_counts_it() -> None:
    """The certificate's references observe at the same times, and Euler converges to them."""
    problem, u, sample = Spiral(Observation(TIMES, errors)), control(), data()
    found = compare(problem, u, [Euler(400), RK4(40)], sample=sample, repeats=1, fine_steps=400)
    tight, _ = ocnet.evaluate(problem, u, TorchDiffEq(rtol=1e-10, atol=1e-12), sample)
    expected = float(tight.detach().mean())
    for row, close in zip(found.rows, (5e-2, 1e-5), strict=True):
        assert row.cost == pytest.approx(expected, rel=close)
        assert row.cost_error < close * max(1.0, expected)


def test_a_penalty_comes_on_top() -> None:
    problem, u, sample = Spiral(Observation(TIMES, errors)), control(), data()
    plain = float(ocnet.evaluate(problem, u, RK4(20), sample)[0].detach().mean())
    problem.control_bounds = (-0.1, 0.1)
    u.requires_grad_(False)
    optimizer = torch.optim.SGD([problem.A], lr=1e-9)
    history = train(
        problem, u, RK4(20), optimizer, n_steps=1, data=[sample], progress=False,
        constraints=Penalty(1e-9),
    )  # fmt: skip
    assert history.cost[0] == pytest.approx(plain, rel=1e-6)


def test_solve_refuses_it_in_one_line() -> None:
    problem = Spiral(Observation(TIMES, errors))
    with pytest.raises(ValueError, match="no costs at given times, but Spiral has 1 observations"):
        ocnet.solve(problem.batch(data().x0, data().target), solver=RK4(10))


def test_reversible_has_no_states_to_observe() -> None:
    with pytest.raises(ValueError, match="t_eval needs the state at t=0.2, which this solver"):
        ocnet.evaluate(Spiral(Observation(TIMES, errors)), control(), Reversible(RK4(20)), data())


def test_a_trajectory_without_the_states_has_no_cost() -> None:
    problem, u, sample = Spiral(Observation(TIMES, errors)), control(), data()
    trajectory = RK4(20).solve(problem, u, sample.x0)
    with pytest.raises(ValueError, match="lacks states that Spiral observes: use evaluate"):
        objective(problem, trajectory, sample.target)
    times = observation_times(problem, sample.target, sample.x0)
    trajectory = RK4(20).solve(problem, u, sample.x0, t_eval=times)
    expected, _ = ocnet.evaluate(problem, u, RK4(20), sample)
    torch.testing.assert_close(objective(problem, trajectory, sample.target), expected)


def test_times_keep_their_precision_in_a_problem_of_single_precision() -> None:
    problem = Spiral(Observation([1 / 3, 2 / 3], errors)).float()
    times = observation_times(problem, None, torch.zeros(1, 2))
    assert times is not None and times.tolist() == [1 / 3, 2 / 3]


@pytest.mark.parametrize(
    "times, said",
    [
        ([0.5, 0.4], "times must increase, but got 0.4 after 0.5"),
        ([0.5, 0.5], "times must increase, but got 0.5 twice"),
        ([0.5, math.nan], "times must be finite, but got nan"),
        ([], "times must hold a time, but got none"),
        (0.5, "times must be a sequence of numbers, but got 0.5"),
        (["a"], "Each of times must be a number, but got 'a'"),
        (torch.zeros(2, 3), r"times must have shape \(eval,\), but got \(2, 3\)"),
    ],
)
def test_wrong_times_are_named(times: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        Observation(times, errors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "observation, said",
    [
        (Observation([2.5], errors), r"Observation must lie in the horizon \[0, 2\], but got 2.5"),
        (
            Observation(lambda y: y[..., 0] * math.nan, errors),
            r"finite, but got nan for sample \[0\]",
        ),
        (Observation(lambda y: y[..., 0], errors), "horizon .* but got 50"),
        (Observation(lambda y: y[..., 0].flip(-1), errors), r"got 0.31 after 1.1 for sample \[0\]"),
        (Observation(lambda y: y[:, :2, 0] * 0, errors), r"got 0 twice for sample \[0\]"),
        (
            Observation(lambda y: y[0, :, 0], errors),
            r"must have shape \(3, eval\), but have \(3,\)",
        ),
        (Observation(lambda y: 3.0, errors), "times of an Observation must be a tensor"),  # pyright: ignore
        (Observation([1.0], errors, mask=lambda y: y[..., 1]), "must hold a bool for each of 1"),
        (Observation([1.0], lambda t, x, y: x), r"cost .* must have shape \(1, 3\) or \(3,\)"),
        (Observation([1.0], lambda t, x, y: 1.0), "cost of an Observation must be a tensor"),  # pyright: ignore
        (Observation([1.0], lambda t, x, y: x.sum()), r"but has \(\)"),
        (
            Observation(
                [1.0, 1.1, 1.2], lambda t, x, y: x.sum((0, 2)), mask=lambda y: y[..., 1] > 0
            ),
            r"must have shape \(3, 3\), but has \(3,\)",
        ),
        (Observation([1.0], lambda t, x, y: x @ x), "Observation.cost .* fails"),
    ],
)
def test_what_does_not_fit_a_batch_is_named(observation: Observation, said: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=said) as caught:
        ocnet.evaluate(Spiral(observation), control(), RK4(20), own_data())
    assert "\n" not in str(caught.value)


def test_what_is_no_function_is_refused() -> None:
    for arguments in ((TIMES, 3.0), (TIMES, errors, "mask")):
        with pytest.raises(TypeError, match="must be a function or a module"):
            Observation(*arguments)  # pyright: ignore
    with pytest.raises(TypeError):
        Spiral(3.0)  # pyright: ignore
