"""Residual networks against a network written out plainly, and their bad input."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ocnet import evaluate, Sample, TorchDiffEq
from ocnet.analysis.depth import depth_profile
from ocnet.learning.batches import Batches, endless
from ocnet.learning.mean_cost import MeanCost
from ocnet.learning.processes import is_shard
from ocnet.learning.sharding import shard
from ocnet.networks import Architecture, homogeneous, ResNet, resnet
from ocnet.networks.blocks import NoBranch
from ocnet.supervised import default_steps
from tests.support.networks import batch, plain_norm, small


LAYOUTS = [
    {"depth": 6, "widths": (3, 4, 5)},
    {"blocks": (2, 0, 0), "widths": (3, 4, 5)},
    {"blocks": (1, 2, 0), "widths": (3, 4, 5), "size": (9, 7)},
    {"blocks": (0, 0), "widths": (3, 4)},
    {"blocks": (0, 2, 1), "widths": (3, 4, 5)},
    {"depth": 3, "widths": (4,)},
]


def plain_resnet(network: ResNet, widths: tuple[int, ...], images: Tensor) -> Tensor:
    """ResNet-v2 on the parameters of `network`, with no other code of the library."""
    training = network.training
    problem: Any = network.problem
    embedding, head = problem.embedding, problem.head
    x = plain_norm(F.conv2d(images, embedding.conv.weight, padding=1), embedding.bn, training)
    x = x.relu()
    skips = [p.map for p in problem.projections]
    branches: Any = network.control.layers
    for branch in branches:
        if isinstance(branch, NoBranch):
            continue
        old, new = branch.conv1.weight.shape[1], branch.conv1.weight.shape[0]
        stride = 2 if old != new else 1
        f = plain_norm(x, branch.bn1, training).relu()
        f = F.conv2d(f, branch.conv1.weight, stride=stride, padding=1)
        f = plain_norm(f, branch.bn2, training).relu()
        f = F.conv2d(f, branch.conv2.weight, padding=1)
        s = x if old == new else F.conv2d(x, skips.pop(0).weight, stride=2)
        x = s + f
    for skip in head.skips:
        x = F.conv2d(x, skip.weight, stride=2)
    assert not skips and x.shape[1] == widths[-1]
    pooled = plain_norm(x, head.bn, training).relu().mean((2, 3))
    return pooled @ head.fc.weight.T + head.fc.bias


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_and_gradients_equal_a_plain_resnet_v2(layout: dict, training: bool) -> None:
    network = small(**layout)
    images, labels = batch(network)
    assert labels is not None
    network(images)
    network.train(training)
    reference = copy.deepcopy(network)
    logits = network(images)
    expected = plain_resnet(reference, layout["widths"], images)
    torch.testing.assert_close(logits, expected)
    F.cross_entropy(logits, labels).backward()
    F.cross_entropy(expected, labels).backward()
    for p, q in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_torchdiffeq_takes_the_same_steps(layout: dict) -> None:
    network = small(gamma=0.3, **layout).train()
    images, labels = batch(network)
    for _ in range(3):
        evaluate(network.problem, network.control, network.solver, Sample(images, labels))
    network.eval()
    sample = Sample(images, labels)
    cost, trajectory = evaluate(network.problem, network.control, network.solver, sample)
    solver = TorchDiffEq("euler", default_steps(network.problem))
    cost2, trajectory2 = evaluate(network.problem, network.control, solver, sample)
    torch.testing.assert_close(cost, cost2)
    torch.testing.assert_close(trajectory.states[-1], trajectory2.states[-1])
    parameters = list(network.parameters())
    gradients = (
        torch.autograd.grad(c.sum(), parameters, allow_unused=True, materialize_grads=True)
        for c in (cost, cost2)
    )
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("network", "millions"),
    [
        (lambda: resnet(54), "1.7"),
        (lambda: resnet(blocks=(12, 0, 0)), "0.06"),
        (lambda: resnet(54, heads="full"), "1.9"),
        (lambda: homogeneous(54, 64), "4.0"),
        (lambda: homogeneous(12, 64), "0.9"),
        (lambda: homogeneous(54, 64, classes=100), "4.0"),
        (lambda: homogeneous(54, 64, classes=100, heads="full"), "4.4"),
        (lambda: homogeneous(54, 32, channels=1, size=28), "1.0"),
        (lambda: homogeneous(12, 32, channels=1, size=28), "0.2"),
    ],
)
def test_parameter_counts_are_the_published_ones(
    network: Callable[[], ResNet], millions: str
) -> None:
    count = sum(p.numel() for p in network().parameters())
    digits = len(millions.split(".")[1])
    assert f"{count / 1e6:.{digits}f}" == millions


def test_bytes_count_as_images_in_the_unit_interval() -> None:
    network = small(depth=3, widths=(4,)).eval()
    pixels = torch.randint(256, (4, 2, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(network(pixels), network(pixels / 255))


def test_state_dict_round_trip() -> None:
    network, other = small(depth=3, widths=(4,)), small(seed=5, depth=3, widths=(4,))
    images, _ = batch(network)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(network.eval()(images), other.eval()(images), rtol=0, atol=0)


def test_step_is_one_layer_of_the_solver() -> None:
    network = small(depth=6, widths=(3, 4, 5)).eval()
    images, _ = batch(network)
    states = network.trajectory(images).states
    for k in range(network.depth):
        torch.testing.assert_close(network.step(k, states[k]), states[k + 1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 7}, "depth must divide into 3 equal stages, but got depth=7"),
        ({"depth": 6, "gamma": -0.1}, "gamma < inf, but got gamma=-0.1"),
        ({"depth": 6, "gamma": float("nan")}, "0 <= gamma"),
        ({"depth": 6, "gamma": [0.1]}, "gamma must have 6 values"),
        ({"depth": 6, "heads": "both"}, 'heads must be "WS" or "full"'),
        ({"blocks": (2, 0, 2)}, "No stage between others can be empty"),
        ({"blocks": (2, 2)}, "as many numbers of blocks as widths"),
        ({"depth": 6, "classes": 1}, "classes >= 2"),
    ],
)
def test_bad_arguments_get_one_clear_line(options: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as error:
        resnet(**options)
    assert "\n" not in str(error.value)


def test_bad_images_and_labels_get_one_clear_line() -> None:
    network = small(depth=3, widths=(4,), gamma=0.1)
    with pytest.raises(ValueError, match=r"images must have shape \(batch, 2, 8, 8\)"):
        network(torch.randn(4, 3, 8, 8))
    with pytest.raises(ValueError, match=r"images must have shape .* \(4, 2, 9, 8\)"):
        network(torch.randn(4, 2, 9, 8))
    for label in (-1, 3):
        sample = Sample(torch.randn(2, 2, 8, 8), torch.tensor([0, label]))
        with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.2, but got {label}"):
            evaluate(network.problem, network.control, network.solver, sample)
    with pytest.raises(ValueError, match="Must have m <= N, but got m=4 and N=3"):
        network.subresnet(4)
    with pytest.raises(ValueError, match="collect_statistics"):
        network.eval().outputs(torch.randn(4, 2, 8, 8))
    with pytest.raises(TypeError, match="no data of its own"):
        network.problem.sample(3)


def test_labels_are_checked_once_for_a_data_set_wherever_it_goes() -> None:
    network = small(depth=3, widths=(4,)).to("meta")
    good, bad = (Sample(torch.zeros(4, 2, 8, 8), torch.tensor([0, 1, 2, y])) for y in (2, 3))

    problem: Any = network.problem
    problem.data = lambda split: good
    Batches(problem, 2, torch.Generator())
    problem.data = lambda split: bad
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, but got 3"):
        Batches(problem, 2, torch.Generator())
    seen = []
    batches = endless([good, good], lambda sample: (seen.append(sample), problem.check(sample))[0])
    for _ in range(6):
        next(batches)
    assert len(seen) == 2
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        next(endless([bad], problem.check))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        depth_profile(small(depth=3, widths=(4,)), bad)


def test_a_checkpoint_of_another_architecture_changes_nothing() -> None:
    network, other = small(depth=3, widths=(4,)), small(depth=4, widths=(4,))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="checkpoint is of another architecture"):
        network.load_state_dict(other.state_dict())
    for name, value in network.state_dict().items():
        assert value.equal(before[name]), name


def test_architecture_of_some_blocks() -> None:
    architecture = Architecture((18, 18, 18), (16, 32, 64))
    assert architecture.keep(range(12)).blocks == (12, 0, 0)
    assert architecture.keep(range(19)).blocks == (18, 1, 0)
    assert architecture.keep(range(54)) == architecture
    assert architecture.keep([0, 1, 18, 30, 36]).blocks == (2, 2, 1)
    bare = architecture.keep([0, 1, 18, 30, 36], bare=[18])
    assert bare.bare == (2,) and bare.keep([0, 2, 3]).bare == (1,)
    with pytest.raises(ValueError, match="Block 18 changes the stage"):
        architecture.keep([0, 1, 19])
    with pytest.raises(ValueError, match=r"Only blocks \(18, 36\) change the stage"):
        architecture.keep(range(54), bare=[3])


def test_the_number_of_classes_is_known_of_shards(tmp_path: Path) -> None:
    """Which compute nothing outside a step: labels are checked before the first."""
    network = small(depth=4, widths=(3, 4))
    meeting = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", meeting, rank=0, world_size=1)
    try:
        shard(MeanCost(network.problem, network.control), [], torch.device("cpu"))
        assert all(map(is_shard, network.parameters()))
        assert network.problem.n_classes == 3
    finally:
        torch.distributed.destroy_process_group()
