"""Functions that mix the samples of a batch are refused, by name, wherever they are evaluated."""

import math
import random
from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import nn, Tensor

from ocnet import (
    Control,
    Euler,
    Feedback,
    Layers,
    PiecewiseConstant,
    Problem,
    Projection,
    resnet,
    RK4,
    Sample,
    solve,
    SupervisedProblem,
    train,
)
from ocnet.analysis.measurement import compare
from ocnet.checks import chance, mixing_for_solve, mixing_in_training, ProblemError
from ocnet.supervised import default_steps


Extra = Callable[[Tensor, Tensor], Tensor]


def nothing(x: Tensor, u: Tensor) -> Tensor:
    return torch.zeros_like(x)


class Spring(Problem):
    """`x' = (x2, u - x1 - .2 x2) - e(x, u)`, `int |x|^2 + u^2`, with terms that a test adds."""

    state_shape = (2,)
    control_shape = (1,)
    t1 = 2.0

    def __init__(self, extra: Extra = nothing, cost: Extra = nothing, end: Extra = nothing):
        super().__init__()
        self.extra, self.cost, self.end = extra, cost, end

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        return torch.stack([x2, u[..., 0] - x1 - 0.2 * x2], -1) - self.extra(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2 + self.cost(x, u)[..., 0]

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.end(x, x)[..., 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0]).expand(batch_size, 2))


MIXING: dict[str, Extra] = {
    "norm": lambda x, u: 0.3 * x * x.norm(),
    "sum": lambda x, u: 0.1 * x * (x**2).sum(),
    "mean": lambda x, u: x - x.mean(0),
    "product": lambda x, u: 0.1 * (x @ x.mT) @ x,
    "distance": lambda x, u: 0.1 * torch.cdist(x, x).sum(-1, keepdim=True) * x,
    "largest": lambda x, u: x / (1 + x.abs().max()),
    "softmax over samples": lambda x, u: x.softmax(0),
    "cumulative": lambda x, u: x.cumsum(0),
    "first sample": lambda x, u: x - x[:1],
    "median": lambda x, u: 0.1 * (x - x.median()),
    "entries": lambda x, u: 0.1 * x * x.numel(),
    "samples": lambda x, u: 0.1 * x * len(x),
    "deviation": lambda x, u: 0.1 * x * (1 + x.std()),
    "standardised": lambda x, u: x - x.reshape(-1, x.shape[-1]).mean(0),
    "reversed": lambda x, u: 0.1 * x.flip(0),
}
APART: dict[str, Extra] = {
    "norm": lambda x, u: 0.3 * x * x.norm(dim=-1, keepdim=True),
    "sum": lambda x, u: 0.1 * x * (x**2).sum(-1, keepdim=True),
    "product": lambda x, u: 0.1 * (x @ x.new_ones(2, 2)),
    "softmax": lambda x, u: x.softmax(-1),
    "stiff": lambda x, u: 1e3 * (x.exp() - 1),
    "kink": lambda x, u: x.abs().clamp(max=2.0),
    "control": lambda x, u: u.tanh() * x,
}


def control_for(problem: Problem) -> PiecewiseConstant:
    return PiecewiseConstant(problem.t0, problem.t1, 4, 1)


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve_names_dynamics_that_mix(name: str, dtype: torch.dtype) -> None:
    """Right is the own norm's 1.0490; the norm over all samples had "converged" at 0.4396."""
    torch.set_default_dtype(dtype)
    with pytest.raises(ProblemError, match=r"^dynamics \(.*test_mixing.py:\d+\) mixes.*dim=-1"):
        solve(Spring(MIXING[name]), solver=RK4(20))


