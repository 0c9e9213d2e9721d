"""Networks with an activation of the user's own are measured as they are, or refused."""

import math

import pytest
import torch
from torch import nn, Tensor

from ocnet import Euler
from ocnet.scaling import measure, OneMatrix, propagate, Res1, Res2, Res3, ScaledNetwork


class Tanh(Res1):
    """`V tanh(h)`, by overriding the branch alone."""

    def branch(self, x: Tensor, u: Tensor) -> Tensor:
        return (u @ x.tanh().unsqueeze(-1)).squeeze(-1)


class Saturated(Res3):
    """`V sigmoid(W h)`, by overriding the activation."""

    def activation(self, x: Tensor) -> Tensor:
        return x.sigmoid()


MODELS = [
    (Tanh, {}),
    (Saturated, {}),
    (Res1, {"sigma": torch.tanh}),
    (Res2, {"sigma": nn.GELU()}),
]


def by_solver(network: ScaledNetwork, L: int, repeats: int) -> tuple[float, float]:
    """The root mean square ratios, by the solver and automatic differentiation."""
    generator = torch.Generator().manual_seed(3)
    squares = torch.zeros(repeats, 2)
    for i in range(repeats):
        control = network.initial_control(L, generator)
        h_0 = network.embed(torch.randn(1, network.n_in, generator=generator)).detach()
        h = Euler(L).solve(network, control, h_0.requires_grad_()).states
        p_L = torch.randn(1, network.d, generator=generator)
        (p_0,) = torch.autograd.grad(h[-1], h[0], p_L)
        squares[i, 0] = ((h[-1] - h[0]).norm() / h[0].norm()).square()
        squares[i, 1] = ((p_0 - p_L).norm() / p_L.norm()).square()
    forward, backward = squares.mean(0).sqrt().tolist()
    return forward, backward


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_what_is_not_homogeneous_is_measured_as_it_is(
    model: type[ScaledNetwork], options: dict
) -> None:
    # At this scaling a few large ratios do not make up the mean.
    L, beta, d = 30, 0.3, 12
    generator = torch.Generator().manual_seed(0)
    network = model(L, beta, d=d, n_in=d, generator=generator, **options)
    assert not network.homogeneous
    p = measure(network, [beta], repeats=200, generator=generator)
    forward, backward = by_solver(network, L, 80)
    rms = lambda log: log.double().mul(2).exp().mean().sqrt().item()
    assert rms(p.log_forward) == pytest.approx(forward, rel=0.15)
    assert rms(p.log_backward) == pytest.approx(backward, rel=0.3)
    with pytest.raises(ValueError, match=f"log_domain=True needs .* {model.__name__}'s is not"):
        measure(network, [beta], repeats=2, log_domain=True)


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_costates_are_gradients(model: type[ScaledNetwork], options: dict) -> None:
    L, beta, d = 9, 0.2, 5
    generator = torch.Generator().manual_seed(1)
    network = model(L, beta, d=d, n_in=d, generator=generator, **options)
    control = network.initial_control(L, generator)
    h_0, p_L = torch.randn(2, 3, d, generator=generator)
    h = Euler(L).solve(network, control, h_0.requires_grad_()).states
    (p_0,) = torch.autograd.grad(h[-1], h[0], p_L)
    p = propagate(network, control.path.detach(), h_0.detach(), p_L, L**-beta)
    torch.testing.assert_close(p.log_costate[0].exp(), p_0.norm(dim=-1))
    torch.testing.assert_close(p.log_state[-1].exp(), h[-1].detach().norm(dim=-1))


class Abs(OneMatrix):
    """`V |h|`, homogeneous, as it says itself."""

    slope = 0.0
    homogeneous = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def branch(self, x: Tensor, u: Tensor) -> Tensor:
        return (u @ x.abs().unsqueeze(-1)).squeeze(-1)


class Liar(Tanh):
    """`V tanh(h)`, not homogeneous, whatever it says itself."""

    homogeneous = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


def test_a_declared_property_is_used_and_refuted(generator: torch.Generator) -> None:
    # Beyond the number range: only the log domain holds it.
    p = measure(Abs(2000, -0.5, d=6, n_in=4), [-0.5], repeats=2, generator=generator)
    assert p.log_state[-1].min() > math.log(torch.finfo(torch.float32).max)
    assert p.overflow.forward == 0
    with pytest.raises(ValueError, match="Liar declares `homogeneous = True`, but g"):
        measure(Liar(10, d=6), [0.5], repeats=2)


def test_a_formula_that_would_not_be_read_is_refused() -> None:
    class Other(Res1):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return self.branch(x, u).tanh()

    with pytest.raises(TypeError, match="Other overrides `dynamics`, which is not read here"):
        measure(Other(8, d=4), [0.5], repeats=2)
