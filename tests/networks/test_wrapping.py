"""Networks that exist already, wrapped: the same to the bit, and the same read-outs."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ocnet import Sample, training
from ocnet.analysis import least_cost, prune, remove_blocks
from ocnet.networks import collect_statistics, Residual, wrap


torchvision = pytest.importorskip("torchvision")


def given(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return getattr(torchvision.models, name)(num_classes=5)


def some(n: int = 4, size: int = 32) -> Sample:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, size, size, generator=generator)
    return Sample(images, torch.randint(5, (n,), generator=generator))


def example() -> torch.Tensor:
    return some().x0


def test_a_wrapped_network_computes_the_same_to_the_bit() -> None:
    network = given("resnet18")
    wrapped = wrap(network, example())
    assert {id(p) for p in network.parameters()} == {id(p) for p in wrapped.parameters()}
    reference, images = copy.deepcopy(network), example()
    assert wrapped(images).equal(reference(images))
    assert wrapped.eval()(images).equal(reference.eval()(images))


def test_training_without_stage_cost_is_plain_training_to_the_bit() -> None:
    network, plain = given("resnet18"), given("resnet18")
    wrapped = wrap(network, example(), gamma=0.0)
    sample = some()
    assert sample.target is not None
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    batches = [sample, sample]
    for _ in training(wrapped.problem, wrapped.control, wrapped.solver, optimizer, batches):
        pass
    optimizer = torch.optim.SGD(plain.parameters(), 0.01, momentum=0.9)
    for _ in batches:
        optimizer.zero_grad()
        F.cross_entropy(plain(sample.x0), sample.target, reduction="none").mean().backward()
        optimizer.step()
    for (name, p), q in zip(network.state_dict().items(), plain.state_dict().values(), strict=True):
        assert p.equal(q), name


@pytest.mark.parametrize("heads", ["WS", "full"])
def test_read_outs_of_a_wrapped_network(heads: Any) -> None:
    """`E_k` sends the state through every later shortcut, in the statistics of its own."""
    network: Any = given("resnet18")
    wrapped = wrap(network, example(), heads=heads, gamma=0.1)
    images, _ = some()
    collect_statistics(wrapped, [images])
    wrapped.eval()
    z = wrapped.trajectory(images).states
    outputs = wrapped.outputs(images)
    for k in (5, 7):
        x = z[k].relu()
        if k < 6:
            # From the fifth block on only the sixth has a shortcut that is not the identity.
            conv, bn = network.layer4[0].downsample
            y = conv(x)
            mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True)
            y = (y - mean) / (var + bn.eps).sqrt()
            x = (y * bn.weight[:, None, None] + bn.bias[:, None, None]).relu()
        torch.testing.assert_close(outputs[k], network.fc(x.mean((2, 3))))
        sub = wrapped.subresnet(k, own_heads=True)
        torch.testing.assert_close(sub(images), outputs[k])
        torch.testing.assert_close(sub.outputs(images), outputs[: k + 1])


def test_resting_heads_of_a_wrapped_network_do_not_read_out() -> None:
    own, shared = (wrap(given("resnet18"), example(), heads=heads) for heads in ("full", "WS"))
    with torch.no_grad():
        for p in own.problem.readouts.parameters():
            p.add_(1)
    images, _ = some()
    for wrapped in (own, shared):
        collect_statistics(wrapped, [images])
        wrapped.eval()
    torch.testing.assert_close(own.outputs(images), shared.outputs(images))
    torch.testing.assert_close(own.subresnet(3)(images), shared.outputs(images)[3])


def test_stage_cost_trains_own_heads_only_in_the_full_variant() -> None:
    variants: Any = (("WS", False), ("full", True))
    for heads, grows in variants:
        network = given("resnet18")
        wrapped = wrap(network, example(), heads=heads, gamma=0.1)
        more = {id(p) for p in wrapped.parameters()} - {id(p) for p in network.parameters()}
        assert bool(more) == grows
        groups = wrapped.parameter_groups(0.01)
        ids = [id(p) for group in groups for p in group["params"]]
        assert sorted(ids) == sorted(map(id, wrapped.parameters()))
        assert [group["lr"] for group in groups[2:]] == pytest.approx([0.1] * (8 if grows else 0))
        optimizer = torch.optim.SGD(groups)
        (record,) = training(wrapped.problem, wrapped.control, wrapped.solver, optimizer, [some()])
        assert record.grad_norm > 0


def test_blocks_of_ones_own() -> None:
    torch.manual_seed(0)
    conv = lambda a, b, s=1: nn.Conv2d(a, b, 3, s, padding=1)
    blocks = [
        Residual(conv(8, 8)),
        Residual(conv(8, 12, 2), nn.Conv2d(8, 12, 1, 2), torch.tanh),
        Residual(conv(12, 12), activation=torch.tanh),
    ]
    embedding = conv(3, 8)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    plain = nn.Sequential(embedding, *blocks, head)
    images, _ = some(size=8)
    wrapped = wrap(blocks, images, embedding=embedding, head=head)
    assert wrapped.depth == 3
    assert wrapped(images).equal(plain(images))
    outputs = wrapped.eval().outputs(images)
    x = blocks[1].shortcut(embedding(images))
    torch.testing.assert_close(outputs[0], head(x.tanh().tanh()))
    x = torch.randn(4, 8, 8, 8)
    bare = wrap(blocks[:1], x, embedding=nn.Identity(), head=head[:2])
    torch.testing.assert_close(bare(x), blocks[0](x).mean((2, 3)))


def test_a_network_without_parameters_is_pruned() -> None:
    """Also inside the stages, where a block that changes the stage leaves its skip."""
    blocks = [Residual(nn.Tanh()), Residual(nn.AvgPool2d(2), nn.MaxPool2d(2)), Residual(nn.Tanh())]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = wrap(blocks, images, embedding=nn.Identity(), head=head, gamma=0.1)
    assert not list(network.parameters())
    sample = Sample(images, torch.arange(20) % 3)
    network.problem.check(sample)
    network.eval()
    x = images + images.tanh()
    torch.testing.assert_close(network.subresnet(1)(images), nn.MaxPool2d(2)(x).mean((2, 3)))
    skipped = nn.MaxPool2d(2)(x)
    kept = network.keep([0, 2])
    torch.testing.assert_close(kept(images), (skipped + skipped.tanh()).mean((2, 3)))
    assert prune(network, sample, sample, tolerance=100).m == 0
    assert len(remove_blocks(network, 3, least_cost(sample), sample).order) == 3
    assert not images.requires_grad