def test_solve_looks_again_at_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member, a function of the class, a function of the instance: each after a good answer."""

    def good() -> Spring:
        problem = Spring()
        assert solve(problem, solver=Euler(2)).status == "converged"
        return problem

    problem = good()
    problem.extra = MIXING["norm"]
    with pytest.raises(ProblemError, match=r"^dynamics .* mixes"):
        solve(problem, solver=Euler(2))
    problem = good()
    problem.terminal_cost = lambda x, target: x.norm()  # pyright: ignore
    with pytest.raises(ProblemError, match=r"^terminal_cost .*must return shape"):
        solve(problem, solver=Euler(2))
    problem = good()
    problem.control_bound = (-1.0, 1.0)  # pyright: ignore
    with pytest.raises(ProblemError, match="did you mean control_bounds"):
        solve(problem, solver=Euler(2))
    problem = good()
    cost = lambda self, t, x, u, target: (x**2).sum() + (u**2).sum(-1)
    monkeypatch.setattr(Spring, "stage_cost", cost)
    with pytest.raises(ProblemError, match=r"^stage_cost .* mixes"):
        solve(problem, solver=Euler(2))


def test_own_norm_is_solved() -> None:
    solution = solve(Spring(APART["norm"]), solver=RK4(20))
    assert solution.status == "converged"
    assert float(solution.cost) == pytest.approx(1.0490, abs=5e-5)


@pytest.mark.parametrize("name", ["norm", "mean", "cumulative"])
def test_solve_names_costs_that_mix(name: str) -> None:
    with pytest.raises(ProblemError, match=r"^stage_cost .* mixes"):
        solve(Spring(cost=MIXING[name]), solver=RK4(5))
    with pytest.raises(ProblemError, match=r"^terminal_cost .* mixes"):
        solve(Spring(end=MIXING[name]), solver=RK4(5))


def test_solve_names_constraints_that_mix() -> None:
    class Path(Spring):
        def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x / x.norm() - 2

    class End(Spring):
        def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
            return x[..., :1] - x.mean()

    class Inequality(Spring):
        def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
            return x[..., :1] * x.abs().amax() - 9

    for problem, name in (
        (Path(), "path_constraint"),
        (End(), "terminal_constraint"),
        (Inequality(), "terminal_inequality"),
    ):
        with pytest.raises(ProblemError, match=f"^{name} .* mixes"):
            solve(problem, solver=RK4(5))


@pytest.mark.parametrize("name", MIXING)
def test_compare_and_train_name_what_mixes(name: str) -> None:
    problem = Spring(MIXING[name])
    control = control_for(problem)
    with pytest.raises(ProblemError, match=r"^dynamics .* mixes"):
        compare(problem, control, [Euler(4)], repeats=1)
    optimizer = torch.optim.SGD(control.parameters(), lr=1e-3)
    with pytest.raises(ProblemError, match=r"^dynamics .* mixes"):
        train(problem, control, Euler(4), optimizer, n_steps=1, batch_size=3, progress=False)


@hypothesis.given(
    scale=st.floats(1e-4, 1e4),
    single=st.booleans(),
    mixing=st.booleans(),
    data=st.data(),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_random_problems(scale: float, single: bool, mixing: bool, data: st.DataObject) -> None:
    """Whatever the scale and the precision: what mixes is refused, what does not is not."""
    first = data.draw(st.sampled_from(sorted(APART)))
    second = data.draw(st.sampled_from(sorted(MIXING if mixing else APART)))
    terms = APART[first], (MIXING if mixing else APART)[second]
    torch.set_default_dtype(torch.float32 if single else torch.float64)
    # In single precision what mixes is seen from 1e-3 of the whole on.
    scale = max(scale, 0.1) if single and mixing else scale
    problem = Spring(lambda x, u: scale * (terms[0](x, u) + terms[1](x, u)))
    control = control_for(problem)
    if mixing and first != "stiff":
        with pytest.raises(ProblemError, match=r"^dynamics .* mixes"):
            compare(problem, control, [Euler(2)], repeats=1)
    elif not mixing:
        sample = problem.sample(2)
        assert mixing_in_training(problem, control, sample) == []
        assert mixing_for_solve(problem, sample.x0, None, 0.0) == []


class Norm(nn.Module):
    """A layer that standardises each feature over the batch, also in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Net(SupervisedProblem):
    """Four layers on vectors; a projection between the second and the third."""

    state_shape = (3,)
    t1 = 4.0
    depth = 4

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.branches = tuple(layers)
        self.projections = [Projection(1.0, 2.0, nn.Linear(3, 5))]

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return u(x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1)

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        return Layers(0.0, 4.0, self.branches)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 3, generator=generator))


def layers(last: nn.Module) -> list[nn.Module]:
    return [nn.Linear(3, 3), nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 5), nn.ReLU()), last]


def train_one_step(problem: Problem) -> None:
    control = problem.initial_control(default_steps(problem))
    optimizer = torch.optim.SGD([*problem.parameters(), *control.parameters()], lr=1e-3)
    train(problem, control, Euler(4), optimizer, n_steps=1, batch_size=6, progress=False)


def test_training_names_the_layer_that_mixes() -> None:
    with pytest.raises(ProblemError, match=r"^dynamics .* mixes"):
        train_one_step(Net(layers(nn.Sequential(nn.Linear(5, 5), Norm()))))


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.Dropout, nn.LayerNorm])
def test_training_takes_what_mixes_by_design(kind: type[nn.Module]) -> None:
    """Batch norm mixes in training only, and keeps its mode; dropout is not mixing."""
    last = nn.Dropout(0.5) if kind is nn.Dropout else kind(5)
    problem = Net(layers(nn.Sequential(nn.Linear(5, 5), last)))
    before = last.training
    train_one_step(problem)
    assert last.training == before


own = torch.Generator()
numpy_own = np.random.default_rng(0)


def masked(kept: Callable[[Tensor], Tensor]) -> Extra:
    return lambda x, u: x * kept(x)


