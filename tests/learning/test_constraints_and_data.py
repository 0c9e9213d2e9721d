"""What `train` does about constraints, untrained parameters, and batches of every form."""

import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader, TensorDataset

from ocnet import Euler, evaluate, PiecewiseConstant, Problem, Sample, train, training
from ocnet.learning import Penalty
from problems.constrained import BoundedVanDerPol
from problems.double_integrator import BrysonDenham


def trained(problem: Problem, n_steps: int = 1, **options: Any) -> PiecewiseConstant:
    """A control after some steps of L-BFGS."""
    control = PiecewiseConstant(problem.t0, problem.t1, 20, problem.control_shape or ())
    optimizer = torch.optim.LBFGS(
        control.parameters(), max_iter=100, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    train(problem, control, Euler(20), optimizer, n_steps=n_steps, progress=False, **options)
    return control


class Bounded(Problem):
    """Minimise `(x(1) - 2)^2` with `x' = u`, `u <= 1`: 1 at the optimum `u = 1`."""

    state_shape = (1,)
    control_shape = (1,)
    control_bounds = (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x[..., 0] - 2) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Ending(Bounded):
    """The same with `x(1) = 1` instead of the bound."""

    control_bounds = None

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 1


class Below(Bounded):
    """The same with `x <= 1` along the path."""

    control_bounds = None

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x - 1


@pytest.mark.parametrize("make", [BrysonDenham, BoundedVanDerPol, Bounded, Ending, Below])
def test_constraints_are_refused_unless_the_user_says_what_to_do(make: type[Problem]) -> None:
    problem = make()
    name = f"{make.__name__} has constraints .*{problem.constraints[0]}.*Penalty"
    with pytest.raises(ValueError, match=name):
        trained(problem)
    control = PiecewiseConstant(problem.t0, problem.t1, 4, problem.control_shape or ())
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=name):
        next(training(problem, control, Euler(4), optimizer, [problem.sample(1)]))
    trained(problem, constraints="ignore")


@pytest.mark.parametrize("make", [Bounded, Ending])
def test_a_penalty_approaches_the_constrained_optimum(make: type[Problem]) -> None:
    # The least of (u - 2)^2 + w (u - 1)^2 is at u = (2 + w) / (1 + w).
    for weight in (1.0, 1e3):
        u = trained(make(), constraints=Penalty(weight)).path
        torch.testing.assert_close(u, torch.full_like(u, (2 + weight) / (1 + weight)))


def test_a_penalty_finds_bryson_and_denhams_optimum() -> None:
    problem = BrysonDenham()
    control = trained(problem, 10, constraints=Penalty(1e5))
    cost = evaluate(problem, control, Euler(20), problem.sample(1))[0].item()
    x0 = problem.sample(1).x0
    expected = problem.euler_optimal_cost(x0, 20)
    expected = problem.optimal_cost(x0) if expected is None else expected
    assert cost == pytest.approx(expected.item(), rel=0.15)


@pytest.mark.parametrize("constraints", ["penalty", None, 3.0])
def test_other_words_for_constraints(constraints: Any) -> None:
    with pytest.raises(TypeError, match=f"constraints must be .*{constraints!r}"):
        trained(Bounded(), constraints=constraints)
    with pytest.raises(ValueError, match="weight=-1"):
        Penalty(-1)


class Affine(Problem):
    """`x' = a x + u`, with a parameter of its own."""

    state_shape = (2,)
    control_shape = (2,)

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.a * x + u

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x - (0 if target is None else target)).square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 2))


def test_untrained_parameters_are_said() -> None:
    problem, control = Affine(), PiecewiseConstant(0, 1, 4, 2)
    for parameters, missing in ((control, "problem.a"), (problem, "control.path")):
        optimizer = torch.optim.SGD(parameters.parameters(), lr=0.1)
        with pytest.warns(UserWarning, match=f"does not hold {missing}"):
            train(problem, control, Euler(4), optimizer, n_steps=1, progress=False)
    optimizer = torch.optim.SGD(PiecewiseConstant(0, 1, 4, 2).parameters(), lr=0.1)
    with warnings.catch_warnings(), pytest.raises(ValueError, match="holds no parameter"):
        warnings.simplefilter("ignore")
        train(problem, control, Euler(4), optimizer, n_steps=1, progress=False)
    problem.requires_grad_(False)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    train(problem, control, Euler(4), optimizer, n_steps=1, progress=False)


def costs(data: Any, n_steps: int = 4) -> list[float]:
    """The costs of a training on some data."""
    problem, control = Affine().requires_grad_(False), PiecewiseConstant(0, 1, 4, 2)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    history = train(
        problem, control, Euler(4), optimizer, n_steps=n_steps, data=data, progress=False
    )
    return history.cost


X, Y = torch.arange(16.0).reshape(8, 2) / 16, torch.ones(8, 2)


def test_batches_of_every_form() -> None:
    expected = costs([(X[:4], Y[:4]), (X[4:], Y[4:])])
    alike = [
        DataLoader(TensorDataset(X, Y), batch_size=4),
        [{"x0": X[:4], "target": Y[:4]}, {"x0": X[4:], "target": Y[4:]}],
        [[X[:4], Y[:4]], [X[4:], Y[4:]]],
        [Sample(X[:4], Y[:4]), Sample(X[4:], Y[4:])],
        itertools.cycle([(X[:4], Y[:4]), (X[4:], Y[4:])]),
        (pair for _ in range(2) for pair in [(X[:4], Y[:4]), (X[4:], Y[4:])]),
    ]
    for data in alike:
        assert costs(data) == expected
    without = costs([(X[:4], None), (X[4:], None)])
    for data in ([X[:4], X[4:]], [(X[:4],), [X[4:]]], DataLoader(TensorDataset(X), batch_size=4)):
        assert costs(data) == without
    assert costs([{"x0": X[:4]}, {"x0": X[4:]}]) == without


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (X, r"must yield batches.*tensor of shape \(8, 2\)"),
        (7, "must yield batches.*7"),
        ([], "holds no batches"),
        (iter([(X, Y)]), "ended after 1 batches"),
        ([{"image": X, "label": Y}], "batch 0: .*keys 'image', 'label'"),
        ([(X, Y, Y)], "batch 0: .*3 parts"),
        ([(X, Y), "text"], "batch 1: .*is str"),
        ([(X.numpy(), Y)], "x0 must be a tensor, but is ndarray"),
        ([(X, [1, 2])], "target must be a tensor, but is list"),
        ([(X, Y[:3])], "x0 has 8 samples, and target 3"),
    ],
)
def test_batches_that_cannot_be_used(data: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        costs(data)
