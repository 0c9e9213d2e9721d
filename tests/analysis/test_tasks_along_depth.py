"""Depth profiles of other tasks, growth and cutting of networks with own heads, modes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ocnet import evaluate, resnet, Sample, train
from ocnet.analysis import depth_profile, grow, smallest_depth
from ocnet.analysis.depth import fitting
from ocnet.analysis.runs import RunRecord, table
from ocnet.networks import accuracy, collect_statistics, CrossEntropy, Residual, ResNet, wrap
from ocnet.run import Config
from tests.support.networks import batch, settled, small
from tests.support.wrapped import GPT


def values(network: ResNet, sample: Sample) -> np.ndarray:
    """The losses of all outputs, by their plain definition."""
    outputs = network.outputs(sample.x0).detach()
    return np.array([float(network.problem.loss(y, sample.target).mean()) for y in outputs])


def test_own_heads_grow_with_their_network() -> None:
    """They keep reading out the states that they read out; new states have copies of the head."""
    network, sample = settled(heads="full", gamma=0.1, depth=3, widths=(4,))
    with torch.no_grad():
        for p in network.problem.readouts.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5)))
    collect_statistics(network, [sample.x0])
    before = values(network, sample)
    grown = grow(network, 5)
    assert grown.problem.gamma == (0.1,) * 5
    np.testing.assert_allclose(values(grown, sample), [*before, before[-1], before[-1]])
    heads = [len(grown.problem.readouts.own_parameters(k)) for k in range(5)]
    assert min(heads) > 0 and len(grown.parameter_groups(0.1)) == 2 + 5
    # A weight that is given counts; heads without weight rest, as in any network.
    other = grow(network, 5, gamma=0.4)
    assert other.problem.gamma == (0.4,) * 5
    np.testing.assert_allclose(values(other, sample)[0], before[0])
    shared, sample = settled(gamma=0.2, depth=3, widths=(4,))
    assert not grow(shared, 4).problem.readouts.own_parameters(0)


def test_own_heads_grow_across_stages() -> None:
    network, sample = settled(heads="full", gamma=0.1, depth=6, blocks=(2, 0, 0), widths=(3, 4, 5))
    before = values(network, sample)
    grown = grow(network, (2, 2, 1))
    np.testing.assert_allclose(values(grown, sample)[:3], before)


def test_a_subresnet_has_no_heads_that_it_does_not_need() -> None:
    network, sample = settled(heads="full", gamma=0.1)
    cut, plain = network.subresnet(4), settled()[0].subresnet(4)
    count = lambda net: sum(p.numel() for p in net.parameters())
    assert count(cut) == count(plain)
    torch.testing.assert_close(cut(sample.x0), network.outputs(sample.x0)[4])
    assert cut.problem.gamma == (0.0,) * 4, "no stage cost begins in silence"
    with pytest.raises(ValueError, match="no batch-norm statistics yet"):
        cut.outputs(sample.x0)
    with_heads = network.subresnet(4, own_heads=True)
    torch.testing.assert_close(with_heads.outputs(sample.x0), network.outputs(sample.x0)[:5])
    assert count(network.subresnet(6)) == count(settled()[0])
    assert count(with_heads) > count(cut)


def test_training_does_not_freeze_statistics() -> None:
    """A network that was evaluated last learns its statistics all the same."""
    network = resnet(2, (4,), channels=2, size=8, classes=3)
    sample, resting = batch(network, 8), resnet(2, (4,), channels=2, size=8, classes=3).eval()
    resting.load_state_dict(network.state_dict())
    head: Any = resting.problem.head
    before = head.bn.running_mean.clone()
    for one in (network, resting):
        optimizer = torch.optim.SGD(one.parameters(), 0.1)
        train(one.problem, one.control, one.solver, optimizer, n_steps=2, data=[sample],
              progress=False)  # fmt: skip
    assert not head.bn.running_mean.equal(before)
    assert not resting.control.training and network.control.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(resting.state_dict()[name], value)
    # A part that is kept in evaluation mode in a network that trains stays there.
    kept: Any = network.problem.head
    kept.bn.eval()
    mean = kept.bn.running_mean.clone()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    train(network.problem, network.control, network.solver, optimizer, n_steps=1, data=[sample],
          progress=False)  # fmt: skip
    assert kept.bn.running_mean.equal(mean)


def segmenter(classes: int = 3) -> ResNet:
    """A class for each pixel."""
    torch.manual_seed(0)
    blocks: Any = [Residual(nn.Conv2d(8, 8, 3, padding=1)) for _ in range(3)]
    return wrap(
        blocks, torch.zeros(2, 2, 6, 5), embedding=nn.Conv2d(2, 8, 1), head=nn.Conv2d(8, classes, 1)
    ).eval()


def test_a_profile_of_a_segmentation() -> None:
    network, x = segmenter(), torch.randn(7, 2, 6, 5)
    target = torch.randint(3, (7, 6, 5))
    profile = depth_profile(network, Sample(x, target), batch_size=3)
    for k, y in enumerate(network.outputs(x)):
        assert profile.loss[k] == pytest.approx(float(F.cross_entropy(y, target).detach()))
        right = float((y.argmax(1) == target).double().mean())
        assert profile.accuracy[k] == pytest.approx(right)
    assert 0 <= smallest_depth(profile, 100.0) <= 3


def test_a_profile_of_a_language_model() -> None:
    """The next token for each place; the loss of the library is that of torch."""
    torch.manual_seed(0)
    ids = torch.randint(20, (5, 9))
    network = wrap(GPT(), ids).eval()
    sample = Sample(ids, ids.roll(-1, 1))
    profile = depth_profile(network, sample)
    for k, y in enumerate(network.outputs(ids)):
        expected = F.cross_entropy(y.flatten(0, 1), ids.roll(-1, 1).flatten())
        assert profile.loss[k] == pytest.approx(float(expected.detach()))
    cost, _ = evaluate(network.problem, network.control, network.solver, sample)
    assert float(cost.mean().detach()) == pytest.approx(profile.loss[-1])
    network.problem.gamma = 0.5
    cost, _ = evaluate(network.problem, network.control, network.solver, sample)
    assert float(cost.mean().detach()) == pytest.approx(
        profile.loss[-1] + 0.5 * profile.loss[:-1].sum()
    )


def squares(y: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
    assert target is not None
    return (y - target).square().flatten(1).mean(1)


def binary(y: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
    assert target is not None
    return F.binary_cross_entropy_with_logits(y, target.to(y), reduction="none").mean(1)


def test_a_profile_of_a_regression_and_of_several_labels() -> None:
    network, x = segmenter(1), torch.randn(6, 2, 6, 5)
    network.problem.loss = squares
    target = torch.randn(6, 1, 6, 5)
    profile = depth_profile(network, Sample(x, target))
    np.testing.assert_allclose(
        profile.loss, [float((y - target).square().mean()) for y in network.outputs(x).detach()]
    )
    assert np.isnan(profile.accuracy).all() and "accuracy" not in profile.table()
    with pytest.raises(ValueError, match="do not say what is right"):
        smallest_depth(profile, 1.0)
    several, sample = settled()
    several.problem.loss = binary
    labels = (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) > 0.4).double()
    profile = depth_profile(several, Sample(sample.x0, labels))
    y = several.outputs(sample.x0)[-1]
    assert profile.accuracy[-1] == pytest.approx(float(((y > 0) == (labels > 0.5)).double().mean()))


def test_classes_in_two_places_are_refused() -> None:
    with pytest.raises(ValueError, match="second or the last dimension"):
        accuracy(torch.zeros(2, 4, 4), torch.zeros(2, 4, dtype=torch.long))
    y, target = torch.randn(2, 5, 4), torch.randint(4, (2, 5))
    torch.testing.assert_close(
        CrossEntropy(0.1)(y, target),
        F.cross_entropy(y.mT, target, label_smoothing=0.1, reduction="none").mean(1),
    )


def test_the_batch_of_a_profile_fits_into_memory() -> None:
    """By hand: 55 states of 64 channels and 32 x 32 pixels in single precision."""
    torch.set_default_dtype(torch.float32)
    network = resnet(54, (64,))
    assert fitting(network) == 2**30 // (55 * 64 * 32 * 32 * 4) == 74
    assert fitting(small(depth=2, widths=(4,))) == 500


def test_a_table_of_runs_says_where_costs_hold_different_stage_costs() -> None:
    def record(name: str, *settings: str) -> RunRecord:
        result = {"steps": 3, "best_step": 2, "test": {"cost": 1.0, "accuracy": 0.5}}
        config = Config.of("problems.images:Digits", list(settings), device="cpu", iterations=3)
        return RunRecord(name, config, {}, {}, result, {})

    same = table([record("a", "gamma=0.1"), record("b", "gamma=0.1", "depth=3")])
    assert "test cost" in same and "own gamma" not in same
    other = table([record("a", "gamma=0.1"), record("b", "gamma=0.0")])
    assert "test cost with its own gamma" in other and "test accuracy" in other
    assert "own gamma" in table([record("a", "gamma=0.1"), record("b")])