RANDOM: dict[str, Extra] = {
    "dropout": lambda x, u: nn.functional.dropout(x, 0.5),
    "bernoulli": masked(lambda x: torch.full_like(x, 0.5).bernoulli()),
    "own generator": masked(lambda x: torch.randint(2, x.shape, generator=own).to(x)),
    "python": masked(lambda x: x.new_tensor(float(random.random() < 0.5))),
    "numpy": masked(lambda x: x.new_tensor(np.random.randint(2, size=x.shape))),  # noqa: NPY002
    "numpy's own": masked(lambda x: x.new_tensor(numpy_own.integers(2, size=x.shape))),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_draws_random_numbers_is_not_mixing(name: str) -> None:
    """Masks of few entries often agree twice by chance: that is never taken for mixing."""
    global numpy_own
    problem = Spring(RANDOM[name])
    control, sample = control_for(problem), problem.sample(3)
    for seed in range(50):
        torch.manual_seed(seed)
        own.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        numpy_own = np.random.default_rng(seed)
        assert mixing_in_training(problem, control, sample) == []


@pytest.mark.parametrize("name", [name for name in RANDOM if name != "numpy's own"])
def test_random_functions_are_refused_by_solve(name: str) -> None:
    with pytest.raises(ProblemError, match=r"^dynamics .* another value each time"):
        solve(Spring(RANDOM[name]), solver=RK4(5))


def test_random_numbers_that_cannot_be_watched() -> None:
    """A generator of numpy's that the user keeps: refused, or seen by the independent pass."""
    try:
        solution = solve(Spring(RANDOM["numpy's own"]), solver=RK4(20))
    except ProblemError as error:
        assert "another value each time" in str(error)
    else:
        assert solution.status != "converged"


@pytest.mark.parametrize("name", [name for name in RANDOM if name != "numpy's own"])
def test_generators_are_watched_and_not_values(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second draw may agree by chance with the first: here none is compared."""
    monkeypatch.setattr(chance, "REPETITIONS", 0)
    problem = Spring(RANDOM[name])
    assert mixing_in_training(problem, control_for(problem), problem.sample(3)) == []


def test_functional_dropout_trains() -> None:
    problem = Spring(RANDOM["dropout"])
    control = control_for(problem)
    optimizer = torch.optim.SGD(control.parameters(), lr=1e-3)
    train(problem, control, Euler(4), optimizer, n_steps=1, batch_size=3, progress=False)


def test_the_check_leaves_no_trace() -> None:
    """Neither in the random state nor in running statistics."""
    norm = nn.BatchNorm1d(5)
    problem = Net(layers(nn.Sequential(nn.Linear(5, 5), norm, nn.Dropout(0.5)))).train()
    control, sample = problem.initial_control(4), problem.sample(4)
    state, mean = torch.get_rng_state(), norm.running_mean
    assert mean is not None
    mean = mean.clone()
    assert mixing_in_training(problem, control, sample) == []
    assert torch.equal(torch.get_rng_state(), state)
    assert norm.running_mean is not None and torch.equal(norm.running_mean, mean)
    assert norm.training


def test_a_shared_control_may_be_reduced() -> None:
    """`x @ u.mT` and `u.square().sum()` mix nothing where all samples share the control."""

    class Matrix(Spring):
        control_shape = (2, 2)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x @ u.mT

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return u.square().sum() + (x**2).sum(-1)

    problem = Matrix()
    control = PiecewiseConstant(0.0, 2.0, 4, (2, 2))
    with torch.no_grad():
        control.path.normal_()
    assert mixing_in_training(problem, control, problem.sample(3)) == []


def test_a_policy_that_mixes() -> None:
    class Centred(nn.Module):
        def forward(self, t: Tensor, inputs: Tensor) -> Tensor:
            return (inputs - inputs.mean(0))[..., :1]

    problem = Spring()
    policy = Feedback(problem.t0, problem.t1, Centred())
    with pytest.raises(ProblemError, match="^control .* mixes|^control mixes"):
        compare(problem, policy, [Euler(4)], repeats=1)


def test_an_embedding_that_mixes() -> None:
    class Centred(Spring):
        def embed(self, x0: Tensor) -> Tensor:
            return x0 / (1 + x0.norm())

    with pytest.raises(ProblemError, match="^embed .* mixes"):
        compare(Centred(), control_for(Spring()), [Euler(4)], repeats=1)


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_residual_networks_pass(gamma: float) -> None:
    torch.set_default_dtype(torch.float32)
    network = resnet(depth=8, widths=(4, 8), gamma=gamma)
    sample = Sample(torch.randn(4, 3, 32, 32), torch.arange(4))
    assert mixing_in_training(network.problem, network.control, sample) == []
    assert math.isfinite(float(network(sample.x0).sum().detach()))
