"""What a diagnosis says is true of the network that was given, and its advice works."""

import math
import re
from typing import Any

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Control,
    init,
    Layers,
    PiecewiseConstant,
    Problem,
    Sample,
    SupervisedProblem,
)
from ocnet.networks import homogeneous, Residual, resnet, wrap
from ocnet.scaling import diagnose, Diagnosis, Res1, Res3, Theory
from problems.digits import Digits
from problems.double_integrator import MinEnergy
from problems.images import CIFAR10, Digits as DigitImages
from problems.nonlinear import VanDerPol


class Blocks(SupervisedProblem):
    """A standard residual network of a user: `x' = f(u(x))` with step 1."""

    control_shape = None
    gain = 1.0

    def __init__(self, n: int = 64, scale: float = 1.0, width: int = 24):
        super().__init__()
        self.depth, self.t1, self.scale = n, float(n), scale
        self.state_shape = (width,)

    def dynamics(self, t: Tensor, x: Tensor, u: Any) -> Tensor:
        return self.scale * u(x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, *self.state_shape, generator=generator))

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        (d,) = self.state_shape
        return Layers(self.t0, self.t1, [self.layer(d, generator) for _ in range(n)])

    def layer(self, d: int, generator: torch.Generator | None) -> nn.Module:
        linear = nn.Linear(d, d, bias=False)
        linear.weight.data.normal_(std=self.gain / math.sqrt(d), generator=generator)
        return nn.Sequential(nn.ReLU(), linear)


class Inside(Blocks):
    """A scaling inside of the block, `1 / L`."""

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return self.depth**-1 * u(x)


class RootInside(Blocks):
    """The right scaling inside of the block, `1 / sqrt L`."""

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return self.depth**-0.5 * u(x)


class Bounded(Blocks):
    """States stay bounded, gradients grow: `x' = tanh(3 u(x)) - x`."""

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return (3 * u(x)).tanh() - x

    def layer(self, d: int, generator: torch.Generator | None) -> nn.Module:
        return super().layer(d, generator)[1]  # pyright: ignore[reportIndexIssue]


class Sine(Blocks):
    """Another one whose gradients grow faster than its states: `x' = sin(8 u(x))`."""

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return (8 * u(x)).sin() - x


class Decay(Blocks):
    """States and gradients vanish: `x' = u(x) / 8 - x / 2`."""

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return u(x) / 8 - x / 2


class NeuralODE(Problem):
    """`x' = tanh(u x)` on a horizon of its own, with weights that are smooth in depth."""

    state_shape, control_shape, t1 = (24,), (24, 24), 4.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return (u @ x.unsqueeze(-1)).squeeze(-1).tanh()

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.randn(batch_size, 24, generator=generator))

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        control = PiecewiseConstant(self.t0, self.t1, n, (24, 24))
        init.smooth_(control.path, generator=generator)
        return control


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def factor_at(found: Diagnosis, depth: int) -> float:
    """The number that the advice multiplies the branches by."""
    (factor,) = re.findall(rf"([0-9.]+) at depth {depth}", found.advice)
    return float(factor)


def assert_cured(found: Diagnosis) -> None:
    """The advice was applied, and the worse ratio no longer changes with depth."""
    assert found.cure is not None and found.cure.holds
    worst = max((found.cure.exponent, found.cure.backward_exponent), key=lambda q: q.value)
    assert abs(worst.value) <= worst.error < 0.25
    assert "measured again with that" in found.text()


@pytest.mark.parametrize(
    ("network", "beta", "tolerance"),
    [
        # Exact at no finite depth: the contour of theory at these depths is near 0.2.
        pytest.param(
            Res1(256, 0.35, init.FractionalNoise(0.1), d=30), 0.2, 0.08, marks=pytest.mark.slow
        ),
        (Res1(64, 0.4, init.FractionalNoise(0.1), d=20), 0.2, 0.12),
        (Res3(64, 0.2, d=30), 0.5, 0.15),
        (Res1(64, 1.5, init.SmoothValues(), d=30), 1.0, 0.15),
        (Res3(64, 0.5, init.FractionalNoise(0.8), d=30), 0.8, 0.15),
    ],
    ids=str,
)
def test_advice_is_what_was_measured(network: Res1 | Res3, beta: float, tolerance: float) -> None:
    found = diagnose(network, generator=seeded(), draws=3, samples=6)
    assert_cured(found)
    cure = found.cure
    assert cure is not None and cure.beta == pytest.approx(beta, abs=tolerance)
    assert (
        f"beta = {cure.beta:.2f} +- {cure.error:.2f} instead of {network.beta:.2g}" in found.advice
    )
    # Larger branches where they were too small, and the other way round.
    assert (cure.factor > 1) == (found.regime == "identity") == (network.beta > beta)


