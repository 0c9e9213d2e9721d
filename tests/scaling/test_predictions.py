"""Measured moments agree with the exact and first-order predictions."""

import math

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from ocnet import init
from ocnet.scaling import (
    Linear,
    measure,
    predictions,
    Propagation,
    Res1,
    Res2,
    Res3,
    rms,
    S_h,
    S_p,
    states,
    Theory,
)


BETAS = (0.25, 0.5, 1.0)
UNIFORM = init.Iid("uniform")


@pytest.fixture(scope="module", params=[10, 16], ids=lambda d: f"d={d}")
def uniform(request: pytest.FixtureRequest) -> Propagation:
    generator = torch.Generator().manual_seed(1)
    network = Res3(100, kind=UNIFORM, d=request.param, n_in=8)
    return measure(network, BETAS, repeats=2000, generator=generator)


def assert_mean(log_sample: Tensor, expected: float) -> None:
    """The mean of `exp(log_sample)` lies within 5 standard errors of what is expected."""
    sample = log_sample.double().exp()
    error = sample.std() / math.sqrt(len(sample))
    assert abs(sample.mean() - expected) < 5 * error, (sample.mean(), expected, error)
    # The statement must be sharp enough to mean something.
    assert error < 0.1 * abs(expected)


@pytest.mark.parametrize("j", range(3))
def test_second_moments_of_res_3(uniform: Propagation, j: int) -> None:
    p, L, beta = uniform, 100, BETAS[j]
    growth = 2 * (p.log_state[-1] - p.log_state[0])[:, 0, j]
    assert_mean(growth, predictions.state_growth(L, beta))
    assert_mean(2 * p.log_forward[:, 0, j], predictions.state_displacement(L, beta))
    growth = 2 * (p.log_costate[0] - p.log_costate[-1])[:, 0, j]
    assert_mean(growth, predictions.costate_growth(L, beta))
    assert_mean(2 * p.log_backward[:, 0, j], predictions.costate_displacement(L, beta))


@pytest.mark.parametrize("d", [10, 16])
def test_tangents_grow_as_predicted(d: int, generator: torch.Generator) -> None:
    L, repeats = 100, 2000
    # A column for each scaling.
    a = torch.tensor([L**-beta for beta in BETAS])
    h = torch.randn(repeats, d, 1, generator=generator).expand(-1, -1, 3)
    q = torch.randn(d, 1, generator=generator).expand(repeats, d, 3)
    start = q.square().sum(1)
    for _ in range(L):
        V, W = torch.randn(2, repeats, d, d, generator=generator).mul_(d**-0.5)
        z = W @ h
        h, q = h + a * (V @ z.relu()), q + a * (V @ ((z > 0) * (W @ q)))
    growth = (q.square().sum(1) / start).log()
    for j, beta in enumerate(BETAS):
        assert_mean(growth[:, j], predictions.tangent_growth(L, beta))


def test_states_do_not_move_on_average(generator: torch.Generator) -> None:
    L, d, repeats = 100, 10, 2000
    network = Res3(L, kind=UNIFORM, d=d)
    h_0 = torch.randn(d, generator=generator)
    for beta in (0.5, 1.0):
        weights = network.draw(repeats, generator, torch.float64)
        h_L = states(network, weights, h_0.expand(repeats, d), L**-beta)[-1].x
        error = h_L.std(0) / math.sqrt(repeats)
        assert ((h_L.mean(0) - h_0).abs() < 5 * error).all()
        assert (error < 0.1 * h_0.norm()).all()


# At beta = 1/4 the relative standard deviation of |h_L|^4 is 65 for d = 10, 13 for d = 16 and 2.5
# for d = 40 (the eighth moment of a layer has it): 2,000 networks tell of the wide ones only.
@pytest.mark.slow
@pytest.mark.parametrize("d", [40, 48])
def test_fourth_moment_of_gaussian_res_3(d: int, generator: torch.Generator) -> None:
    network = Res3(100, kind=init.Iid("gaussian"), d=d, n_in=8)
    p = measure(network, BETAS, repeats=2000, generator=generator)
    for j, beta in enumerate(BETAS):
        growth = 4 * (p.log_state[-1] - p.log_state[0])[:, 0, j]
        assert_mean(growth, predictions.state_fourth_moment(100, beta, d))
        # Far enough from the square of the second moment to tell the two apart.
        if beta < 1:
            square = predictions.state_growth(100, beta) ** 2
            assert predictions.state_fourth_moment(100, beta, d) > 1.02 * square


@pytest.mark.parametrize("d", [10, 16])
def test_fourth_moment_of_a_layer_of_narrow_networks(d: int, generator: torch.Generator) -> None:
    # Gaussian layers are isotropic: |h_{k+1}| / |h_k| are independent and of one law, so that
    # the moment of the network is the L-th power of that of a layer, of which there are 200,000.
    L, beta = 100, 0.25
    network = Res3(L, kind=init.Iid("gaussian"), d=d, n_in=8)
    p = measure(network, [beta], repeats=2000, generator=generator)
    growth = 4 * p.log_state.diff(dim=0)[:, :, 0, 0].double()
    sample = growth.flatten().expm1()
    error = sample.std().item() / math.sqrt(len(sample))
    expected = math.expm1(math.log(predictions.state_fourth_moment(L, beta, d)) / L)
    assert abs(sample.mean().item() - expected) < 5 * error
    assert error < 0.02 * expected
    pairs = torch.stack([growth[:-1].flatten(), growth[1:].flatten()])
    assert abs(torch.corrcoef(pairs)[0, 1].item()) < 5 / math.sqrt(pairs.shape[1])


