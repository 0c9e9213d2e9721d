"""First-order methods of `solve`: constraints, free final time, static parameters, statuses."""

import math
import re

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, RK4
from ocnet.direct import Adam, LBFGS, solve, SuccessiveApproximation
from ocnet.direct.constants import Code
from ocnet.direct.first_order.first_order import augmented_lagrangian, AugmentedMultipliers
from ocnet.direct.first_order.single_shooting import outcome
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.transcription import Transcription
from problems.double_integrator import BrysonDenham
from problems.free_time import Brachistochrone, MinTime, MoonLander
from tests.support.integrators import (
    AtLeast,
    Downhill,
    Explosion,
    Integrator,
    Mass,
    NotANumber,
    Reach,
)


class Everything(MoonLander):
    """A free final time, a static parameter, and rows of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.pull = torch.nn.Parameter(torch.tensor(1.5), requires_grad=False)
        self.static_parameters = {"pull": (0.5, 3.0)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0] * x[..., 0].cos() - self.pull * t], -1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., 1:] * u + 1

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] ** 2 - 1


@pytest.mark.parametrize("compiled", [True, False])
def test_gradient_of_the_augmented_lagrangian(compiled: bool, generator: torch.Generator) -> None:
    n, size = 6, 2
    x0 = torch.tensor([[1.0, -2.0], [2.0, 0.5]])
    nlp = Transcription(Everything().batch(x0), RK4(n), Autograd())
    if compiled:
        from ocnet.direct.compiled import kernel_of

        nlp.backend = kernel_of(nlp)
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    u, theta = 1 + normal(n, size, 1), 1 + 0.1 * normal(size, 2)
    held = AugmentedMultipliers(
        normal(size, 2), normal(n, size, 1).abs(), normal(size, 1).abs(), 7.0
    )
    _, by_u, by_theta, _ = augmented_lagrangian(nlp, u, theta, held)
    du, dtheta, eps = normal(n, size, 1), normal(size, 2), 1e-6
    up, down = (
        augmented_lagrangian(nlp, u + e * du, theta + e * dtheta, held)[0] for e in (eps, -eps)
    )
    slope = (by_u * du).sum((0, 2)) + (by_theta * dtheta).sum(1)
    torch.testing.assert_close(slope, (up - down) / (2 * eps), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_free_final_time() -> None:
    """Least time of the double integrator is 2; the brachistochrone's that of the second order."""
    found = solve(MinTime(), solver=Euler(10), method=LBFGS())
    assert found.status == "converged", found.reason
    torch.testing.assert_close(found.cost, torch.tensor(2.0), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.final_time, found.cost)
    assert max(found.optimality) < 1e-4 and found.violation < 1e-5
    best = solve(Brachistochrone(), solver=Euler(20))
    found = solve(Brachistochrone(), solver=Euler(20), method=LBFGS())
    assert found.status == "converged", found.reason
    torch.testing.assert_close(found.cost, best.cost, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.costates, best.costates, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", [LBFGS(), Adam(steps_per_round=400, lr=0.03, tolerance=1e-2)])
def test_static_parameters(method: LBFGS | Adam) -> None:
    """`12 m^2 / (1 - 1/n^2) + 4/m^2` is least at `m^4 = 4 (1 - 1/n^2) / 12`."""
    found = solve(Mass((0.1, 10.0)), solver=Euler(20), method=method)
    c = 12 / (1 - 1 / 400)
    assert found.status == "converged", found.reason
    close = {"rtol": method.tolerance, "atol": 0}
    torch.testing.assert_close(found.parameters["mass"], torch.tensor((4 / c) ** 0.25), **close)
    torch.testing.assert_close(found.cost, torch.tensor(2 * math.sqrt(4 * c)), **close)


def test_a_parameter_on_its_bound() -> None:
    found = solve(Mass((1.0, 10.0)), solver=Euler(20), method=LBFGS())
    assert found.status == "converged", found.reason
    torch.testing.assert_close(found.parameters["mass"], torch.tensor(1.0), rtol=0, atol=1e-5)


def test_a_parameter_that_can_still_be_improved_is_not_converged() -> None:
    """The control that is best for a mass of 2 is, where the mass is free, no optimum."""
    best, none = solve(Mass(), solver=Euler(10)), torch.zeros(10, 1, 0)
    nu = best.multipliers.terminal.reshape(1, 1, 2)
    codes = []
    for problem, theta in (
        (Mass(), torch.zeros(1, 0)),
        (Mass((0.1, 10.0)), torch.full((1, 1), 2.0)),
    ):
        nlp = Transcription(problem.batch(torch.zeros(2)), Euler(10), Autograd())
        u = best.u.reshape(10, 1, 1)
        codes.append(Code(int(outcome(nlp, u, theta, nu, none, none[:1], 0, 1e-5).code)))
    assert codes == [Code.CONVERGED, Code.EXHAUSTED]


def test_each_instance_has_parameters_of_its_own() -> None:
    masses = torch.tensor([0.5, 1.0, 3.0])
    found = solve(Mass().batch(torch.zeros(3, 2), mass=masses), solver=Euler(20), method=LBFGS())
    assert found.status == "converged", found.reason
    c = 12 / (1 - 1 / 400)
    # A violation of the tolerance, 1e-5, costs so much times its multiplier, about 200.
    torch.testing.assert_close(found.cost, c * masses**2 + 4 / masses**2, rtol=5e-5, atol=0)


@pytest.mark.slow
def test_inequalities_along_the_path() -> None:
    best = solve(BrysonDenham(), solver=Euler(10))
    found = solve(BrysonDenham(), solver=Euler(10), method=LBFGS(tolerance=1e-3))
    assert found.status == "converged", found.reason
    torch.testing.assert_close(found.cost, best.cost, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.multipliers.path, best.multipliers.path, rtol=0.02, atol=0.5)


def test_inequalities_at_the_end() -> None:
    x0 = torch.tensor([[0.0], [0.5], [2.0]])
    found = solve(AtLeast().batch(x0), solver=Euler(10), method=LBFGS())
    assert found.status == "converged", found.reason
    expected = (1 - x0[:, 0]).clamp(min=0)
    torch.testing.assert_close(found.cost, expected**2, rtol=1e-4, atol=1e-8)


class Saddle(Integrator):
    """Stationary without control, and a maximum there."""

    control_bounds = (-1.0, 1.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return -(u[..., 0] ** 2)


@pytest.mark.parametrize(
    ("problem", "status", "reason"),
    [
        (Reach, "exhausted", r"iteration allowed, terminal_constraint\[0\] is violated by 0.9"),
        (Downhill, "unbounded", "the cost fell to -.* while the control grew"),
        (Explosion, "diverged", "not finite at step"),
        (NotANumber, "diverged", "not finite at step 0"),
        (Saddle, "saddle", "negative curvature in some control"),
    ],
)
def test_what_has_no_optimum_is_not_converged(
    problem: type[Problem], status: str, reason: str
) -> None:
    found = solve(problem(), solver=RK4(20), method=LBFGS(steps_per_round=20, max_iterations=160))
    assert found.status == status, found.reason
    assert re.search(reason, found.reason), found.reason


def test_without_a_word_a_method_may_take_600_steps() -> None:
    """What is out of reach is tried until no round is left."""
    default, same = (
        solve(Reach(), solver=Euler(2), method=method).iterations
        for method in (LBFGS(steps_per_round=100), LBFGS(600, steps_per_round=100))
    )
    assert default == same


def test_successive_approximation_has_no_place_for_constants() -> None:
    for problem in (MinTime(), Mass((0.1, 10.0))):
        with pytest.raises(ValueError, match="SuccessiveApproximation finds no free final time"):
            solve(problem, solver=Euler(10), method=SuccessiveApproximation())
