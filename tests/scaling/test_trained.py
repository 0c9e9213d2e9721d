"""What training did to the weights is measured on weights whose law is known."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn, Tensor
from typer.testing import CliRunner

from ocnet import Feedback, init, Layers, plot
from ocnet.cli import build
from ocnet.scaling import layer_weights, Res1, training_effect, weight_profile


def law(L: int, smooth: float, noise: float, seed: int = 0) -> Tensor:
    """`L^-smooth S(k / L) + 0.3 L^-noise N_k`, with S smooth and N independent, each of size 1."""
    generator = torch.Generator().manual_seed(seed)
    S = init.smooth_(torch.empty(L, 1500), init.RBF(0.2), std=1.0, generator=generator)
    N = init.iid_(torch.empty(L, 1500), std=1.0, generator=generator)
    return L**-smooth * S + 0.3 * L**-noise * N


@pytest.mark.parametrize(("smooth", "noise"), [(0.0, 0.5), (1.0, 0.5), (0.3, 0.3)])
def test_exponents_of_a_known_law(smooth: float, noise: float) -> None:
    depths = (64, 128, 256, 512)
    after = [law(L, smooth, noise, seed=L) for L in depths]
    before = [init.iid_(torch.empty(L, 1500), std=1.0) for L in depths]
    effect = training_effect(before, after)
    found = effect.exponents()
    assert found["smooth"][1].value == pytest.approx(-smooth, abs=0.05)
    assert found["noise"][1].value == pytest.approx(-noise, abs=0.05)
    assert found["size"][0].value == pytest.approx(0, abs=0.02)
    assert f"noise ~ L**({found['noise'][0]}) before" in effect.text()
    for profile, L in zip(effect.after, depths, strict=True):
        assert profile.noise == pytest.approx(0.3 * L**-noise, rel=0.1)
        assert profile.smooth == pytest.approx(L**-smooth, rel=0.2)
        assert profile.sizes.shape == (L,) and profile.increments.shape == (L - 1,)
    assert all(p.smooth < 0.15 for p in effect.before)
    figure = plot.training_effect(effect)
    assert len(figure.axes) == 3 and "depth 512" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("kind", "H"),
    [
        (init.Iid(), 0.5),
        (init.FractionalNoise(0.8), 0.8),
        (init.FractionalNoise(0.3), 0.3),
        (init.SmoothValues(), 1.0),
        (init.Repeated(), 1.0),
    ],
    ids=str,
)
def test_the_hurst_index_of_weights(kind: init.Kind, H: float, generator: torch.Generator) -> None:
    profile = weight_profile(init.fill_(torch.empty(256, 900), kind, generator=generator))
    assert profile.hurst.value == pytest.approx(H, abs=0.07)
    assert profile.size == pytest.approx(1 / 30, rel=0.1)
    assert profile.size**2 == pytest.approx(profile.smooth**2 + profile.noise**2)


def test_layers_of_a_control(generator: torch.Generator) -> None:
    network = Res1(12, d=5, generator=generator)
    control = network.initial_control(12, generator)
    torch.testing.assert_close(layer_weights(control), control.path.detach().flatten(1))
    sizes = [(3, 3)] * 2 + [(3, 6)] + [(6, 6)] * 9
    layers = Layers(0, 12, [nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in sizes])
    assert layer_weights(layers).shape == (9, 36)
    with pytest.raises(TypeError, match="control must have layers, but got a Feedback"):
        layer_weights(Feedback(0, 1, nn.Linear(4, 2)))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"those of 8 layers at least, but got \(7, 3\)"):
        weight_profile(torch.zeros(7, 3))
    with pytest.raises(ValueError, match="must be finite"):
        weight_profile(torch.full((9, 3), math.nan))
    with pytest.raises(ValueError, match="before and after must hold the same networks"):
        training_effect(torch.zeros(9, 3), torch.zeros(10, 3))


@pytest.mark.slow
def test_the_commands_on_a_run(tmp_path: Path) -> None:
    ocnet = lambda *words: CliRunner().invoke(build(), words)
    for depth in ("8", "16"):
        run = str(tmp_path / depth)
        trained = ocnet(
            "train", "problems.digits:Digits", "--steps", depth, "--iterations", "4", "--out", run
        )
        assert trained.exit_code == 0, trained.output
    runs = [str(tmp_path / depth) for depth in ("16", "8")]
    found = ocnet("weights", *runs, "--out", str(tmp_path / "picture"))
    assert found.exit_code == 0 and "noise ~ L**(" in found.output, found.output
    assert (tmp_path / "picture" / "weights.png").exists()
    regime = ocnet("regime", runs[0])
    assert regime.exit_code == 0 and "depth 16, as it is" in regime.output, regime.output
    wrong = ocnet("regime", runs[0], "--init", "iid")
    assert wrong.exit_code == 2 and "--init goes with a SPEC" in wrong.output
