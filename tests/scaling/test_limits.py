"""Deep networks approach their ODE and SDE limits at the expected rates."""

import math

import pytest
import torch
import torchsde
from torch import nn, Tensor

from ocnet import Euler, PiecewiseLinear
from ocnet.scaling import Linear, ode_limit, power_law, Res1, Res3, sde_limit
from ocnet.scaling.limits import (
    brownian_increments,
    euler_maruyama,
    ode_limit_of_smooth_weights,
    sde_limit_of_random_weights,
    sup_error,
)


@pytest.mark.slow
def test_ode_limit_is_approached_like_one_over_the_depth() -> None:
    comparison = ode_limit_of_smooth_weights(128, seed=1)
    assert comparison.depths == (16, 32, 64, 128)
    assert -1.1 <= comparison.slope <= -0.9


def test_sde_limit_is_approached_like_the_root_of_it() -> None:
    comparison = sde_limit_of_random_weights(128, seed=1)
    assert -0.65 <= comparison.slope <= -0.35


class LimitSDE(nn.Module):
    """`dH = d^{-1/2} dB sigma(H)` with the entries of `B` as one long Brownian motion."""

    noise_type = "general"
    sde_type = "ito"

    def f(self, t: Tensor, h: Tensor) -> Tensor:
        return torch.zeros_like(h)

    def g(self, t: Tensor, h: Tensor) -> Tensor:
        batch, d = h.shape
        sigma = torch.where(h > 0, h, 0.8 * h) / math.sqrt(d)
        # dH_i = sum_j dB_ij sigma_j: row i meets the i-th block of d increments.
        return torch.einsum("ik,bj->bikj", torch.eye(d).to(h), sigma).reshape(batch, d, d * d)


def test_reference_path_agrees_with_torchsde(generator: torch.Generator) -> None:
    paths, d, n = 4, 3, 64
    x0 = torch.randn(paths, d, generator=generator)
    brownian = torchsde.BrownianInterval(0.0, 1.0, (paths, d * d), dtype=x0.dtype, entropy=5)
    t = torch.linspace(0, 1, n + 1)
    dB = torch.cat([torch.as_tensor(brownian(t[k], t[k + 1]))[None] for k in range(n)])
    solved = torchsde.sdeint(LimitSDE(), x0, t, bm=brownian, method="euler", dt=1 / n)
    found = euler_maruyama(Res1(d=d), dB.unflatten(-1, (d, d)), x0)
    torch.testing.assert_close(found, solved, atol=1e-9, rtol=1e-9)


def test_brownian_increments_have_their_variance(generator: torch.Generator) -> None:
    dB = brownian_increments(50, torch.zeros(400, 3), generator)
    assert dB.shape == (50, 400, 3, 3)
    assert dB.var().item() == pytest.approx(1 / 50, rel=0.02)


def test_refinement_keeps_the_brownian_path(generator: torch.Generator) -> None:
    # Without an activation and in one dimension the solution is known: a product.
    x0 = torch.ones(200, 1)
    comparison = sde_limit(Linear(d=1), x0, [8, 32, 128], generator=generator)
    dB = brownian_increments(8 * 16, x0, generator)
    product = torch.cat([torch.ones(1, 200), (1 + dB[..., 0, 0]).cumprod(0)])
    torch.testing.assert_close(euler_maruyama(Linear(d=1), dB, x0)[..., 0], product)
    assert comparison.errors[0] > comparison.errors[1] > comparison.errors[2]


def test_ode_limit_of_constant_weights_is_exact(generator: torch.Generator) -> None:
    network = Linear(beta=1.0, d=2, n_in=2, generator=generator)
    A = torch.randn(2, 2, generator=generator)
    control = PiecewiseLinear(0, 1, 3, (2, 2))
    control.path.data[:] = A
    x0 = torch.randn(5, 2, generator=generator)
    comparison = ode_limit(network, control, x0, [4, 8])
    t = torch.linspace(0, 1, 9)[:, None, None]
    exact = (torch.matrix_exp(t * A)[:, None] @ x0[..., None])[..., 0]
    expected = [sup_error(Euler(L).solve(network, control, x0).x, exact[:: 8 // L]) for L in (4, 8)]
    assert comparison.errors == pytest.approx(expected, rel=1e-5)


def test_power_law() -> None:
    assert power_law([1, 2, 4, 8], [3 * L**-1.5 for L in (1, 2, 4, 8)]) == pytest.approx(-1.5)


@pytest.mark.parametrize(
    ("depths", "message"),
    [([16], r"two depths at least, but got \[16\]"), ([10, 25], r"multiple of each.*\[10, 25\]")],
)
def test_bad_depths_are_named(depths: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sde_limit(Res1(d=2), torch.ones(1, 2), depths)
    with pytest.raises(ValueError, match=message):
        ode_limit(Res3(d=2), PiecewiseLinear(0, 1, 2, (2, 2, 2)), torch.ones(1, 2), depths)
