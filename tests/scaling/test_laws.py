"""The limit laws are those of deep networks: distribution functions, not only errors."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import init
from ocnet.scaling import (
    compare_laws,
    log_norm_limit,
    ode_limit_of_smooth_weights,
    Res1,
    Res2,
    Res3,
    sample_network,
    sample_sde,
    ScaledNetwork,
)


MODELS: list[tuple[type[ScaledNetwork], dict[str, Any]]] = [
    (Res1, {}),
    (Res2, {}),
    (Res3, {}),
    (Res1, {"sigma": torch.tanh}),
    (Res2, {"sigma": torch.sigmoid}),
]
PATHS = 1500


def log_growth(end: Tensor, start: Tensor) -> Tensor:
    return (end.norm(dim=-1) / start.norm(dim=-1)).log()


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_deep_networks_have_the_law_of_the_sde(
    model: type[ScaledNetwork], options: dict[str, Any], generator: torch.Generator
) -> None:
    d, L = 6, 100
    network = model(L, 0.5, init.Iid("uniform"), d=d, generator=generator, **options)
    x0 = torch.randn(1, d, generator=generator).expand(PATHS, -1)
    deep = sample_network(network, x0, generator)
    limit = sample_sde(network, x0, 100, generator)
    found = compare_laws(log_growth(deep, x0), log_growth(limit, x0))
    assert found.p_value > 1e-3 and found.distance < 0.08
    # One entry has the same law too, and another scaling another law.
    assert compare_laws(deep[:, 0], limit[:, 0]).p_value > 1e-3
    other = sample_network(network.with_beta(0.35), x0, generator)
    assert compare_laws(log_growth(other, x0), log_growth(limit, x0)).p_value < 1e-6


def test_the_norm_of_res_3_is_log_normal(generator: torch.Generator) -> None:
    d = 8
    x0 = torch.randn(4000, d, generator=generator)
    growth = 2 * log_growth(sample_sde(Res3(d=d), x0, 100, generator), x0)
    mean, variance = log_norm_limit(d)
    normal = mean + math.sqrt(variance) * torch.randn(4000, generator=generator)
    assert compare_laws(growth, normal).p_value > 1e-3
    assert compare_laws(growth, normal + 0.2).p_value < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("model", [Res1, Res2, partial(Res1, sigma=torch.tanh)])
def test_networks_with_smooth_weights_tend_to_an_ode(model: Any) -> None:
    found = ode_limit_of_smooth_weights(128, d=5, model=model)
    assert -1.15 < found.slope < -0.85


def test_compared_samples_say_where_they_differ() -> None:
    a = torch.linspace(0, 1, 1001)
    found = compare_laws(a, a + 0.25)
    assert found.first[2] == pytest.approx(0.5) and found.second[2] == pytest.approx(0.75)
    assert found.distance == pytest.approx(0.25, abs=2e-3)
    with pytest.raises(ValueError, match="second must be a vector of finite numbers"):
        compare_laws(a, torch.tensor([math.nan]))


def test_a_branch_of_another_form_is_refused() -> None:
    class Other(Res1):
        def branch(self, x: Tensor, u: Tensor) -> Tensor:
            return super().branch(x, u) + x

    with pytest.raises(TypeError, match="Other has a branch of its own"):
        sample_sde(Other(8, d=4), torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"x0 must have shape \(path, 4\), but got \(2, 5\)"):
        sample_sde(Res1(8, d=4), torch.ones(2, 5))
