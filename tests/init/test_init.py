"""Initialisations have exactly the covariance that they state, and equal marginals."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import BSpline
from sklearn.gaussian_process import kernels
from torch import Tensor

from ocnet import init


HURST = (0.05, 0.2, 0.5, 0.8, 0.97)
SMOOTH = (
    init.RBF(0.1),
    init.RBF(1.0),
    init.Matern(0.1, nu=0.5),
    init.Matern(0.3, nu=1.5),
    init.Matern(0.3, nu=2.5),
    init.Matern(0.2, nu=1.0),
    init.OrnsteinUhlenbeck(0.2),
    lambda r: (-r).exp() * (20 * r).cos(),
)
KINDS = (
    *(init.FractionalNoise(H) for H in HURST),
    *(kind(kernel) for kernel in SMOOTH for kind in (init.SmoothValues, init.SmoothIncrements)),
    init.Repeated(),
    init.Spline(6),
)


def impulse_covariance(kind: init.Kind, n: int) -> Tensor:
    """The covariance of what is drawn: `A A'` of the linear map that noise goes through."""
    assert isinstance(kind, (init.Stationary, init.Repeated, init.Spline))
    length, of = kind.synthesis(n)
    A = of(torch.eye(length))
    return A.mT @ A


def name(kind: init.Kind) -> str:
    """The kind's representation without addresses, the same in every process."""
    return re.sub(r"<function .*? at \w+>", "oscillating", str(kind))


@pytest.mark.parametrize("kind", KINDS, ids=name)
@pytest.mark.parametrize("n", [2, 3, 50])
def test_draws_have_the_stated_covariance(kind: init.Kind, n: int) -> None:
    torch.testing.assert_close(impulse_covariance(kind, n), kind.correlation(n), atol=2e-9, rtol=0)
    torch.testing.assert_close(kind.correlation(n).diagonal(), torch.ones(n))


@pytest.mark.parametrize("H", HURST)
def test_circulant_of_fractional_noise_is_exact_when_long(H: float) -> None:
    n = 10_000
    kind = init.FractionalNoise(H)
    root = kind.root(n)
    assert root is not None
    j = torch.arange(n, dtype=torch.float64)
    r = ((j + 1) ** (2 * H) - 2 * j ** (2 * H) + (j - 1).abs() ** (2 * H)) / 2
    torch.testing.assert_close(torch.fft.irfft(root.square())[:n], r, atol=1e-11, rtol=0)


@pytest.mark.parametrize("H", HURST)
def test_sums_of_fractional_noise_are_fractional_brownian_motion(H: float) -> None:
    s = torch.arange(1, 41, dtype=torch.float64)
    t = s[:, None]
    fbm = (s ** (2 * H) + t ** (2 * H) - (t - s).abs() ** (2 * H)) / 2
    summed = init.FractionalNoise(H).correlation(40).cumsum(0).cumsum(1)
    torch.testing.assert_close(summed, fbm)


@pytest.mark.parametrize("H", HURST)
@pytest.mark.parametrize(("n", "count"), [(100, 20_000), (10_000, 400)])
def test_fbm_samples(H: float, n: int, count: int, generator: torch.Generator) -> None:
    path = init.fbm_(torch.empty(n, count), H, std=1.0, generator=generator)
    se = math.sqrt(2 / count)
    for lag in (0, 1, 2, n // 2, n - 1):
        r = (abs(lag + 1) ** (2 * H) - 2 * lag ** (2 * H) + abs(lag - 1) ** (2 * H)) / 2
        found = (path[0] * path[lag]).mean().item()
        assert abs(found - r) < 5 * se, (lag, found, r)
    # Averaged over the layers too the estimate is sharper: that of the biased samplers fails.
    if n == 100:
        variance = path.square().mean(1)
        assert (variance - 1).abs().max() < 5 * se
        lag_one = (path[1:] * path[:-1]).mean().item()
        assert abs(lag_one - (2 ** (2 * H - 1) - 1)) < 5 * se


def test_white_noise_and_constant_are_the_ends_of_the_family() -> None:
    torch.testing.assert_close(init.FractionalNoise(0.5).correlation(9), torch.eye(9))
    torch.testing.assert_close(
        init.FractionalNoise(1 - 1e-9).correlation(9),
        init.Repeated().correlation(9),
        atol=1e-7,
        rtol=0,
    )


def test_reference_correlations_of_the_squared_exponential() -> None:
    n, l = 1000, 0.1
    tau = torch.arange(n) / n
    values = init.SmoothValues().correlation(n)[0]
    torch.testing.assert_close(values, torch.exp(-(tau**2) / (2 * l**2)))
    increments = init.SmoothIncrements().correlation(n)[0]
    limit = (1 - tau**2 / l**2) * torch.exp(-(tau**2) / (2 * l**2))
    torch.testing.assert_close(increments, limit, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        (init.RBF(0.2), kernels.RBF(0.2)),
        (init.OrnsteinUhlenbeck(0.2), kernels.Matern(0.2, nu=0.5)),
        *(
            (init.Matern(0.2, nu), kernels.Matern(0.2, nu=nu))
            for nu in (0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.7, 40.0)
        ),
    ],
)
def test_kernels_agree_with_scikit_learn(
    kernel: init.CovarianceKernel, reference: kernels.StationaryKernelMixin
) -> None:
    depth = torch.linspace(0, 1, 30)[:, None]
    expected = torch.from_numpy(reference(depth.numpy()))  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(kernel((depth - depth.mT).abs()), expected)


