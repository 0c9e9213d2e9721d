"""`solve` against closed forms, dense linear algebra, plain rollouts and itself."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ocnet import Euler, evaluate, Heun, Problem, RK4, Sample, TorchDiffEq
from ocnet.direct import (
    certify,
    continue_in,
    InteriorPoint,
    load_solution,
    refine,
    save_solution,
    solve,
)
from ocnet.direct.interior_point.riccati import riccati, Stages
from problems.constrained import BoundedVanDerPol, PendulumSwingUp
from problems.double_integrator import BrysonDenham, MinEnergy
from problems.free_time import MinTime, MoonLander, OrbitRaising
from problems.linear_quadratic import OscillatorLQR, ScalarLQR
from problems.nonlinear import VanDerPol
from tests.support.integrators import (
    BoundedConcave,
    Concave,
    Contradiction,
    Downhill,
    Explosion,
    Forbidden,
    Integrator,
    Kink,
    Mass,
    NotANumber,
    Reach,
    Redundant,
)


def positive(generator: torch.Generator, *shape: int) -> Tensor:
    A = torch.randn(*shape, shape[-1], generator=generator)
    return A @ A.mT + torch.eye(shape[-1])


def test_riccati_step_equals_the_dense_solve(generator: torch.Generator) -> None:
    n, nx, nz, nu, rows = 5, 3, 4, 2, 2
    d = nz + nu

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    stages = Stages(
        positive(generator, n, 1, d), normal(n, 1, d), normal(n, 1, nx, d), normal(n, 1, nx),
        positive(generator, 1, nz), normal(1, nz), normal(1, rows, nz), normal(1, rows),
        torch.full((1,), 3.0), torch.full((1,), 0.1), normal(1, rows), 0.1 * normal(1, nz, nu),
    )  # fmt: skip
    step = riccati(stages)

    z = [slice(k * nz, (k + 1) * nz) for k in range(n + 1)]
    size = (n + 1) * nz + n * nu
    H, q = torch.zeros(size, size), torch.zeros(size)
    C, c = [torch.eye(size)[:nx]], [torch.zeros(nx)]
    for k in range(n):
        w = torch.tensor([*range(k * nz, (k + 1) * nz), *range((n + 1) * nz + k * nu, size)][:d])
        w[nz:] = torch.arange(nu) + (n + 1) * nz + k * nu
        H[w[:, None], w] += stages.hessian[k, 0]
        q[w] += stages.gradient[k, 0]
        row = torch.zeros(nz, size)
        row[:nx, w] = stages.jacobian[k, 0]
        row[range(nx, nz), range(z[k].start + nx, z[k].stop)] = 1
        row[:, z[k + 1]] -= torch.eye(nz)
        C.append(row)
        c.append(torch.cat([stages.defect[k, 0], torch.zeros(nz - nx)]))
    H[z[n], z[n]] += stages.end_hessian[0] + 3.0 * stages.end_jacobian[0].T @ stages.end_jacobian[0]
    last_u = slice(size - nu, size)
    H[z[n], last_u], H[last_u, z[n]] = stages.end_cross[0], stages.end_cross[0].T
    q[z[n]] += stages.end_gradient[0] + 3.0 * stages.end_jacobian[0].T @ stages.end_defect[0]
    last = torch.zeros(rows, size)
    last[:, z[n]] = stages.end_jacobian[0]
    C = torch.cat([*C, last])
    c = torch.cat([*c, stages.end_defect[0] + 0.1 * stages.nu[0]])
    soft = torch.zeros(len(C), len(C))
    soft[-rows:, -rows:] = -0.1 * torch.eye(rows)
    K = torch.cat([torch.cat([H, C.T], 1), torch.cat([C, soft], 1)])
    answer = -torch.linalg.solve(K, torch.cat([q, c]))

    torch.testing.assert_close(step.z[:, 0].reshape(-1), answer[: (n + 1) * nz])
    torch.testing.assert_close(step.u[:, 0].reshape(-1), answer[(n + 1) * nz : size])
    torch.testing.assert_close(step.nu[0], answer[-rows:])
    torch.testing.assert_close(step.costate[1:, 0].reshape(-1), answer[size + nx : -rows])
    assert step.convex.all()


def test_costates_equal_the_closed_forms() -> None:
    """After Richardson's extrapolation; `H = l + p . f`, `p' = -H_x`, `p(t1) = phi_x`."""

    def extrapolated(problem: Problem) -> tuple[Tensor, Tensor]:
        coarse, fine = (solve(problem, solver=RK4(n)) for n in (200, 400))
        return coarse.trajectory.t, (4 * fine.costates[::2] - coarse.costates) / 3

    t, p = extrapolated(ScalarLQR())
    torch.testing.assert_close(p[:, 0], torch.sinh(1 - t) / math.cosh(1), rtol=0, atol=1e-6)
    t, p = extrapolated(MinEnergy())
    exact = torch.stack([torch.full_like(t, -24.0), 24 * t - 12], -1)
    torch.testing.assert_close(p, exact, rtol=1e-6, atol=1e-6)


def test_costates_are_the_gradient_of_the_cost_in_the_state() -> None:
    solution = solve(OscillatorLQR(), solver=RK4(50))
    x0 = solution.batch.x0.clone().requires_grad_()
    cost, _ = evaluate(
        solution.batch.problem, solution.control, RK4(50), Sample(x0[None])
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(cost.sum(), x0)
    torch.testing.assert_close(solution.costates[0], gradient)


@pytest.mark.parametrize("solver", [Euler(40), Heun(40), RK4(40)])
def test_control_and_cost_belong_together(solver: Euler) -> None:
    """The solver that trains networks finds the same cost, and no way down off the bounds."""
    problem = BoundedVanDerPol()
    problem.control_bounds = (-0.25, 0.6)
    solution = solve(problem, solver=solver)
    control = solution.control.requires_grad_()
    cost, trajectory = evaluate(problem, control, solver, Sample(solution.batch.x0[None]))
    cost.sum().backward()
    torch.testing.assert_close(cost[0], solution.cost, rtol=1e-10, atol=0)
    torch.testing.assert_close(trajectory.x[:, 0], solution.x)
    u, gradient = control.path.detach(), control.path.grad
    assert gradient is not None
    slope = gradient / (problem.t1 / 40)
    lower, upper = solution.multipliers.lower, solution.multipliers.upper
    torch.testing.assert_close(slope, lower - upper, rtol=0, atol=1e-8)
    free = (u > -0.25 + 1e-6) & (u < 0.6 - 1e-6)
    assert 5 < free.sum() < 40 and slope[free].abs().max() < 1e-3
    assert (lower >= 0).all() and (upper >= 0).all() and upper.max() > 0.1


def test_hamiltonian_is_constant_where_nothing_depends_on_time() -> None:
    solution = solve(VanDerPol(), solver=RK4(400))
    assert float(solution.hamiltonian.std()) < 5e-3 * float(solution.hamiltonian.abs().mean())
    free = solve(MoonLander(), solver=RK4(100))
    torch.testing.assert_close(free.hamiltonian, torch.zeros(100), rtol=0, atol=2e-2)


def test_multipliers_are_the_sensitivities_of_the_cost() -> None:
    L, eps = 1 / 9, 1e-4
    here = solve(BrysonDenham(L), solver=RK4(60))
    up, down = (solve(BrysonDenham(L + d), solver=RK4(60)).cost for d in (eps, -eps))
    width = 1 / 60
    torch.testing.assert_close(
        -here.multipliers.path.sum() * width, (up - down) / (2 * eps), rtol=1e-4, atol=0
    )


def test_static_parameters_are_optimised() -> None:
    """`12 m^2 / (1 - 1/n^2) + 4/m^2` is least at `m^4 = 4 (1 - 1/n^2) / 12`."""
    solution = solve(Mass((0.1, 10.0)), solver=Euler(20))
    c = 12 / (1 - 1 / 400)
    assert solution.status == "converged"
    torch.testing.assert_close(solution.parameters["mass"], torch.tensor((4 / c) ** 0.25))
    torch.testing.assert_close(solution.cost, torch.tensor(2 * math.sqrt(4 * c)))
    bounded = solve(Mass((1.0, 10.0)), solver=Euler(20))
    torch.testing.assert_close(bounded.parameters["mass"], torch.tensor(1.0), rtol=0, atol=1e-8)


def test_each_instance_can_have_parameters_of_its_own() -> None:
    masses = torch.tensor([0.5, 1.0, 3.0])
    problem = Mass()
    solution = solve(problem.batch(torch.zeros(3, 2), mass=masses), solver=Euler(20))
    c = 12 / (1 - 1 / 400)
    torch.testing.assert_close(solution.cost, c * masses**2 + 4 / masses**2)
    with pytest.raises(ValueError, match=r"mass must have shape \(\) or \(3,\), but got \(2,\)"):
        solve(problem.batch(torch.zeros(3, 2), mass=masses[:2]))
    with pytest.raises(ValueError, match="must have a parameter or buffer 'weight'"):
        solve(problem.batch(torch.zeros(3, 2), weight=masses))


def test_a_batch_equals_its_members(generator: torch.Generator) -> None:
    x0 = torch.randn(2, 3, 2, generator=generator)
    for problem, solver in ((BoundedVanDerPol(), RK4(30)), (MinTime(), Euler(30))):
        together = solve(problem.batch(x0), solver=solver)
        assert together.status == "converged"
        assert together.u.shape == (30, 2, 3, 1) and together.costates.shape == (31, 2, 3, 2)
        for i, j in ((0, 0), (1, 2)):
            alone = solve(problem.batch(x0[i, j]), solver=solver)
            torch.testing.assert_close(together.cost[i, j], alone.cost, rtol=1e-9, atol=1e-10)
            torch.testing.assert_close(together.x[:, i, j], alone.x, rtol=1e-6, atol=1e-6)
            assert together.iterations[i, j] == alone.iterations


def test_an_instance_that_fails_spoils_no_other() -> None:
    problem = Reach()
    x0 = torch.tensor([[0.99, 0.0], [0.0, 0.0], [1.0, 0.01]])
    solution = solve(problem.batch(x0), solver=Euler(20))
    assert solution.statuses == ("converged", "infeasible", "converged")
    assert solution.converged.tolist() == [True, False, True]
    assert solution.status == "2 converged, 1 infeasible"
    alone = solve(problem.batch(x0[2]), solver=Euler(20))
    torch.testing.assert_close(solution.cost[2], alone.cost)


@pytest.mark.parametrize(
    ("problem", "status", "reason"),
    [
        (Reach, "infeasible", r"terminal_constraint\[0\] is violated by 0.95\d* at t=1"),
        (Contradiction, "infeasible", r"terminal_constraint\[\d\] is violated by 0.5 at t=1"),
        (Redundant, "converged", "all residuals"),
        (Forbidden, "infeasible", r"path_constraint\[0\] is violated by 0.99\d* at t=0.05"),
        (Downhill, "unbounded", "the cost fell to -.* while the control grew"),
        (Concave, "unbounded", "the cost fell to -.* while the control grew"),
        (BoundedConcave, "converged", "all residuals"),
        (Explosion, "diverged", r"dynamics\[\d\] is violated by"),
        (NotANumber, "diverged", "not finite at step 0"),
        (Kink, "stalled", "no step lowers cost or violation any more"),
    ],
)
def test_every_end_has_a_status_and_a_reason(
    problem: type[Problem], status: str, reason: str
) -> None:
    solution = solve(problem(), solver=RK4(20))
    assert solution.status == status, solution.reason
    assert re.search(reason, solution.reason), solution.reason
    if problem is BoundedConcave:
        torch.testing.assert_close(solution.cost, torch.tensor(-1.0), rtol=1e-8, atol=0)


def test_a_singular_arc_converges() -> None:
    """`int |x|^2` alone under `|u| <= 1`: bang, then along an arc where `H_u` vanishes."""

    class Singular(Integrator):
        t1 = 5.0
        control_bounds = (-1.0, 1.0)

        def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
            return (x**2).sum(-1)

    solution = solve(Singular().batch(torch.tensor([1.0, 0.0])), solver=RK4(100))
    assert solution.status == "converged"
    # On the arc x1 + x2 = 0, so that the cost to go from x is x1^2.
    arc = solution.x[40:80].sum(-1)
    assert float(arc.abs().max()) < 1e-2


class Rows(Integrator):
    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., 0]


class Contradicting(Integrator):
    control_bounds = (1.0, 1.0)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Rows(), r"path_constraint .*must return shape \(\*batch, rows\).*x\[\.\.\., :1\]"),
        (Contradicting(), "control_bounds must leave room between them, but got 1.0 and 1.0"),
    ],
)
def test_bad_problems_are_told_in_one_line(problem: Problem, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(problem)


def test_warm_start_refinement_and_continuation() -> None:
    problem = OrbitRaising()
    coarse = solve(problem, solver=RK4(20))
    fine = refine(coarse, times=2)
    cold = solve(problem, solver=RK4(80))
    torch.testing.assert_close(fine.cost, cold.cost, rtol=1e-9, atol=0)
    assert fine.iterations < cold.iterations / 3
    path = continue_in(solve(Mass(), solver=Euler(20)), "mass", [1.0, 3.0])
    c = 12 / (1 - 1 / 400)
    torch.testing.assert_close(path[1].cost, torch.tensor(c * 9 + 4 / 9))


def test_save_and_load(tmp_path: Path) -> None:
    problem = Mass((0.1, 10.0))
    solution = solve(problem, solver=Heun(20))
    save_solution(solution, tmp_path / "solution.safetensors")
    again = load_solution(tmp_path / "solution.safetensors", problem)
    assert repr(again.solver) == "Heun(20)" and again.statuses == solution.statuses
    torch.testing.assert_close(again.u, solution.u, rtol=0, atol=0)
    torch.testing.assert_close(again.multipliers.terminal, solution.multipliers.terminal)
    warm = solve(again.batch, solver=again.solver, start=again)
    assert warm.status == "converged" and warm.iterations <= 4
    with pytest.raises(ValueError, match=r"holds states of shape \(2,\), but ScalarLQR has \(1,\)"):
        load_solution(tmp_path / "solution.safetensors", ScalarLQR())


@pytest.mark.slow
def test_certificate_shows_how_euler_misleads() -> None:
    problem = OscillatorLQR()
    euler = certify(solve(problem, solver=Euler(60)))
    rk4 = certify(solve(problem, solver=RK4(60)))
    best = problem.optimal_cost(problem.sample(1).x0[0]).item()
    assert euler.optima and rk4.optima and euler.ode_cost and rk4.optima.euler
    assert abs(euler.optima.costs[-1] - best) > 0.1 and euler.outcome == "does not"
    assert rk4.optima.optimum == pytest.approx(best, rel=1e-3)
    assert rk4.optima.euler == pytest.approx(euler.optima.costs[-1])
    assert rk4.outcome == "behaves" and abs(float(rk4.optima.note.split()[1]) - 2) < 0.2
    solution = solve(problem, solver=Euler(60))
    cost, _ = evaluate(
        problem, solution.control, TorchDiffEq(rtol=1e-9, atol=1e-10),
        Sample(solution.batch.x0[None]),
    )  # fmt: skip
    assert euler.ode_cost == pytest.approx(cost[0].item(), rel=1e-6)
    assert rk4.verdict.endswith("Euler misleads.")
    told = certify(solve(ScalarLQR(), solver=RK4(60))).verdict
    assert "RK4(60) behaves like its ODE" in told and "misleads" not in told


@pytest.mark.slow
def test_a_control_found_by_euler_misses_the_end_in_continuous_time() -> None:
    """Euler gives energy to the pendulum that it does not have."""
    euler, rk4 = (certify(solve(PendulumSwingUp(), solver=s(200))) for s in (Euler, RK4))
    assert euler.ode_violation and euler.ode_violation > 0.5 and euler.outcome == "does not"
    assert rk4.ode_violation and rk4.ode_violation < 1e-3 and rk4.outcome == "behaves"


def test_derivatives_equal_central_differences(generator: torch.Generator) -> None:
    x0 = torch.tensor([[0.1, 0.0], [0.0, -0.2]], requires_grad=True)
    mass = torch.tensor([1.0, 1.5], requires_grad=True)
    problem = BoundedMass()
    weight = torch.randn(20, 2, 1, generator=generator)

    def measured(x0: Tensor, mass: Tensor) -> Tensor:
        solution = solve(problem.batch(x0, mass=mass), solver=Euler(20))
        assert solution.status == "converged"
        return solution.cost + (solution.u * weight).sum((0, 2)) + solution.x.square().sum((0, 2))

    gradients = torch.autograd.grad(measured(x0, mass).sum(), (x0, mass))
    eps = 1e-5
    with torch.no_grad():
        for i in range(2):
            d = eps * torch.eye(2)[i]
            slope = (measured(x0 + d, mass) - measured(x0 - d, mass)) / (2 * eps)
            torch.testing.assert_close(gradients[0][:, i], slope, rtol=1e-5, atol=1e-5)
        slope = (measured(x0, mass + eps) - measured(x0, mass - eps)) / (2 * eps)
        torch.testing.assert_close(gradients[1], slope, rtol=1e-5, atol=1e-5)


class BoundedMass(Mass):
    control_bounds = (-12.0, 12.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 + (self.mass * x[..., 1]) ** 4


def test_gradient_of_the_cost_is_the_costate() -> None:
    x0 = torch.tensor([0.5, 0.5], requires_grad=True)
    solution = solve(BoundedVanDerPol().batch(x0), solver=RK4(30))
    (gradient,) = torch.autograd.grad(solution.cost, x0)
    torch.testing.assert_close(gradient, solution.costates[0].detach(), rtol=1e-7, atol=1e-7)


def test_single_precision_converges_to_its_own_tolerance() -> None:
    problem = BoundedVanDerPol()
    x0 = torch.tensor([0.0, 1.0], dtype=torch.float32)
    solution = solve(problem.batch(x0), solver=Euler(50), dtype=None)
    exact = solve(problem, solver=Euler(50))
    assert solution.status == "converged" and solution.u.dtype == torch.float32
    assert abs(float(solution.cost) - float(exact.cost)) < 1e-3


def test_iterations_can_run_out() -> None:
    solution = solve(BoundedVanDerPol(), method=InteriorPoint(max_iterations=3))
    assert solution.status == "exhausted" and int(solution.iterations) == 3
