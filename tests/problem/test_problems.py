"""The contract that every problem must keep, checked on every problem that can be found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    CubicSpline,
    Euler,
    evaluate,
    OpenLoop,
    PiecewiseLinear,
    Problem,
    RK4,
    Sample,
    SolvedProblem,
)
from ocnet.catalogue import problems_of
from ocnet.supervised import default_steps


PROBLEMS = problems_of()
each = pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS.keys())
solved = pytest.mark.parametrize(
    "make",
    [kind for kind in PROBLEMS.values() if issubclass(kind, SolvedProblem)],
    ids=[spec for spec, kind in PROBLEMS.items() if issubclass(kind, SolvedProblem)],
)


@pytest.fixture(autouse=True)
def small_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few grey images under the name of each image data set, so that nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    for name, size in {"mnist": 28, "fashionmnist": 28, "cifar10": 32, "cifar100": 32}.items():
        shape = (60, size, size) if size == 28 else (60, size, size, 3)
        images, labels = np.full(shape, 99, np.uint8), np.arange(60) % 10
        np.savez(
            folder / f"{name}.npz",
            train_images=images,
            train_labels=labels,
            test_images=images,
            test_labels=labels,
        )
    monkeypatch.setattr("problems.images._Images.held_out", 10)


def control_value(problem: Problem, generator: torch.Generator) -> Tensor:
    assert problem.control_shape is not None
    return 0.1 * torch.randn(problem.control_shape, generator=generator)


@each
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtype(
    make: Callable[[], Problem], batch: int, dtype: torch.dtype, generator: torch.Generator
) -> None:
    problem = make().to(dtype)
    sample = problem.sample(batch, generator)
    target = sample.target
    if target is not None and target.is_floating_point():
        target = target.to(dtype)
    n = 2 if problem.control_shape is not None else default_steps(problem)
    control = problem.initial_control(n, generator).to(dtype)
    t, x = torch.tensor(problem.t0, dtype=dtype), problem.embed(sample.x0.to(dtype))
    assert x.shape == (batch, *problem.state_shape)
    u = control(problem.t0, x)
    f = problem.dynamics(t, x, u)
    if not problem.projections:
        assert f.shape == x.shape
    costs, trajectory = evaluate(problem, control, Euler(n), Sample(sample.x0.to(dtype), target))
    assert costs.shape == (batch,)
    assert f.dtype == costs.dtype == trajectory.states[-1].dtype == dtype
    assert torch.isfinite(costs).all()
    assert torch.isfinite(torch.stack([p.sum() for p in control.parameters()])).all()


@each
def test_control_broadcasts(make: Callable[[], Problem], generator: torch.Generator) -> None:
    """A control shared by the batch acts like the same control given to each."""
    problem = make()
    if problem.control_shape is None:
        return
    x0, target = problem.sample(5, generator)
    t, x, u = torch.tensor(problem.t0), problem.embed(x0), control_value(problem, generator)
    each = u.expand(5, *u.shape)
    torch.testing.assert_close(problem.dynamics(t, x, u), problem.dynamics(t, x, each))
    shared = problem.stage_cost(t, x, u, target).expand(5)
    torch.testing.assert_close(shared, problem.stage_cost(t, x, each, target))


@each
def test_samples_are_reproducible(make: Callable[[], Problem]) -> None:
    problem = make()
    first, second = (problem.sample(3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.x0, second.x0)
    assert (first.target is None) == (second.target is None)
    if first.target is not None and second.target is not None:
        assert torch.equal(first.target, second.target)


def cost_and_gradient(problem: Problem, control: OpenLoop, x0: Tensor) -> tuple[float, Tensor]:
    cost, _ = evaluate(problem, control, RK4(200), Sample(x0))
    (gradient,) = torch.autograd.grad(cost.mean(), list(control.parameters()))
    return cost.mean().item(), gradient


@solved
def test_known_control_is_optimal(make: Callable[[], SolvedProblem]) -> None:
    """Its cost is the known optimum and the gradient there is near zero."""
    problem = make()
    x0 = problem.sample(1).x0
    control = PiecewiseLinear(problem.t0, problem.t1, 200, problem.control_shape or ())
    u = problem.optimal_control(torch.tensor(control.knots), x0)
    # A control may beat the optimum because it is not admissible.
    if u is None or problem.constraints:
        return
    at_zero, slope = cost_and_gradient(problem, control, x0)
    with torch.no_grad():
        control.path.copy_(u[:, 0])
    cost, gradient = cost_and_gradient(problem, control, x0)
    optimum = problem.optimal_cost(x0).item()
    assert cost == pytest.approx(optimum, rel=1e-4)
    assert gradient.abs().max() < 1e-3 * max(slope.abs().max().item(), 1e-3)
    assert at_zero > optimum


@solved
def test_no_random_control_beats_the_optimum(
    make: Callable[[], SolvedProblem], generator: torch.Generator
) -> None:
    problem = make()
    if problem.constraints:
        return
    x0 = problem.sample(1).x0
    optimum = problem.optimal_cost(x0).item()
    batch, shape = 200, problem.control_shape or ()
    control = CubicSpline(problem.t0, problem.t1, 6, (batch, *shape))
    nn.init.normal_(control.path, generator=generator)
    with torch.no_grad():
        scale = torch.logspace(-2, 0.5, batch).reshape(
            batch, *[1] * len(problem.control_shape or ())
        )
        control.path.mul_(scale)
        u = problem.optimal_control(torch.tensor(control.knots), x0)
        if u is not None:
            control.path.add_(u)
        costs, _ = evaluate(problem, control, RK4(100), Sample(x0.expand(batch, *x0.shape[1:])))
    assert costs.nan_to_num(nan=torch.inf).min() > optimum - 1e-6 * abs(optimum)


@solved
def test_euler_optimum_tends_to_the_optimum(make: Callable[[], SolvedProblem]) -> None:
    problem = make()
    x0 = problem.sample(1).x0
    if problem.euler_optimal_cost(x0, 1000) is None:
        return
    J = problem.optimal_cost(x0)
    errors = [problem.euler_optimal_cost(x0, n) - J for n in (1000, 2000)]  # pyright: ignore
    if problem.constraints:
        # End conditions may make it converge faster, or be exact.
        assert errors[1].abs() <= 0.6 * errors[0].abs() + 1e-12
    else:
        assert torch.log2(errors[0] / errors[1]).item() == pytest.approx(1, abs=0.05)


# Riccati equations and scalar minimisations, to the digits given; each was also found by
# collocation.
REFERENCE = {
    "ScalarLQR": (0.3807970779778824, 0.38224701),
    "DoubleIntegratorLQR": (0.8654252995521777, 0.89066497),
    "TerminalLQR": (0.8966743947753623, 0.91935450),
    "OscillatorLQR": (0.9561419767349852, 1.06151344),
    "Tanh": (0.7615941559557649, 0.76449401),
    "BilinearPenalty": (0.5967621017, 0.60321083),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_values(name: str) -> None:
    (make,) = [kind for kind in PROBLEMS.values() if kind.__name__ == name]
    problem = make()
    assert isinstance(problem, SolvedProblem)
    x0 = problem.sample(1).x0
    continuous, euler = REFERENCE[name]
    assert problem.optimal_cost(x0).item() == pytest.approx(continuous, rel=1e-10)
    discrete = problem.euler_optimal_cost(x0, 100)
    assert discrete is not None
    assert discrete.item() == pytest.approx(euler, rel=1e-8)


def test_deep_linear_tends_to_the_constrained_problem() -> None:
    """With an infinite penalty the end is M and the optimum sum ln^2 sigma_i."""
    (make,) = [kind for kind in PROBLEMS.values() if kind.__name__ == "DeepLinear"]
    problem = make(rho=1e7)  # pyright: ignore
    x0 = problem.sample(1).x0
    assert problem.optimal_cost(x0).item() == pytest.approx(0.6806161582, rel=1e-6)  # pyright: ignore
    discrete = problem.euler_optimal_cost(x0, 10)  # pyright: ignore
    assert discrete.item() == pytest.approx(0.7313741280, rel=1e-6)
