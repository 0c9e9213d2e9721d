"""The recursions agree with the solver, with automatic differentiation and with each other."""

import math

import pytest
import torch
from torch import Tensor

from ocnet import Euler, init
from ocnet.scaling import (
    costates,
    Linear,
    measure,
    propagate,
    Res1,
    Res2,
    Res3,
    ScaledNetwork,
    states,
)


MODELS = [Res1, Res2, Res3, Linear]


def branch(network: ScaledNetwork, h: Tensor, u: Tensor) -> Tensor:
    """The formulas, written out for one state."""
    sigma = lambda z: torch.where(z > 0, z, network.slope * z)
    return u @ sigma(h) if u.dim() == 2 else u[0] @ sigma(u[1] @ h)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("beta", [0.3, 0.5, 1.0])
def test_euler_is_the_residual_network(
    model: type[ScaledNetwork], beta: float, generator: torch.Generator
) -> None:
    L = 37
    network = model(L, beta, d=7, n_in=5, generator=generator)
    control = network.initial_control(L, generator)
    x = network.embed(network.sample(3, generator).x0)
    h = Euler(L).solve(network, control, x).x
    expected = x[1]
    for k in range(L):
        torch.testing.assert_close(h[k, 1], expected)
        expected = expected + L**-beta * branch(network, expected, control.path[k])
    torch.testing.assert_close(h[L, 1], expected)
    by_recursion = states(network, control.path.detach(), x, L**-beta)
    torch.testing.assert_close(torch.stack([s.x for s in by_recursion]), h)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_out", [1, 3])
def test_costates_are_gradients(
    model: type[ScaledNetwork], n_out: int, generator: torch.Generator
) -> None:
    L, beta = 50, 0.4
    network = model(L, beta, d=9, n_in=5, n_out=n_out, generator=generator)
    control = network.initial_control(L, generator)
    x0, target = network.sample(4, generator)
    trajectory = Euler(L).solve(network, control, network.embed(x0))
    cost = network.terminal_cost(trajectory.states[-1], target).sum()
    expected = torch.autograd.grad(cost, trajectory.states)
    h = states(network, control.path.detach(), network.embed(x0).detach(), L**-beta)
    p = costates(network, control.path, h, expected[-1], L**-beta)
    for p_k, gradient in zip(p, expected, strict=True):
        torch.testing.assert_close(p_k.x, gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("log_domain", [False, True])
def test_ratios_are_those_of_the_vectors(log_domain: bool, generator: torch.Generator) -> None:
    network = Res3(20, d=6, n_in=5)
    weights = network.draw(4, generator, torch.float64)
    h_0, p_L = 5 * torch.randn(2, 4, 6, generator=generator)
    found = propagate(network, weights, h_0, p_L, 0.3, log_domain=log_domain)
    h = states(network, weights, h_0, 0.3)
    p = costates(network, weights, h, p_L, 0.3)
    size = lambda v: torch.linalg.vector_norm(v, dim=-1)
    forward = size(h[-1].x - h_0) / size(h_0)
    backward = size(p[0].x - p_L) / size(p_L)
    torch.testing.assert_close(found.log_forward.exp(), forward)
    torch.testing.assert_close(found.log_backward.exp(), backward)
    for k in (0, 7, 20):
        torch.testing.assert_close(found.log_state[k].exp(), size(h[k].x))
        torch.testing.assert_close(found.log_costate[k].exp(), size(p[k].x))


@pytest.mark.parametrize("model", MODELS)
def test_many_networks_at_once_equal_each_alone(
    model: type[ScaledNetwork], generator: torch.Generator
) -> None:
    network = model(20, d=6, n_in=5)
    weights = network.draw(5, generator, torch.float64)
    h_0, p_L = torch.randn(2, 5, 3, 6, generator=generator)
    alpha = torch.tensor([0.1, 0.2, 0.3])[:, None]
    together = propagate(network, weights.unsqueeze(2), h_0, p_L, alpha)
    for i in range(5):
        for j in range(3):
            alone = propagate(network, weights[:, i], h_0[i, j], p_L[i, j], alpha[j])
            for name, value in vars(alone).items():
                torch.testing.assert_close(vars(together)[name][..., i, j], value)
            each = propagate(
                network,
                weights[:, :, None].expand(-1, -1, 3, *weights.shape[2:])[:, i : i + 1],
                h_0[i : i + 1],
                p_L[i : i + 1],
                alpha,
            )
            torch.testing.assert_close(each.log_forward[0], together.log_forward[i])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 1.5])