def test_log_norm_is_normal_in_the_limit(generator: torch.Generator) -> None:
    d = 8
    network = Res3(200, kind=UNIFORM, d=d, n_in=8)
    p = measure(network, [0.5], repeats=1000, generator=generator)
    mean, variance = predictions.log_norm_limit(d)
    sample = 2 * (p.log_state[-1] - p.log_state[0]).flatten()
    test = lambda m, v: kstest(sample.numpy(), "norm", args=(m, math.sqrt(v))).pvalue
    assert test(mean, variance) > 0.01
    assert test(mean + 1 / d, variance) < 0.01
    assert test(mean, 2 * variance) < 0.01


def test_gain_of_leaky_activations(generator: torch.Generator) -> None:
    network = Res2(50, kind=UNIFORM, d=12, n_in=8)
    c = predictions.activation_gain(network.slope)
    p = measure(network, [0.5], repeats=2000, generator=generator)
    assert_mean(2 * p.log_forward[:, 0, 0], predictions.state_displacement(50, 0.5, c))
    assert_mean(2 * p.log_backward[:, 0, 0], predictions.costate_displacement(50, 0.5, c))


def test_growth_of_res_1_lies_between_its_bounds(generator: torch.Generator) -> None:
    L, beta = 50, 0.5
    for network, low in ((Res1, Res1.slope), (Linear, 1.0)):
        p = measure(network(L, d=12, n_in=8), [beta], repeats=2000, generator=generator)
        growth = (2 * (p.log_state[-1] - p.log_state[0])).double().exp()
        error = growth.std().item() / math.sqrt(2000)
        lower, upper = predictions.one_matrix_growth_bounds(L, beta, low, 1.0)
        assert lower - 5 * error < growth.mean().item() < upper + 5 * error


@pytest.mark.parametrize(
    ("L", "expected"),
    [
        (10, (3.34023, 0.628895, 0.0511401)),
        (100, (130.501, 0.646668, 0.00501240)),
        (1000, (6.50245e6, 0.648515, 0.000500125)),
    ],
)
def test_reference_values_of_the_displacement(L: int, expected: tuple[float, ...]) -> None:
    for beta, value in zip(BETAS, expected, strict=True):
        assert predictions.state_displacement(L, beta) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("beta", "rel"), [(0.25, 0.03), (0.5, 1e-4), (0.75, 5e-3), (1.0, 1e-3)])
def test_limits_of_the_displacement(beta: float, rel: float) -> None:
    exact = predictions.state_displacement(10_000, beta)
    assert predictions.displacement_limit(10_000, beta) == pytest.approx(exact, rel=rel)


def test_bounds_of_the_displacement(uniform: Propagation) -> None:
    for j, beta in enumerate(BETAS):
        square = (2 * uniform.log_forward[:, 0, j]).double().exp()
        for delta in (0.5, 0.1):
            quantile = predictions.displacement_quantile(100, beta, delta)
            assert (square >= quantile).double().mean() <= delta
    for beta in (0.5, 0.7, 1.0):
        for L in (2, 10, 1000):
            exact = predictions.state_displacement(L, beta)
            assert exact <= predictions.displacement_bound(L, beta)
    with pytest.raises(ValueError, match="beta >= 1/2, but got beta=0.25"):
        predictions.displacement_bound(10, 0.25)


@pytest.mark.parametrize(
    "kind",
    [
        init.SmoothValues(),
        init.SmoothIncrements(),
        *(
            smooth(kernel)
            for smooth in (init.SmoothValues, init.SmoothIncrements)
            for kernel in (
                init.Matern(0.2, 1.5),
                init.Matern(0.1, 2.5),
                init.Matern(0.2, 1.0),
                init.OrnsteinUhlenbeck(0.1),
            )
        ),
        init.FractionalNoise(0.2),
        init.FractionalNoise(0.5),
        init.FractionalNoise(0.85),
        init.Repeated(),
        init.Spline(6),
    ],
    ids=str,
)
def test_first_order_of_correlated_weights(kind: init.Kind, generator: torch.Generator) -> None:
    L, d, beta = 40, 10, 2.0
    network = Res3(L, beta, kind, d=d, n_in=8)
    p = measure(network, [beta], repeats=1500, inputs=8, generator=generator)
    expected = Theory(network)
    assert expected.valid and not expected.exact
    assert expected.forward == pytest.approx(L**-beta * S_h(network) ** 0.5, rel=1e-3)
    assert expected.backward == pytest.approx(L**-beta * S_p(network) ** 0.5, rel=1e-3)
    forward = rms(p.log_forward.flatten(0, 1)).item()
    backward = rms(p.log_backward.flatten(0, 1)).item()
    assert forward**2 == pytest.approx(expected.forward**2, rel=0.03)
    assert backward**2 == pytest.approx(expected.backward**2, rel=0.03)


def test_independent_layers_are_a_special_case_of_both_sums() -> None:
    network = Res3(100, 0.5, UNIFORM)
    assert S_h(network) == pytest.approx(50)
    assert S_p(network) == pytest.approx(50)
    assert Theory(network).forward ** 2 == pytest.approx(0.646668, rel=1e-5)


def test_a_prediction_is_marked_where_it_fails() -> None:
    assert not Theory(Res3(100, 0.5, init.SmoothValues())).valid


def test_huge_moments_are_infinite_not_an_error() -> None:
    assert predictions.state_displacement(10**6, 0.0) == math.inf
    assert predictions.log_growth(10**6, 0.0) == pytest.approx(10**6 * math.log(1.5))
