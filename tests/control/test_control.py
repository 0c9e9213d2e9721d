"""Controls: what they represent, what `refine` leaves unchanged, which interval a time reads."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.interpolate import CubicSpline as ScipySpline
from torch import nn, Tensor

from ocnet import (
    Chebyshev,
    Control,
    CubicSpline,
    Feedback,
    Fourier,
    Layers,
    OpenLoop,
    PiecewiseConstant,
    PiecewiseLinear,
)
from ocnet.control.base import unbound


T0, T1 = -1.0, 0.5
OPEN_LOOP = [PiecewiseConstant, PiecewiseLinear, CubicSpline, Fourier, Chebyshev]
each = pytest.mark.parametrize("kind", OPEN_LOOP, ids=lambda kind: kind.__name__)


def random_control(kind: Callable[..., Any], n: int, generator: torch.Generator) -> Any:
    control = kind(T0, T1, n, (2, 3))
    nn.init.normal_(control.path, generator=generator)  # pyright: ignore
    return control


def times(n: int) -> list[float]:
    return torch.linspace(T0, T1, n).tolist()


@each
@pytest.mark.parametrize("n", [1, 2, 5])
def test_refine_leaves_the_function_unchanged(
    kind: Callable[..., OpenLoop], n: int, generator: torch.Generator
) -> None:
    coarse = random_control(kind, n, generator)
    fine = coarse.refine()
    # Between knots: at a knot a piecewise constant function has two values.
    ts = [t + 1e-4 for t in times(60)[:-1]]
    torch.testing.assert_close(fine.values(ts), coarse.values(ts))
    assert sum(p.numel() for p in fine.parameters()) > sum(p.numel() for p in coarse.parameters())
    with torch.no_grad():
        fine.path.add_(1.0)  # pyright: ignore
    assert not torch.equal(fine.values(ts), coarse.values(ts))


@each
def test_pieces_agree_with_values(
    kind: Callable[..., OpenLoop], generator: torch.Generator
) -> None:
    control = random_control(kind, 7, generator)
    ts = [t + 1e-3 for t in times(50)[:-1]]
    pieces, x = control.pieces(), torch.zeros(1)
    one_by_one = [
        pieces[i](torch.tensor(t), x) for t, i in zip(ts, control.intervals(ts), strict=True)
    ]
    torch.testing.assert_close(torch.stack(one_by_one), control.values(ts))  # pyright: ignore


def test_linear_interpolates(generator: torch.Generator) -> None:
    control = random_control(PiecewiseLinear, 3, generator)
    knots, path = control.knots, control.path
    torch.testing.assert_close(control.values(knots), path)
    middle = [(a + b) / 2 for a, b in zip(knots[:-1], knots[1:], strict=True)]
    torch.testing.assert_close(control.values(middle), (path[:-1] + path[1:]) / 2)


def test_spline_is_the_natural_one(generator: torch.Generator) -> None:
    control = random_control(CubicSpline, 6, generator)
    scipy = ScipySpline(control.knots, control.path.detach().numpy(), bc_type="natural")
    torch.testing.assert_close(control.values(times(50)).detach(), torch.tensor(scipy(times(50))))


def test_galerkin_bases() -> None:
    s = torch.linspace(0, 1, 2001)
    fourier = Fourier.basis(s[:-1], 7)
    gram = fourier.mT @ fourier / 2000
    torch.testing.assert_close(gram, torch.diag(torch.tensor([1.0] + [0.5] * 6)))
    z = 2 * s - 1
    powers = torch.stack([z**0, z, 2 * z**2 - 1, 4 * z**3 - 3 * z], -1)
    torch.testing.assert_close(Chebyshev.basis(s, 4), powers)


@pytest.mark.parametrize("refinement", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [1, 3, 10, 1000, 10_000])
def test_refined_grid_reads_the_right_interval(n: int, refinement: int) -> None:
    control = PiecewiseConstant(T0, T1, n, 1)
    steps = n * refinement
    # Rounded otherwise than the knots: some land just before theirs.
    starts = [T0 + k * ((T1 - T0) / steps) for k in range(steps)]
    expected = [k // refinement for k in range(steps)]
    assert control.intervals(starts) == expected
    ends = [T0 + (k + 1) * ((T1 - T0) / steps) for k in range(steps)]
    assert control.intervals(ends, side="left") == expected


def test_layers_and_feedback() -> None:
    layers = [nn.Linear(2, 2) for _ in range(3)]
    control = Layers(0, 3, layers)
    assert control(1.5) is layers[1]
    fine = control.refine()
    x = torch.randn(4, 2)
    for t in (0.1, 0.6, 1.2, 2.9):
        torch.testing.assert_close(fine(t)(x), control(t)(x))  # pyright: ignore
    assert len(fine.layers) == 6

    class Policy(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -t * x

    policy = Feedback(0, 1, Policy())
    torch.testing.assert_close(policy(0.5, x), -0.5 * x)
    assert policy.refine() is not policy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PiecewiseConstant(1.0, 1.0, 3, 1), "t0 < t1.*t0=1.0 and t1=1.0"),
        (lambda: PiecewiseLinear(0.0, 1.0, 0, 1), "n_intervals >= 1.*n_intervals=0"),
        (lambda: CubicSpline(0.0, 1.0, 2, (3, 0)), "shape >= 1.*shape=0"),
        (lambda: Fourier(0.0, 1.0, 0, 1), "n_basis >= 1"),
        (lambda: Layers(0, 1, []), "n_intervals >= 1"),
    ],
)
def test_rejects_bad_arguments(make: Callable[[], Control], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_rejects_a_count_that_is_no_integer() -> None:
    with pytest.raises(TypeError, match="n_intervals must be an integer, but got 2.5"):
        PiecewiseConstant(0.0, 1.0, 2.5, 1)  # pyright: ignore


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 400])
def test_rows_come_apart_in_few_at_a_time(n: int) -> None:
    """No function of the graph has more than about `sqrt(n)` outputs."""
    z = torch.randn(n, 3, requires_grad=True)
    rows = unbound(z)
    assert len(rows) == n
    if n:
        assert torch.equal(torch.stack(rows), z)
        blocks = [row.grad_fn for row in rows]
        assert max(blocks.count(block) for block in set(blocks)) <= n**0.5 + 1
        torch.stack(rows).square().sum().backward()
        torch.testing.assert_close(z.grad, 2 * z.detach())