def test_networks_with_the_advice_applied_get_no_advice() -> None:
    found = diagnose(Res3(64, 0.2, d=30), generator=seeded(), draws=3, samples=6)
    assert found.cure is not None
    again = diagnose(Res3(64, found.cure.beta, d=30), generator=seeded(), draws=3, samples=6)
    assert again.regime == "SDE" and again.cure is None and "Nothing has to" in again.advice


def test_a_standard_residual_network_explodes() -> None:
    found = diagnose(Blocks(64), generator=seeded(), draws=3, samples=6)
    assert found.regime == "explosion" and found.beta == 0
    assert_cured(found)
    factor = factor_at(found, 64)
    assert factor == pytest.approx(64**-0.5, rel=0.5)
    # With the factor in the block, the same network is not told the same thing again.
    again = diagnose(Blocks(64, scale=factor), generator=seeded(), draws=3, samples=6)
    assert again.advice.startswith("Nothing has to change at depth 64")
    assert again.cure is not None and again.cure.factor == 1
    assert again.cure.forward == pytest.approx(again.forward[-1], rel=1e-3)
    # Nor is one that says how its constant depends on depth.
    declared = diagnose(
        Blocks(64, scale=64**-0.5), beta=0.5, generator=seeded(), draws=3, samples=6
    )
    assert declared.regime == "SDE" and "Nothing has to change" in declared.advice


def test_a_scaling_inside_the_block_counts() -> None:
    found = diagnose(Inside(64), generator=seeded(), draws=3, samples=6)
    assert found.regime == "identity"
    assert factor_at(found, 64) == pytest.approx(64**0.5, rel=0.5)
    assert_cured(found)
    right = diagnose(RootInside(64), generator=seeded(), draws=3, samples=6)
    assert right.regime == "SDE" and right.advice.startswith("Nothing has to change")


@pytest.mark.parametrize(("T", "n"), [(0.5, 100), (4.0, 100), (4.0, 40)])
def test_a_horizon_is_not_an_exponent(T: float, n: int) -> None:
    problem = NeuralODE()
    problem.t1 = T
    found = diagnose(problem, n=n, generator=seeded(), samples=8, draws=3)
    assert found.regime == "ODE" and found.beta == 1
    assert f"the horizon is taken to stay {T:g}" in found.text()
    assert found.advice.startswith("Nothing has to change")


@pytest.mark.parametrize("network", [Bounded(64), Sine(64)], ids=["tanh", "sine"])
def test_the_worse_of_forward_and_backward_decides(network: Problem) -> None:
    found = diagnose(network, generator=seeded(), draws=3, samples=6)
    assert abs(found.exponent.value) < 0.3 and found.backward_exponent.value > 1
    assert found.regime == "explosion" and "the backward ratio grows" in found.advice
    assert_cured(found)


def test_states_and_gradients_that_vanish_are_told() -> None:
    found = diagnose(Decay(64), generator=seeded(), draws=3, samples=6)
    # Both ratios are 1 at every depth: the norms tell what they do not.
    assert found.exponent.value == pytest.approx(0, abs=0.05)
    assert found.regime == "collapse" and "shrink to nothing" in found.advice
    assert_cured(found)


class Recursive(Blocks):
    """Layers that are an AR(1) process over the depth, or share a part, of the same variance."""

    control_shape = (24, 24)

    def __init__(self, n: int = 64, rho: float = 0.5, shared: float = 0.0):
        super().__init__(n)
        self.rho, self.shared = rho, shared

    def dynamics(self, t: Tensor, x: Tensor, u: Any) -> Tensor:
        return self.depth**-0.5 * (u @ x.relu().unsqueeze(-1)).squeeze(-1) / 5

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        control = PiecewiseConstant(self.t0, self.t1, n, (24, 24))
        white = torch.randn(n, 24, 24, generator=generator)
        common = torch.randn(24, 24, generator=generator)
        u = [white[0]]
        for k in range(1, n):
            u.append(self.rho * u[-1] + math.sqrt(1 - self.rho**2) * white[k])
        mixed = math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * torch.stack(u)
        control.path.data = mixed / math.sqrt(24)
        return control


@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
@pytest.mark.parametrize(
    ("rho", "shared", "neighbours", "H"),
    [(0.5, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 1.0), (-0.5, 0.0, -0.5, 0.5), (0.8, 0.0, 0.8, 0.5)],
)
def test_the_hurst_index_is_that_of_all_lags(
    rho: float, shared: float, neighbours: float, H: float, given: bool
) -> None:
    n = 256 if given else 128
    problem = Recursive(n, rho, shared)
    control = problem.initial_control(n, seeded(1)) if given else None
    found = diagnose(problem, control, generator=seeded(), samples=4)
    assert found.correlation == pytest.approx(neighbours, abs=0.03)
    assert found.hurst.value == pytest.approx(H, abs=0.1)
    assert abs(found.hurst.value - H) < max(2 * found.hurst.error, 0.05) < 0.25


