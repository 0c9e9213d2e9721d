"""The parallel-in-time sweep against the sequential one, and its depth."""

import math

import pytest
import torch
from torch import Tensor

from ocnet import Euler, ExplicitRungeKutta, Problem, RK4
from ocnet.direct import InteriorPoint, solve
from ocnet.direct.interior_point import scan
from ocnet.direct.interior_point.newton import shifted
from ocnet.direct.interior_point.riccati import LQSolution, riccati, Stages, swept
from problems import constrained, double_integrator, free_time, linear_quadratic


def positive(generator: torch.Generator, *shape: int) -> Tensor:
    A = torch.randn(*shape, shape[-1], generator=generator)
    return A @ A.mT + 0.1 * torch.eye(shape[-1])


def random_stages(
    generator: torch.Generator, n: int, size: int, nx: int, nt: int, nu: int, rows: int
) -> Stages:
    """A well-conditioned problem on `n` stages of an interval of length one."""
    nz, h = nx + nt, 1 / n

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    still = torch.eye(nx, nz + nu).expand(n, size, -1, -1)
    return Stages(
        h * positive(generator, n, size, nz + nu), h * normal(n, size, nz + nu),
        still + h * normal(n, size, nx, nz + nu), h * normal(n, size, nx),
        positive(generator, size, nz), normal(size, nz), normal(size, rows, nz),
        normal(size, rows), torch.full((size,), 100.0), torch.zeros(size), normal(size, rows),
        0.01 * normal(size, nz, nu),
    )  # fmt: skip


def assert_equal(a: LQSolution, b: LQSolution, tolerance: float = 1e-9) -> None:
    assert torch.equal(a.convex, b.convex)
    for v, w in zip(a[:4], b[:4], strict=True):
        torch.testing.assert_close(v, w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 100, 1023])
@pytest.mark.parametrize("sizes", [(1, 0, 1, 0), (3, 0, 2, 0), (2, 2, 1, 2)])
def test_scan_equals_the_sequential_sweep(
    n: int, sizes: tuple[int, int, int, int], generator: torch.Generator
) -> None:
    stages = random_stages(generator, n, 3, *sizes)
    parallel, trusted = swept(stages, parallel=True)
    assert trusted.all() and parallel.convex.all()
    assert_equal(parallel, swept(stages, parallel=False)[0])


def test_scan_equals_the_sequential_sweep_where_it_is_regularised(
    generator: torch.Generator,
) -> None:
    """One instance of three is not convex until a multiple of the identity is added."""
    stages = random_stages(generator, 40, 3, 2, 1, 2, 1)
    stages.hessian[7, 1] -= 0.5 * torch.eye(5)
    parallel, _ = swept(stages, parallel=True)
    assert parallel.convex.tolist() == [True, False, True]
    assert torch.equal(parallel.convex, swept(stages, parallel=False)[0].convex)
    regular = shifted(stages, torch.tensor([0.0, 40.0, 3.0]))
    assert regular.shift.tolist()[0] == 0 and float(regular.shift[1]) > 0
    parallel, trusted = swept(regular, parallel=True)
    assert trusted.all() and parallel.convex.all()
    assert_equal(parallel, swept(regular, parallel=False)[0])


def test_where_the_scan_cannot_be_trusted_the_stages_are_swept(
    generator: torch.Generator,
) -> None:
    """Without a cost of the control a stage by itself is singular, but the recursion is not."""
    stages = random_stages(generator, 20, 2, 2, 0, 1, 0)
    stages.hessian[:, 0, 2] = stages.hessian[:, 0, :, 2] = 0
    _, trusted = swept(stages, parallel=True)
    assert trusted.tolist() == [False, True]
    step = riccati(stages, "scan")
    assert step.convex.all()
    assert_equal(step, riccati(stages, "sequential"))


@pytest.mark.parametrize("n", [100, 1024, 5000])
def test_depth_is_logarithmic(
    n: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels that wait for each other: combinations of pieces, and products of maps."""
    levels, combined = [], scan.combined

    def counted(
        first: scan.ConditionalValue, second: scan.ConditionalValue
    ) -> scan.ConditionalValue:
        levels.append(len(first.A))
        return combined(first, second)

    monkeypatch.setattr(scan, "combined", counted)
    stages = random_stages(generator, n, 1, 1, 0, 1, 0)
    _, trusted = swept(stages, parallel=True)
    assert trusted.all()
    assert len(levels) <= 2 * math.ceil(math.log2(n))
    assert sum(levels) <= 2 * n

    products, path = [], scan.path

    def counted_path(maps: Tensor, start: Tensor) -> Tensor:
        products.append(len(maps))
        return path(maps, start)

    monkeypatch.setattr(scan, "path", counted_path)
    swept(stages, parallel=True)
    assert len(products) <= math.ceil(math.log2(n)) + 2


@pytest.mark.parametrize(
    ("problem", "solver"),
    [
        (linear_quadratic.TerminalLQR, Euler(64)),
        (constrained.BoundedVanDerPol, Euler(50)),
        (double_integrator.BrysonDenham, Euler(40)),
        (constrained.PendulumSwingUp, RK4(50)),
        (free_time.MinTime, Euler(20)),
        (free_time.Brachistochrone, RK4(20)),
        (free_time.OrbitRaising, Euler(30)),
    ],
)
def test_both_sweeps_find_the_same_optimum(
    problem: type[Problem], solver: ExplicitRungeKutta
) -> None:
    parallel, sequential = (
        solve(problem(), solver=solver, method=InteriorPoint(sweep=sweep), compile=False)
        for sweep in ("scan", "sequential")
    )
    assert parallel.status == sequential.status == "converged"
    torch.testing.assert_close(parallel.cost, sequential.cost, rtol=1e-9, atol=1e-9)
    assert abs(int(parallel.iterations) - int(sequential.iterations)) <= 2


def test_unknown_sweep_is_named() -> None:
    with pytest.raises(ValueError, match="sweep must be .*'zigzag'"):
        InteriorPoint(sweep="zigzag")  # pyright: ignore[reportArgumentType]