def test_the_log_domain_changes_nothing_but_the_range(
    model: type[ScaledNetwork], alpha: float, generator: torch.Generator
) -> None:
    network = model(30, d=8, n_in=5)
    weights = network.draw(4, generator, torch.float64)
    h_0, p_L = torch.randn(2, 4, 8, generator=generator)
    plain = propagate(network, weights, h_0, p_L, alpha)
    logs = propagate(network, weights, h_0, p_L, alpha, log_domain=True)
    for name, value in vars(plain).items():
        torch.testing.assert_close(vars(logs)[name], value, rtol=1e-9, atol=1e-9)


def test_overflow_is_counted_and_the_log_domain_has_none(generator: torch.Generator) -> None:
    L, d = 300, 12
    network = Res3(L, kind=init.SmoothValues(), d=d, n_in=5)
    weights = network.draw(10, generator).unsqueeze(2)
    h_0, p_L = torch.randn(2, 10, 2, d, generator=generator).float()
    # Every network overflows at the first scaling and none at the second.
    alpha = torch.tensor([[L**-0.05], [L**-2.0]]).float()
    single = propagate(network, weights, h_0, p_L, alpha).overflow
    assert single.forward == 0.5 and single.layer is not None
    assert "50.0% forward" in str(single) and f"layer {single.layer}" in str(single)

    logs = propagate(network, weights, h_0, p_L, alpha, log_domain=True)
    exact = propagate(
        network, weights.double(), h_0.double(), p_L.double(), alpha.double(), log_domain=True
    )
    assert str(logs.overflow) == str(exact.overflow) == "no overflow"
    torch.testing.assert_close(logs.log_forward.double(), exact.log_forward, rtol=1e-3, atol=1e-3)
    # A squared norm leaves single precision at half the exponent.
    lost = exact.log_state > 0.5 * math.log(torch.finfo(torch.float32).max)
    assert abs(single.layer - int(lost.flatten(1).any(1).nonzero()[0])) <= 1


def test_backward_overflow_is_counted_apart() -> None:
    network = Linear(4, d=2, n_in=2)
    weights = torch.zeros(4, 2, 2)
    p = propagate(network, weights, torch.ones(3, 2), torch.full((3, 2), math.inf), 0.1)
    assert (p.overflow.forward, p.overflow.backward, p.overflow.layer) == (0, 1, None)


def test_beta_changes_without_a_new_draw(generator: torch.Generator) -> None:
    network = Res3(64, 0.5, d=6, n_in=5, generator=generator)
    control = network.initial_control(64, generator)
    other = network.with_beta(1.0)
    moved = other.control(control.path)
    assert moved.path.data_ptr() == control.path.data_ptr()
    assert other.embedding is network.embedding and other.head is network.head
    assert (network.beta, network.t1) == (0.5, 8.0) and (other.beta, other.t1) == (1.0, 1.0)
    x = network.embed(network.sample(2, generator).x0)
    steps = [
        Euler(64).solve(n, c, x).x.diff(dim=0)[0] for n, c in ((network, control), (other, moved))
    ]
    torch.testing.assert_close(steps[0], 8 * steps[1])


def test_measurement_does_not_depend_on_the_memory(generator: torch.Generator) -> None:
    network = Res3(20, kind=init.FractionalNoise(0.7), d=6, n_in=5)
    p = measure(network, [0.5, 1.0], repeats=7, inputs=3, generator=generator, memory=1)
    assert p.log_forward.shape == p.log_backward.shape == (7, 3, 2)
    assert p.log_state.shape == p.log_costate.shape == (21, 7, 3, 2)
    torch.testing.assert_close(p.log_state[0, ..., 0], p.log_state[0, ..., 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Res3(1), ValueError, "n_layers >= 2, but got n_layers=1"),
        (lambda: Res3(10, math.inf), ValueError, "beta=inf"),
        (lambda: Res3(10, d=0), ValueError, "d >= 1, but got d=0"),
        (
            lambda: measure(Res3(10), [math.nan], repeats=2),
            ValueError,
            "betas < inf, but got betas=nan",
        ),
        (lambda: measure(Res3(10), [0.5], repeats=0), ValueError, "repeats=0"),
    ],
)
def test_bad_input_is_named(call: object, error: type[Exception], message: str) -> None:
    assert callable(call)
    with pytest.raises(error, match=message):
        call()