@pytest.mark.parametrize("problem", [VanDerPol(), MinEnergy()], ids=["van der Pol", "integrator"])
def test_a_control_that_is_a_signal_is_not_called_weights(problem: Problem) -> None:
    found = diagnose(problem, depths=[25, 50], samples=4, draws=1)
    assert found.regime == "ODE" and "The control is a signal u(t) of shape" in found.advice
    assert "random" not in found.advice and found.cure is None


class Fixup(Blocks):
    """The last layer of each branch starts at zero."""

    def layer(self, d: int, generator: torch.Generator | None) -> nn.Module:
        last = nn.Linear(d, d)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(super().layer(d, generator), nn.ReLU(), last)


class Gated(nn.Module):
    """A branch times a gate that starts at zero."""

    def __init__(self, d: int):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))
        self.linear = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        return self.gate * self.linear(x)


class ReZero(Blocks):
    """Each branch is multiplied by a gate that starts at zero."""

    def layer(self, d: int, generator: torch.Generator | None) -> nn.Module:
        return Gated(d)


@pytest.mark.parametrize("network", [Fixup(16), ReZero(16)], ids=["Fixup", "ReZero"])
def test_branches_that_start_at_zero_are_named(network: Problem) -> None:
    found = diagnose(network, samples=4, draws=1)
    assert found.regime == "identity" and "Every branch is zero" in found.advice
    assert "control is zero" not in found.advice and found.cure is None


def test_networks_for_images_are_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose(DigitImages(depth=6, widths=(4,)), samples=8, draws=1)
    assert found.depths == (6,) and "depth 6" in found.name
    # The depth that is quoted is the network's, not that of its longest stage.
    found = diagnose(CIFAR10(depth=9, data="/nowhere"), samples=2, draws=1)
    assert found.depths == (3,) and "depth 9, its longest stage of 3 layers" in found.text()
    assert "at depth 9" in found.advice and "inputs are standard normal" in found.text()
    network = homogeneous(8, 4, size=8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = diagnose(network, samples=8)
    assert found.depths == (8,) and found.log_forward.shape == (9,)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class Branch(nn.Sequential):
    """A branch of a user's own network."""

    def __init__(self, d: int, scale: float):
        linear = nn.Linear(d, d)
        linear.weight.data.mul_(scale)
        super().__init__(nn.ReLU(), linear)


def test_a_network_that_wrap_takes_is_diagnosed_as_it_is() -> None:
    torch.manual_seed(0)
    make = lambda scale: wrap(
        [Residual(Branch(12, scale)) for _ in range(32)],
        torch.randn(2, 12),
        embedding=nn.Flatten(),
        head=nn.Linear(12, 3),
    )
    large, small = (diagnose(make(scale), samples=8) for scale in (6.0, 0.02))
    assert large.regime == "explosion" and large.depths == (32,)
    assert small.regime == "identity" and "Multiply the branches by about" in small.advice
    whole = nn.Sequential(
        nn.Linear(8, 12), *[Residual(Branch(12, 6.0)) for _ in range(32)], nn.Linear(12, 3)
    )
    inputs = Sample(torch.randn(16, 8), torch.randint(3, (16,)))
    with pytest.raises(ValueError, match="A Sequential needs inputs"):
        diagnose(whole)
    assert diagnose(whole, inputs=inputs).regime == "explosion"
    with pytest.raises(TypeError, match="subject must be a Module, but got 3"):
        diagnose(3)  # pyright: ignore[reportArgumentType]


def test_a_function_of_the_depth_makes_the_family() -> None:
    def network(L: int) -> Problem:
        return Blocks(L, scale=L**-0.5)

    found = diagnose(network, depths=[8, 16, 32, 64], generator=seeded(), draws=3, samples=6)
    assert found.regime == "SDE" and found.depths == (8, 16, 32, 64)
    small = diagnose(lambda L: Blocks(L, scale=1 / L), depths=[8, 16, 32, 64], samples=8)
    assert small.regime == "identity"
    with pytest.raises(ValueError, match="A function of the depth needs depths"):
        diagnose(network)


def test_theory_agrees_with_the_diagnosis_of_a_model() -> None:
    network = Res3(64, 0.6, init.FractionalNoise(0.3), d=30)
    found = diagnose(network, generator=seeded(), draws=3, samples=6)
    assert found.forward[-1] == pytest.approx(Theory(network).forward, rel=0.15)
    assert found.backward[-1] == pytest.approx(Theory(network).backward, rel=0.2)


def test_the_digits_are_told_to_correlate_their_layers() -> None:
    found = diagnose(Digits(), depths=[4, 8, 16], samples=8, draws=2, generator=seeded())
    assert found.regime == "identity" and "init.smooth_" in found.advice


def test_a_residual_network_in_stages_keeps_its_own_depth() -> None:
    found = diagnose(resnet(6, (4, 8), size=8), samples=8)
    assert found.depths == (3,) and "depth 6" in found.name