@pytest.mark.parametrize("nu", [0.01, 0.3, 1.0, 2.0, 3.7, 40.0, 100.0])
def test_matern_kernel_at_all_distances(nu: float) -> None:
    r = torch.cat([torch.zeros(1), torch.logspace(-300, 3, 2000)])
    k = init.Matern(0.2, nu)(r)
    assert k[0] == 1 and ((0 <= k) & (k <= 1)).all() and (k.diff() < 1e-12).all()
    # Another formula: int_0^inf s^(nu - 1) exp(-s - z^2 / (4 s)) ds / Gamma(nu), with s = e^y.
    for i in (1100, 1960, 1975, 1984, 1990):
        z = math.sqrt(2 * nu) * r[i].item() / 0.2

        def integrand(y: float, z: float = z) -> float:
            with np.errstate(over="ignore"):
                return np.exp(nu * y - np.exp(y) - z**2 * np.exp(-y) / 4 - math.lgamma(nu))

        integral, _ = quad(integrand, -2000, 7, limit=2000, points=[-30, 0])
        assert k[i].item() == pytest.approx(integral, abs=1e-7), r[i]
    rough, smooth = init.Matern(0.2, 100.0), init.RBF(0.2)
    short = torch.linspace(0, 1, 100)
    torch.testing.assert_close(rough(short), smooth(short), atol=5e-3, rtol=0)


def test_spline_basis_agrees_with_scipy() -> None:
    n_knots, n = 7, 33
    knots = range(-3, n_knots + 1)
    basis = BSpline.design_matrix(torch.linspace(0, n_knots - 3, n).numpy(), list(knots), 3)
    expected = torch.from_numpy(basis.toarray())
    torch.testing.assert_close(
        init.Spline(n_knots).basis(n), expected / expected.norm(dim=1)[:, None]
    )


def test_a_long_smooth_path_has_no_rounding_noise(generator: torch.Generator) -> None:
    path = init.smooth_(torch.empty(10_000, 50), std=1.0, of="increments", generator=generator)
    # One step changes it by about 1 / (l L), times sqrt 3.
    assert path.diff(dim=0).std().item() == pytest.approx(math.sqrt(3) * 1e-3, rel=0.1)


@pytest.mark.parametrize("distribution", ["uniform", "gaussian"])
def test_iid(distribution: str, generator: torch.Generator) -> None:
    kind = init.Iid(distribution)  # pyright: ignore[reportArgumentType]
    path = kind.draw(30, 20_000, generator)
    torch.testing.assert_close(path @ path.mT / 20_000, kind.correlation(30), atol=0.05, rtol=0)
    fourth = {"uniform": 9 / 5, "gaussian": 3}[distribution]
    assert path.pow(4).mean().item() == pytest.approx(fourth, rel=0.02)
    assert distribution == "gaussian" or path.abs().max() <= math.sqrt(3)


@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_every_layer_has_the_same_gaussian_marginal(
    kind: init.Kind, generator: torch.Generator
) -> None:
    count = 4000
    for layer in kind.draw(20, count, generator)[[0, 7, 19]]:
        expected = torch.distributions.Normal(0.0, 1.0).cdf(layer.sort().values)
        ks = (expected - torch.arange(1, count + 1) / count).abs().max().item()
        assert ks < 2.2 / math.sqrt(count)


