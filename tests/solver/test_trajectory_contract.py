"""A trajectory holds the same things whatever solver made it and however its gradient is found."""

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Adjoint,
    Control,
    Costate,
    Euler,
    Feedback,
    Layers,
    PiecewiseConstant,
    PiecewiseLinear,
    Problem,
    Projection,
    resnet,
    Reversible,
    Sample,
    Solver,
    SolverError,
    TorchDiffEq,
    Trajectory,
)
from ocnet.registry import named_solver


N = 10

MODES = [
    named_solver(word, N, gradient)
    for word in ("euler", "heun")
    for gradient in ("backprop", "checkpoint", "costate", "reversible")
] + [
    named_solver(f"torchdiffeq:{word}", N, gradient)
    for word in ("rk4", "dopri5")
    for gradient in ("backprop", "adjoint")
]


class Pendulum(Problem):
    """`angle'' = u - sin(angle)`, with a stage cost."""

    state_shape, control_shape, t1 = (2,), (1,), 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] - x[..., 0].sin()], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.square().sum(-1) + u.square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 2, generator=generator))


class Stacked(Problem):
    """A network whose layers are its control."""

    state_shape, t1 = (2,), 2.0

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return u(x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 2, generator=generator))


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[-0.5], [-0.3]]))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.gain)


def cases() -> dict[str, tuple[Problem, Control]]:
    """A problem and a control of each kind."""
    torch.manual_seed(0)
    steps, lines = PiecewiseConstant(0, 2, 4, 1), PiecewiseLinear(0, 2, 4, 1)
    with torch.no_grad():
        steps.path.normal_()
        lines.path.normal_()
    layers = Layers(0, 2, [nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(N)])
    return {
        "constant": (Pendulum(), steps),
        "linear": (Pendulum(), lines),
        "feedback": (Pendulum(), Feedback(0, 2, Policy())),
        "layers": (Stacked(), layers),
    }


def takes(solver: Solver, name: str) -> bool:
    return not isinstance(solver.gradient, Costate) or name in ("constant", "linear")


@pytest.mark.parametrize("name", list(cases()))
@pytest.mark.parametrize("solver", MODES, ids=repr)
@pytest.mark.parametrize("grad", [True, False])
def test_it_holds_times_states_and_controls(solver: Solver, name: str, grad: bool) -> None:
    """What is kept says so; a control value for each step is always there, and the right one."""
    if not takes(solver, name):
        return
    problem, control = cases()[name]
    x0 = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.4, 0.1]])
    with torch.set_grad_enabled(grad):
        found = solver.solve(problem, control, x0)
    torch.testing.assert_close(
        found.t, torch.linspace(0, 2, N + 1, dtype=torch.float64), rtol=0, atol=1e-15
    )
    kept = found.kept
    assert kept[0] == 0 and kept[-1] == N and list(kept) == sorted(set(kept))
    assert len(found.states) == len(kept) and len(found.controls) == N
    torch.testing.assert_close(found.t_kept, found.t[list(kept)], rtol=0, atol=0)
    torch.testing.assert_close(found.x, torch.stack(found.states), rtol=0, atol=0)

    plain = named_plain(solver).solve(problem, control, x0)
    assert plain.kept == tuple(range(N + 1))
    if not isinstance(solver, Reversible):
        for k, x in zip(kept, found.states, strict=True):
            torch.testing.assert_close(x, plain.states[k])
    for k, (u, expected) in enumerate(zip(found.controls, plain.controls, strict=True)):
        (law,) = control.laws([float(found.t[k])])
        if isinstance(expected, nn.Module):
            assert u is expected is law(x0)
            continue
        assert isinstance(u, Tensor)
        close = 0.1 if isinstance(solver, Reversible) and name == "feedback" else 1e-6
        torch.testing.assert_close(u, expected, rtol=close, atol=close)
        torch.testing.assert_close(expected, law(plain.states[k]))


def named_plain(solver: Solver) -> Solver:
    """The solver of the same scheme whose gradient is that of backpropagation."""
    if isinstance(solver, Reversible):
        return solver.solver
    return solver.with_gradient(MODES[0].gradient)


