"""Initialisations fill what holds the layers: tensors, parameters in lists, modules in lists."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, Tensor

from ocnet import init


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def stacked(L: int = 12) -> Tensor:
    return init.fbm_(torch.empty(L, 6, 4), 0.8, generator=seeded())


CONTAINERS: list[Callable[[int], object]] = [
    lambda L: [nn.Parameter(torch.empty(6, 4)) for _ in range(L)],
    lambda L: nn.ParameterList(torch.empty(6, 4) for _ in range(L)),
    lambda L: nn.ModuleList(nn.Linear(4, 6) for _ in range(L)),
    lambda L: nn.Sequential(*[m for _ in range(L) for m in (nn.Linear(4, 6), nn.ReLU())]),
    lambda L: tuple(nn.Linear(4, 6, bias=False) for _ in range(L)),
]


def weights(container: object) -> Tensor:
    """The weights of all layers, in one tensor."""
    parts = [p for p in container if not isinstance(p, nn.ReLU)]  # pyright: ignore
    return torch.stack([p if isinstance(p, Tensor) else p.weight for p in parts]).detach()


@pytest.mark.parametrize("make", CONTAINERS)
def test_layers_are_filled_like_stacked_weights(make: Callable[[int], object]) -> None:
    container = make(12)
    assert init.fbm_(container, 0.8, generator=seeded()) is container  # pyright: ignore
    torch.testing.assert_close(weights(container), stacked())


def test_modules_keep_biases_and_fill_every_matrix(generator: torch.Generator) -> None:
    make = lambda: nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1))
    layers = nn.ModuleList(make() for _ in range(200))
    before = [layer[0].bias.clone() for layer in layers]  # pyright: ignore
    init.smooth_(layers, init.RBF(0.05), generator=generator)
    first, second = (torch.stack([layer[i].weight for layer in layers]) for i in (0, 2))  # pyright: ignore
    # Each has its own fan-in, and neighbours are nearly equal.
    assert first.std().item() == pytest.approx(72**-0.5, rel=0.1)
    assert second.std().item() == pytest.approx(16**-0.5, rel=0.2)
    assert (first[1:] - first[:-1]).std() < 0.2 * first.std()
    for layer, bias in zip(layers, before, strict=True):
        assert (layer[0].bias == bias).all() and (layer[1].weight == 1).all()  # pyright: ignore


@pytest.mark.parametrize(
    "kind",
    [
        init.Iid(),
        init.Iid("gaussian"),
        init.FractionalNoise(0.7),
        init.SmoothValues(),
        init.Repeated(),
        init.Spline(5),
    ],
    ids=str,
)
def test_a_seed_means_the_same_in_every_precision(kind: init.Kind) -> None:
    draws = [
        init.fill_(torch.empty(50, 7, 9, dtype=dtype), kind, generator=seeded())
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    ]
    torch.testing.assert_close(draws[1].double(), draws[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(draws[2].double(), draws[0], rtol=1e-2, atol=1e-2)
    unit = [kind.draw(20, 33, seeded(), dtype) for dtype in (torch.float64, torch.float32)]
    torch.testing.assert_close(unit[1].double(), unit[0], rtol=1e-5, atol=1e-6)


PATH = torch.empty(5, 2)
ANY: Callable[[Any], Any] = lambda value: value


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: init.iid_(PATH, std=ANY("xavier")),
            TypeError,
            "std must be a number, but got 'xavier'",
        ),
        (lambda: init.fill_(PATH, ANY(init.Iid)), TypeError, "kind must be a Kind, but got <class"),
        (lambda: init.smooth_(PATH, ANY(init.RBF)), TypeError, r"kernel must be .*: write RBF\(\)"),
        (
            lambda: init.smooth_(PATH, lambda r: torch.where(r > 0.1, math.nan, 1.0)),
            ValueError,
            "kernel must be finite, but got nan at r=",
        ),
        (lambda: init.SmoothIncrements(lambda r: 1 / r), ValueError, "kernel must be 1 at"),
        (lambda: init.SmoothValues(ANY(lambda r: 1.0)), TypeError, "kernel must map distances"),
        (lambda: init.iid_(torch.empty(5, 3, 0)), ValueError, r"layers of shape \(3, 0\)"),
        (lambda: init.fbm_(torch.empty(5, 0), 0.5), ValueError, r"layers of shape \(0,\)"),
        (lambda: init.iid_(torch.empty(0, 3, 3)), ValueError, "L >= 2, but got L=0"),
        (lambda: init.iid_([]), ValueError, "path must hold layers with weights, but got none"),
        (lambda: init.iid_([nn.ReLU(), nn.ReLU()]), ValueError, "but got none"),
        (lambda: init.iid_(nn.Linear(3, 3)), TypeError, "but got a Linear"),
        (lambda: init.iid_([torch.empty(2), 3]), TypeError, "path must hold parameters or layers"),
        (
            lambda: init.iid_([torch.empty(2), nn.ReLU()]),
            TypeError,
            "Each of path must be a Module",
        ),
        (lambda: init.iid_("weights"), TypeError, "but got 'weights'"),
        (
            lambda: init.iid_([nn.Linear(3, 3), nn.Linear(3, 4)]),
            ValueError,
            "path must hold equal layers, but layer 1",
        ),
        (
            lambda: init.iid_([torch.empty(2, 3), torch.empty(3, 2)]),
            ValueError,
            "path must hold layers of one shape",
        ),
        (
            lambda: init.iid_([nn.BatchNorm1d(3), nn.BatchNorm1d(3)]),
            ValueError,
            "matrices or filters",
        ),
        (lambda: init.parse_kind("fbm"), ValueError, "must be one of iid.*but got 'fbm'"),
        (lambda: init.parse_kind("fbm:1.5"), ValueError, "0 < H < 1, but got H=1.5"),
        (lambda: init.parse_kind("smooth:cubic"), ValueError, "but got 'smooth:cubic'"),
    ],
)
def test_bad_input_is_named(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("iid", init.Iid()),
        ("iid:gaussian", init.Iid("gaussian")),
        ("fbm:0.8", init.FractionalNoise(0.8)),
        ("smooth", init.SmoothValues()),
        ("smooth:rbf:0.2", init.SmoothValues(init.RBF(0.2))),
        ("smooth:matern:0.1:2.5", init.SmoothValues(init.Matern(0.1, 2.5))),
        ("increments:ou:0.3", init.SmoothIncrements(init.OrnsteinUhlenbeck(0.3))),
        ("repeated", init.Repeated()),
        ("spline:6", init.Spline(6)),
    ],
)
def test_words_name_initialisations(text: str, kind: init.Kind) -> None:
    assert init.parse_kind(text) == kind