@pytest.mark.parametrize(
    ("shape", "fan_in"), [((200, 30, 40), 40), ((200, 16, 8, 3, 3), 72), ((200, 500), 500)]
)
def test_standard_deviation_follows_the_layer(
    shape: tuple[int, ...], fan_in: int, generator: torch.Generator
) -> None:
    for kind in (init.Iid(), init.FractionalNoise(0.3)):
        path = init.fill_(torch.empty(shape), kind, generator=generator)
        assert path.std().item() == pytest.approx(fan_in**-0.5, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_fills_in_place_and_reproducibly(dtype: torch.dtype) -> None:
    seeded = lambda: torch.Generator().manual_seed(7)
    path = torch.nn.Parameter(torch.empty(20, 4, 3, dtype=dtype))
    assert init.smooth_(path, init.Matern(0.2), generator=seeded()) is path
    again = init.smooth_(torch.empty_like(path), init.Matern(0.2), generator=seeded())
    torch.testing.assert_close(path.detach(), again, rtol=0, atol=0)
    assert path.requires_grad and torch.isfinite(path).all()


@pytest.mark.parametrize("kind", [*KINDS, init.Iid("uniform"), init.Iid("gaussian")], ids=name)
def test_a_draw_into_given_memory_is_the_same(kind: init.Kind) -> None:
    seeded = lambda: torch.Generator().manual_seed(7)
    out = torch.full((20, 6), math.nan)
    assert kind.draw(20, 6, seeded(), out=out) is out
    torch.testing.assert_close(out, kind.draw(20, 6, seeded()), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"out must have shape \(20, 5\).*got \(20, 6\)"):
        kind.draw(20, 5, out=out)


def test_a_path_that_is_not_contiguous_is_filled(generator: torch.Generator) -> None:
    path = torch.zeros(3, 4, 50).movedim(-1, 0)
    init.repeated_(path, std=2.0, generator=generator)
    torch.testing.assert_close(path[0], path[-1])
    assert path.std() > 0.5


def test_process_drawn_by_its_covariance_where_no_embedding_exists(
    generator: torch.Generator,
) -> None:
    triangle = lambda r: torch.where(r < 1, 1 - 0.9 * r, 0.1 * torch.ones_like(r))
    kind = init.SmoothValues(lambda r: (-r.square() / 800).exp())
    assert kind.root(20) is None
    torch.testing.assert_close(
        impulse_covariance(kind, 20), kind.correlation(20), atol=1e-8, rtol=0
    )
    init.smooth_(torch.empty(20, 2), triangle, generator=generator)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.fbm_(torch.empty(5, 2), 1.0), ValueError, "0 < H < 1, but got H=1.0"),
        (lambda: init.fbm_(torch.empty(5, 2), 0.0), ValueError, "0 < H < 1, but got H=0.0"),
        (lambda: init.fbm_(torch.empty(5, 2), math.nan), ValueError, "but got H=nan"),
        (lambda: init.RBF(0.0), ValueError, "0 < length_scale < inf, but got length_scale=0.0"),
        (lambda: init.Matern(-1.0), ValueError, "length_scale=-1.0"),
        (lambda: init.Matern(0.1, nu=0.0), ValueError, "0 < nu <= 100, but got nu=0.0"),
        (lambda: init.Matern(0.1, nu=math.inf), ValueError, "0 < nu <= 100, but got nu=inf"),
        (lambda: init.iid_(torch.empty(1, 3, 3)), ValueError, "L >= 2, but got L=1"),
        (lambda: init.iid_(torch.empty(9)), ValueError, r"depth dimension .* shape \(9,\)"),
        (lambda: init.iid_(torch.empty(5, 2).long()), TypeError, "torch.int64"),
        (lambda: init.iid_(torch.empty(5, 2).to(torch.complex64)), TypeError, "torch.complex64"),
        (lambda: init.iid_(torch.empty(5, 2), std=-1.0), ValueError, "std=-1.0"),
        (lambda: init.smooth_(torch.empty(5, 2), lambda r: 2 - r), ValueError, "got 2.0"),
        (
            lambda: init.smooth_(torch.empty(50, 2), lambda r: (r < 0.3).to(r)),
            ValueError,
            "kernel must be positive semidefinite",
        ),
        (lambda: init.spline_(torch.empty(5, 2), 3), ValueError, "n_knots=3"),
    ],
)
def test_bad_input_is_named(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("kernel", "index"),
    [(init.RBF(0.2), 1.0), (init.Matern(0.2, nu=1.5), 1.0), (init.Matern(0.2, nu=0.5), 0.5)],
)
def test_the_hurst_index_of_increments(kernel: init.Covariance, index: float) -> None:
    """Neighbours are equal where the process is differentiable, else independent."""
    assert init.SmoothIncrements(kernel).hurst == index