@pytest.mark.parametrize("solver", MODES, ids=repr)
@pytest.mark.parametrize("name", ["constant", "linear", "feedback"])
def test_a_function_of_its_control_values_has_the_right_gradient(solver: Solver, name: str) -> None:
    """Such as an energy that is added up outside; against differences of the trajectory."""
    if not takes(solver, name):
        return
    problem, control = (part.double() for part in cases()[name])
    x0 = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)
    (weights,) = control.parameters()

    def energy() -> Tensor:
        found = solver.solve(problem, control, x0)  # pyright: ignore[reportArgumentType]
        return sum((k + 1) * u.square().sum() for k, u in enumerate(found.controls))  # pyright: ignore

    (slope,) = torch.autograd.grad(energy(), weights)
    way = torch.linspace(1, 2, weights.numel(), dtype=torch.float64).view_as(weights)
    ends = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            weights += step * way
            ends.append(float(energy()))
    central = (ends[0] - ends[1]) / 2e-5
    # The adjoint equation has an error of its own.
    close = 1e-4 if isinstance(solver.gradient, Adjoint) else 1e-6
    assert float((slope * way).sum()) == pytest.approx(central, rel=close)


@pytest.mark.parametrize("solver", MODES, ids=repr)
def test_a_jump_of_the_state_is_one_step_of_it(solver: Solver) -> None:
    """Projections are steps: what is kept and what acts is counted over them, too."""
    problem, control = cases()["constant"]
    problem.projections = [Projection(0.5, 1.0, nn.Identity())]
    found = solver.solve(problem, control, torch.ones(3, 2))
    n = len(found.t) - 1
    assert 0.5 in found.t.tolist() and 1.0 in found.t.tolist()
    assert len(found.controls) == n and found.kept[-1] == n
    assert len(found.states) == len(found.kept)
    if isinstance(solver, Reversible):
        assert found.t_kept.tolist() == [0.0, 0.5, 1.0, 2.0]


def test_states_that_were_not_kept_are_asked_for_in_vain() -> None:
    problem, control = cases()["constant"]
    x0 = torch.ones(1, 2)
    for gradient, many in (("checkpoint", 4), ("reversible", 2)):
        found = named_solver("euler", N, gradient).solve(problem, control, x0)
        with pytest.raises(ValueError, match=f"keeps {many} of 11 states, and all are needed"):
            _ = found.all_states
    assert len(Euler(N).solve(problem, control, x0).all_states) == N + 1


def test_a_network_that_keeps_few_states_gives_no_wrong_outputs() -> None:
    """Outputs, a depth profile and costates of a ResNet need every state."""
    network = resnet(4, (4,), size=8).eval()
    images = torch.rand(2, 3, 8, 8)
    network.problem.readouts.batches.fill_(1)
    expected = network.outputs(images)
    for gradient in ("checkpoint", "reversible"):
        network.solver = named_solver("euler", 4, gradient)
        with pytest.raises(ValueError, match="of 5 states, and all are needed"):
            network.outputs(images)
    network.solver = named_solver("euler", 4)
    torch.testing.assert_close(network.outputs(images), expected)


def test_a_broken_solution_holds_what_acted_up_to_there() -> None:
    class Explosion(Pendulum):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x.square() + u

    control = PiecewiseConstant(0, 2, 4, 1)
    with pytest.raises(SolverError) as caught:
        TorchDiffEq("dopri5", rtol=1e-3, atol=1e-3, max_steps=200).solve(
            Explosion(), control, torch.ones(1, 2)
        )
    found = caught.value.trajectory
    assert len(found.t) == len(found.states) == len(found.controls) + 1 > 2
    assert 0.9 < caught.value.time < 1.1


@pytest.mark.parametrize(
    "kept, states, controls", [((), 2, 2), ((0,), 3, 2), ((), 3, 1), ((0, 2), 3, 2)]
)
def test_what_does_not_fit_together_is_refused(
    kept: tuple[int, ...], states: int, controls: int
) -> None:
    x, u = (torch.zeros(1, 2),) * states, (torch.zeros(1),) * controls
    with pytest.raises(ValueError, match="trajectory of 3 times must have"):
        Trajectory(torch.arange(3.0), x, u, torch.zeros(1), 1, kept)
