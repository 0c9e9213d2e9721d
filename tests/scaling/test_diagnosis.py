"""The regime of networks is measured as theory has it, for the models and for a user's own."""

import math

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Control,
    Euler,
    init,
    Layers,
    PiecewiseConstant,
    Projection,
    Sample,
    SupervisedProblem,
)
from ocnet.scaling import diagnose, Diagnosis, regime, Res1, Res3
from ocnet.scaling.tracks import at_depth, longest_stage, track


@pytest.mark.parametrize(
    ("kind", "beta"),
    [
        (init.Iid(), 0.25),
        (init.Iid(), 0.5),
        (init.Iid(), 1.0),
        (init.SmoothValues(), 0.5),
        (init.SmoothValues(), 1.0),
        (init.SmoothValues(), 1.5),
        (init.FractionalNoise(0.75), 0.75),
        (init.Repeated(), 1.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
def test_regime_of_the_models(
    kind: init.Kind, beta: float, given: bool, generator: torch.Generator
) -> None:
    network = Res3(128, beta, kind, d=24, n_in=20, generator=generator)
    control = network.initial_control(128, generator) if given else None
    found = diagnose(network, control, samples=8, apply=False, generator=generator)
    assert found.regime == regime(network)
    assert found.beta == pytest.approx(beta)
    assert found.hurst.value == pytest.approx(kind.hurst, abs=0.04)
    assert found.hurst.error < 0.1
    assert found.depths == ((128,) if given else (16, 32, 64, 128))
    assert found.log_state.shape == found.log_costate.shape == (129,)
    assert found.text().startswith(f"regime: {found.regime}")


@pytest.mark.parametrize(
    ("kind", "beta", "exponent"),
    [
        (init.Iid(), 1.0, -0.5),
        (init.SmoothValues(), 2.0, -1.0),
        (init.FractionalNoise(0.9), 2.0, -1.1),
    ],
)
def test_exponents(
    kind: init.Kind, beta: float, exponent: float, generator: torch.Generator
) -> None:
    found = diagnose(
        Res1(128, beta, kind, d=30, n_in=20), draws=6, samples=8, apply=False, generator=generator
    )
    assert found.exponent.value == pytest.approx(exponent, abs=0.12)


def test_networks_of_other_depths_keep_the_scaling() -> None:
    for beta in (0.0, 0.3, 1.0):
        network = Res3(100, beta, d=4, n_in=3)
        deep = at_depth(network, 100, 400, beta)
        assert (deep.t1 - deep.t0) / 400 == pytest.approx(400**-beta)
        assert deep.embedding is network.embedding and network.depth == 100


def test_tracks_hold_states_and_costates(generator: torch.Generator) -> None:
    network = Res3(20, 0.5, d=5, n_in=4, generator=generator)
    control = network.initial_control(20, generator)
    x0, target = network.sample(3, generator)
    found = track(network, control, 20, Sample(x0, target))
    h = Euler(20).solve(network, control, network.embed(x0)).x
    torch.testing.assert_close(found.state, h.norm(dim=-1).log())
    moved = (h[20] - h[0]).norm(dim=-1) / h[0].norm(dim=-1)
    torch.testing.assert_close(found.forward[20].exp(), moved)
    # p_L is the gradient of |B h - y|^2, known in closed form.
    assert target is not None
    residual = h[20] @ network.head.mT - target
    p_L = 2 * residual @ network.head
    torch.testing.assert_close(found.costate[20], p_L.norm(dim=-1).log())
    assert (found.backward[20] == -math.inf).all()


class Blocks(SupervisedProblem):
    """A user's network of layers, `x' = layer(x)` with step 1, and a stage twice as wide."""

    control_shape = None

    def __init__(self, n: int = 32, scale: float = 1.0, width: int = 24, widen: bool = False):
        super().__init__()
        self.depth, self.t1, self.scale = n, float(n), scale
        self.state_shape = (width,)
        if widen:
            self.projections = [Projection(8.0, 9.0, nn.Linear(width, 2 * width))]

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return self.scale * u(x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, *self.state_shape, generator=generator))

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        (d,) = self.state_shape
        widen = len(self.projections) > 0
        sizes = [(d, d)] * n
        if widen:
            sizes = [(d, d)] * 8 + [(d, 2 * d)] + [(2 * d, 2 * d)] * (n - 9)
        layers = [nn.Sequential(nn.ReLU(), nn.Linear(i, o, bias=False)) for i, o in sizes]
        return Layers(self.t0, self.t1, layers)


def test_a_stage_of_a_network_with_projections() -> None:
    torch.manual_seed(0)
    found = diagnose(Blocks(32, scale=0.05, widen=True))
    assert found.depths == (23,)
    assert found.log_state.shape == (24,)


def test_longest_stage() -> None:
    sizes = (2, 2, 3, 3, 3, 2)
    assert longest_stage([torch.zeros(n) for n in sizes]) == slice(2, 5)


def test_a_network_without_weights_is_told_so(generator: torch.Generator) -> None:
    class Zero(Res3):
        def initial_control(
            self, n: int, generator: torch.Generator | None = None
        ) -> PiecewiseConstant:
            return PiecewiseConstant(self.t0, self.t1, n, self.weight_shape(self.d))

    found = diagnose(Zero(16, d=4, n_in=3), generator=generator)
    assert found.regime == "identity" and "The control is zero" in found.advice


def test_overflow_means_explosion(generator: torch.Generator) -> None:
    network = Res3(200, -0.5, init.Repeated(), d=10, n_in=5, generator=generator).float()
    found: Diagnosis = diagnose(
        network, depths=[100, 200], draws=1, samples=4, apply=False, generator=generator
    )
    assert found.regime == "explosion" and found.overflow.forward == 1
    assert "overflow in 100.0% forward" in found.text()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="depths >= 2, but got depths=1"):
        diagnose(Res3(16, d=4), depths=[1, 16])
    with pytest.raises(ValueError, match="draws >= 1, but got draws=0"):
        diagnose(Res3(16, d=4), draws=0)
