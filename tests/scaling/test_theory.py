"""Theory answers for the model that it is asked about: its ratios, its contours and its limit."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ocnet import init
from ocnet.scaling import (
    Linear,
    measure,
    OneMatrix,
    Regime,
    Res1,
    Res2,
    Res3,
    rms,
    S_h,
    S_p,
    ScaledNetwork,
    Theory,
)


CONTOURS = ((0.1, 0.206), (0.3, 0.318), (0.5, 0.512), (0.7, 0.707), (0.9, 0.902))
"""Where `|h_L - h_0| = |h_0|` in res-1 of width 30 and depth 1000: Hurst index and `beta`."""


@pytest.mark.parametrize(("H", "beta"), CONTOURS)
def test_contours_of_res_1(H: float, beta: float) -> None:
    theory = Theory(Res1(1000, beta, init.FractionalNoise(H), d=30))
    assert theory.forward == pytest.approx(1, abs=0.02)
    assert Theory(theory.network.with_beta(beta + 0.03)).forward < 0.8
    assert Theory(theory.network.with_beta(beta - 0.03)).forward > 1.2


def test_the_contour_is_found_and_differs_from_the_limit() -> None:
    theory = Theory(Res1(300, 0.5, init.FractionalNoise(0.1), d=30))
    beta = theory.contour()
    assert Theory(theory.network.with_beta(beta)).forward == pytest.approx(1, abs=2e-3)
    # In the limit the products of two layers decide, at beta = 1/4; 300 layers are far from it.
    assert 0.1 < beta < 0.23 and theory.critical_exponent == 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("H", "beta"), CONTOURS)
def test_measured_contours_of_res_1(H: float, beta: float) -> None:
    betas = [beta - 0.06, beta - 0.03, beta, beta + 0.03, beta + 0.06]
    network = Res1(1000, kind=init.FractionalNoise(H), d=30)
    generator = torch.Generator().manual_seed(0)
    p = measure(network, betas, repeats=6, inputs=8, generator=generator)
    mean = p.log_forward.mean((0, 1)).double().numpy()
    assert np.interp(0, -mean, betas) == pytest.approx(beta, abs=0.03)


def test_a_ratio_that_falls_is_not_called_explosion() -> None:
    ratios = []
    for L, repeats in ((125, 20), (1000, 4)):
        network = Res1(L, 0.4, init.FractionalNoise(0.1), d=30)
        generator = torch.Generator().manual_seed(0)
        p = measure(network, [0.4], repeats=repeats, inputs=4, generator=generator)
        ratios.append(p.log_forward.mean().exp().item())
        assert Theory(network).regime == "identity"
        assert Theory(network).forward == pytest.approx(ratios[-1], rel=0.07)
    assert ratios[1] < 0.7 * ratios[0]
    deep = Theory(Res1(4000, 0.4, init.FractionalNoise(0.1), d=30))
    assert deep.forward == pytest.approx(0.106, rel=0.05)
    # At any fixed width the mean drifts to 0, if far more slowly than the ratio falls here.
    assert deep.drift == pytest.approx(-0.82 * 4000**0.2 / 60, rel=0.01)


@pytest.mark.parametrize(
    ("model", "kind", "forward", "backward"),
    [
        (Res1, init.Iid(), 0.5, 0.5),
        (Res2, init.Iid(), 0.5, 0.5),
        (Res1, init.FractionalNoise(0.1), 0.25, 0.25),
        (Linear, init.FractionalNoise(0.35), 0.35, 0.35),
        (Res1, init.FractionalNoise(0.9), 0.9, 0.9),
        (Res2, init.FractionalNoise(0.2), 0.5, 0.5),
        (Res3, init.FractionalNoise(0.2), 0.5, 0.5),
        (Res3, init.FractionalNoise(0.9), 0.9, 0.8),
        (Res1, init.SmoothValues(), 1.0, 1.0),
        (Res3, init.SmoothIncrements(), 1.0, 1.0),
        (Res3, init.SmoothIncrements(init.OrnsteinUhlenbeck()), 0.5, 0.5),
        (Res1, init.SmoothIncrements(init.Matern(nu=0.3)), 0.3, 0.3),
        (Res1, init.SmoothIncrements(init.Matern(nu=0.75)), 0.75, 0.75),
        (Res3, init.Repeated(), 1.0, 1.0),
    ],
    ids=str,
)
def test_critical_exponents_are_those_of_the_model(
    model: type[ScaledNetwork], kind: init.Kind, forward: float, backward: float
) -> None:
    network = model(50, forward, kind, d=6)
    theory = Theory(network)
    assert theory.critical_exponent == forward
    assert theory.backward_critical_exponent == pytest.approx(backward)
    assert theory.regime == ("ODE" if kind.hurst == 1 else "SDE")
    around: tuple[tuple[float, Regime], ...] = ((-0.1, "explosion"), (0.1, "identity"))
    for shift, regime in around:
        assert Theory(network.with_beta(forward + shift)).regime == regime


@pytest.mark.parametrize(
    ("model", "kind", "beta"),
    [
        (Res1, init.FractionalNoise(0.2), 0.3),
        (Res1, init.SmoothIncrements(), 0.8),
        (Linear, init.FractionalNoise(0.7), 0.8),
        (Res2, init.Iid(), 0.5),
        (Res2, init.FractionalNoise(0.85), 0.8),
        (Res2, init.FractionalNoise(0.2), 0.6),
        (Res3, init.FractionalNoise(0.1), 0.5),
        (Res3, init.SmoothValues(), 0.9),
        (Res3, init.Spline(6), 1.0),
    ],
    ids=str,
)
def test_ratios_far_from_first_order(
    model: type[ScaledNetwork], kind: init.Kind, beta: float, generator: torch.Generator
) -> None:
    network = model(60, beta, kind, d=30, n_in=10)
    p = measure(network, [beta], repeats=150, inputs=2, generator=generator)
    theory = Theory(network)
    assert rms(p.log_forward.flatten()).item() == pytest.approx(theory.forward, rel=0.08)
    assert rms(p.log_backward.flatten()).item() == pytest.approx(theory.backward, rel=0.09)
    # Far enough from first order to tell the two apart in most cases; never above.
    assert theory.forward > 0.1


def test_res_2_is_not_given_the_numbers_of_res_3() -> None:
    res_2, res_3 = (Theory(model(100, 0.5)) for model in (Res2, Res3))
    assert res_2.exact and res_2.forward == pytest.approx(1.1238, abs=1e-4)
    assert res_3.exact and res_3.forward == pytest.approx(0.8042, abs=1e-4)
    assert not Theory(Res1(100, 0.5)).exact and Theory(Linear(100, 0.5)).exact


def test_first_order_sums_of_long_networks_take_no_matrix() -> None:
    # 10,000 layers: the sum over pairs would take a hundred million terms.
    network = Res3(10_000, 1.0, init.FractionalNoise(0.7), d=40)
    short = Res3(60, 1.0, init.FractionalNoise(0.7), d=40)
    r = short.kind.correlation(60).numpy()
    kappa = (np.sqrt(1 - r.clip(-1, 1) ** 2) + r * (math.pi - np.arccos(r.clip(-1, 1)))) / math.tau
    active = 1 / 4 + np.arcsin(r.clip(-1, 1)) / math.tau
    assert S_h(short) == pytest.approx((r * kappa).sum())
    assert S_p(short) == pytest.approx((r * (r * 39 / 40 * active + kappa / 40)).sum())
    # r kappa(r) ~ r / (2 pi) where r is small: the sum grows like that of r, which is L^1.4.
    ratio = S_h(network) / S_h(Res3(5000, 1.0, init.FractionalNoise(0.7), d=40))
    assert ratio == pytest.approx(2**1.4, rel=0.05)
    assert S_h(Res1(80, 0.5, init.Spline(5))) == pytest.approx(
        0.82 * init.Spline(5).correlation(80).sum().item()
    )


def test_a_model_that_theory_does_not_know_is_refused() -> None:
    class Gated(OneMatrix):
        slope = 0.8

        def branch(self, x: Tensor, u: Tensor) -> Tensor:
            return super().branch(x, u) * x.tanh()

    for network in (Gated(8, d=4), Res1(8, d=4, sigma=torch.tanh)):
        with pytest.raises(TypeError, match="has a branch or an activation of its own"):
            Theory(network)


@pytest.mark.parametrize(
    ("kernel", "H"),
    [
        (init.Matern(0.2, nu=0.75), 0.75),
        (init.Matern(0.2, nu=0.3), 0.3),
        (init.Matern(0.2, nu=1.5), 1.0),
        (init.OrnsteinUhlenbeck(0.3), 0.5),
        (lambda r: (-((r / 0.2) ** 1.5)).exp(), 0.75),
        (lambda r: (-((r / 0.2) ** 0.6)).exp(), 0.3),
        (lambda r: 1 / (1 + r**2), 1.0),
        (lambda r: (-r).exp() * (20 * r).cos(), 0.5),
    ],
)
def test_the_memory_of_increments_is_the_smoothness_of_the_process(
    kernel: init.Covariance, H: float
) -> None:
    kind = init.SmoothIncrements(kernel)
    assert kind.hurst == pytest.approx(H, abs=0.01)
    # By definition: the standard deviation of the sum of L increments grows like L**H.
    rows = [(n, kind.first_row(n)) for n in (2**15, 2**16)]
    sizes = [(n + 2 * ((n - torch.arange(n)) * r)[1:].sum()).sqrt().item() for n, r in rows]
    assert math.log2(sizes[1] / sizes[0]) == pytest.approx(H, abs=0.03)


def test_a_kernel_that_jumps_at_zero_is_refused() -> None:
    nugget = lambda r: torch.where(r > 0, 0.5 * (-r).exp(), 1.0)
    with pytest.raises(ValueError, match="kernel must tend to 1 at short distances"):
        _ = init.SmoothIncrements(nugget).hurst
