"""Blocks that go: which one, whether the tolerance is kept, and what is left of a network."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, Tensor

from ocnet import Sample
from ocnet.analysis import (
    at_random,
    last,
    least_angle,
    least_cost,
    least_distance,
    least_readout,
    Removal,
    remove_blocks,
    tried,
)
from ocnet.analysis.criteria import losses_without
from ocnet.networks import collect_statistics, original, Residual, ResNet, SquaredError, wrap
from tests.support.networks import settled
from tests.support.wrapped import Encoder, GPT, mlps, Plain


class Shift(nn.Module):
    """`F(x) = b`."""

    def __init__(self, b: list[float]):
        super().__init__()
        self.b = nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor) -> Tensor:
        return self.b.expand_as(x)


def shifts(*bs: list[float]) -> ResNet:
    """`y = x + sum_k b_k`, with the squared distance to the target as loss."""
    parts: Any = [Residual(Shift(b)) for b in bs]
    network = wrap(
        parts, torch.zeros(2, 2), embedding=nn.Identity(), head=nn.Identity(), loss=SquaredError()
    )
    return network.eval()


def test_the_block_that_costs_least_goes() -> None:
    """`x_N = 1.15` for the target 1: by hand, `-p F` is -.9, .57 and -.015.

    The smallest is that of the block without which the loss is 8.1; without the third it is 0.01.
    """
    network = shifts([3.0, 0.0], [-1.9, 0.0], [0.05, 0.0])
    sample = Sample(torch.zeros(4, 2), torch.tensor([[1.0, 0.0]]).expand(4, 2))
    np.testing.assert_allclose(losses_without(network, sample), [2.85**2, 2.05**2, 0.01])
    for choice in (tried(sample), least_cost(sample), least_distance(sample)):
        assert choice(network, [0, 1, 2]) == 2
    assert last(network, [0, 1, 2]) == 2
    assert tried(sample)(network, [0, 1]) == 1


def test_changes_of_different_samples_do_not_cancel() -> None:
    """The targets 1 and -1 pull a large block both ways; a small one is of no use either way."""
    network = shifts([2.0, 0.0], [-2.0, 0.0], [0.0, 0.1])
    target = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert least_cost(Sample(torch.zeros(2, 2), target))(network, [0, 1, 2]) == 2


def test_the_angle_is_that_between_the_states() -> None:
    """From (1, 0) a step along itself turns nothing, the step to (2, 2) an eighth of a turn."""
    network = shifts([1.0, 0.0], [0.0, 2.0])
    sample = Sample(torch.tensor([[1.0, 0.0]] * 2), torch.zeros(2, 2))
    assert least_angle(sample)(network, [0, 1]) == 0
    assert least_distance(sample)(network, [0, 1]) == 0
    # The second step is the shorter one if the first is long.
    longer = shifts([9.0, 0.0], [0.0, 2.0])
    assert least_distance(sample)(longer, [0, 1]) == 1
    assert least_angle(sample)(longer, [0, 1]) == 0


def test_a_read_out_that_does_not_improve_tells_its_block() -> None:
    network = shifts([1.0, 0.0], [0.1, 0.0], [0.5, 0.0])
    sample = Sample(torch.zeros(3, 2), torch.tensor([[1.6, 0.0]]).expand(3, 2))
    assert least_readout(sample)(network, [0, 1, 2]) == 1


class Small(nn.Module):
    """A ReLU after each sum, a batch norm in each branch, and a change of the stage."""

    def __init__(self) -> None:
        super().__init__()
        conv = lambda a, b, s=1: nn.Sequential(nn.Conv2d(a, b, 3, s, padding=1), nn.BatchNorm2d(b))
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(
            Residual(conv(8, 8), activation=relu),
            Residual(conv(8, 8), activation=relu),
            Residual(conv(8, 12, 2), conv(8, 12, 2), relu),
            Residual(conv(12, 12), activation=relu),
            Residual(conv(12, 12), activation=relu),
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def small() -> tuple[ResNet, Sample]:
    torch.manual_seed(0)
    network = Small()
    images = torch.randn(8, 3, 8, 8)
    network(images)
    return wrap(network.eval(), images), Sample(images, torch.arange(8) % 5)


def encoder(norm_first: bool) -> tuple[ResNet, Sample]:
    torch.manual_seed(0)
    ids = torch.randint(20, (6, 7))
    return wrap(Encoder(norm_first, True).eval(), ids), Sample(ids, torch.arange(6) % 5)


@pytest.mark.parametrize("kind", ["own", "ReLU after the sum", "norm first", "norm last"])
def test_trying_is_removing(kind: str) -> None:
    """`losses_without` is the loss of the network of the other blocks."""
    network, sample = {
        "own": lambda: settled(depth=6),
        "ReLU after the sum": small,
        "norm first": lambda: encoder(True),
        "norm last": lambda: encoder(False),
    }[kind]()
    found = losses_without(network, sample, batch_size=5)
    for k in range(network.depth):
        left = network.keep([j for j in range(network.depth) if j != k])
        expected = left.problem.loss(left(sample.x0), sample.target).mean()
        assert found[k] == pytest.approx(float(expected.detach()), rel=1e-9), k


def accuracies(removal: Removal) -> list[float]:
    return [round(float(a), 6) for a in removal.accuracy]


def test_the_tolerance_is_never_left_in_silence() -> None:
    """Three samples are right while both blocks are there, two without the second, none without."""
    network = shifts([1.0, 0.0], [0.0, 1.5])
    x = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, -3.0], [2.0, 0.0]])
    sample = Sample(x, torch.tensor([1, 1, 0, 0]))
    removal = remove_blocks(network, 2, last, sample, tolerance=60.0, test=sample)
    assert accuracies(removal) == [1.0, 0.5, 0.5]
    assert removal.removed == 2 and removal.network.depth == 0
    strict = remove_blocks(network, 2, last, sample, tolerance=40.0)
    assert strict.removed == 0 and strict.network.depth == 2
    assert list(strict.order) == [1, 0], "all removals are told, also those that were too much"
    assert "0 of 2 blocks removed: 100.00% becomes 100.00%" in strict.verdict
    assert "with more it is 50.00% at best, over 40 points less" in strict.verdict
    assert strict.network(x).equal(network(x))
    np.testing.assert_array_equal(removal.test, removal.accuracy)  # pyright: ignore
    generator = torch.Generator().manual_seed(0)
    assert sorted(remove_blocks(network, 2, at_random(generator), sample).order) == [0, 1]
    with pytest.raises(ValueError, match="tolerance"):
        remove_blocks(network, 1, last, sample, tolerance=-1)


def same(network: nn.Module, wrapped: ResNet, x: Tensor) -> None:
    assert type(network).__name__ in ("Small", "Encoder", "GPT", "Plain", "ResNet")
    torch.testing.assert_close(network.eval()(x), wrapped.eval()(x), rtol=1e-9, atol=1e-9)


def test_what_is_left_is_of_the_original_class() -> None:
    wrapped, sample = small()
    left = wrapped.keep([0, 2, 4])
    assert left.depth == 3
    found: Any = original(left)
    same(found, left, sample.x0)
    assert [type(block) for block in found.blocks] == [Residual] * 3
    # Its parameters are its own, and those of the pruned network.
    with torch.no_grad():
        next(left.control.layers[1].parameters()).add_(1)
    again = original(left)
    same(again, left, sample.x0)
    assert not again(sample.x0).equal(found(sample.x0))
    for norm_first in (True, False):
        network, ids = encoder(norm_first)
        left = network.keep([0, 2])
        found = original(left)
        assert len(found.encoder.layers) == 2
        same(found, left, ids.x0)
    gpt = wrap(GPT(4), ids.x0).eval()
    same(original(gpt.keep([0, 3])), gpt.keep([0, 3]), ids.x0)
    assert len(original(gpt.subresnet(1)).blocks) == 1  # pyright: ignore


def test_what_has_no_form_in_the_original_class_is_refused() -> None:
    wrapped, _ = small()
    with pytest.raises(ValueError, match="the shortcut of layer 2 is left"):
        original(wrapped.keep([0, 1, 3, 4]))
    ids = torch.randint(20, (6, 7))
    sums = wrap(Encoder(True, True), ids, blocks="sums")
    with pytest.raises(ValueError, match="only a part of encoder.layers.1 is gone"):
        original(sums.keep([0, 1, 2, 4, 5]))
    loop = wrap(Plain(mlps()), torch.randn(3, 4))
    with pytest.raises(ValueError, match="a layer has no module"):
        original(loop.keep([0, 2, 3]))
    with pytest.raises(TypeError, match="made by wrap"):
        original(settled(depth=6)[0])


def test_removal_of_a_wrapped_network_checks_with_new_statistics() -> None:
    wrapped, sample = small()
    collect_statistics(wrapped, [sample.x0])
    removal = remove_blocks(wrapped, 3, tried(sample), sample, [sample.x0])
    assert len(removal.order) == 3 and removal.network.depth in (2, 3)
    removal.network.outputs(sample.x0)
