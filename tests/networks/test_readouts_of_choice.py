"""Read-outs of one's own, and whose statistics read-outs use."""

from typing import Any

import pytest
import torch
from torch import nn

from ocnet import evaluate, Sample
from ocnet.analysis import calibrate, depth_profile
from ocnet.networks import attach_probes, borrow_statistics, collect_statistics, Residual, wrap
from tests.support.networks import plain_norm, settled
from tests.support.wrapped import Encoder, GPT


def test_probes_read_out_in_the_place_of_the_head() -> None:
    network, sample = settled(depth=4, widths=(4,), gamma=0.3)
    torch.manual_seed(0)
    probes = [nn.Sequential(nn.Flatten(), nn.Linear(256, 3)) for _ in range(4)]
    whole = network(sample.x0)
    attach_probes(network, probes)
    states = network.trajectory(sample.x0).states
    outputs = network.outputs(sample.x0)
    for k, probe in enumerate(probes):
        torch.testing.assert_close(outputs[k], probe(states[k]))
        torch.testing.assert_close(network.subresnet(k)(sample.x0), outputs[k])
    torch.testing.assert_close(outputs[-1], whole)
    cost, _ = evaluate(network.problem, network.control, network.solver, sample)
    losses = network.problem.losses(outputs, sample.target)  # pyright: ignore
    torch.testing.assert_close(cost, losses[-1] + 0.3 * losses[:-1].sum(0))
    # They are trained like heads of their own.
    assert [group["lr"] for group in network.parameter_groups(0.3)[2:]] == pytest.approx([1.0] * 4)
    assert depth_profile(network, sample).loss.shape == (5,)
    assert calibrate(network, sample).predict(sample.x0, 1.0).depth.float().mean() > 0
    few = network.keep([0, 2])
    torch.testing.assert_close(few.outputs(sample.x0)[0], outputs[0])
    with pytest.raises(ValueError, match="Probes have no statistics"):
        borrow_statistics(network)
    with pytest.raises(ValueError, match="probes must be 4, one for each .*, but got 3"):
        attach_probes(network, probes[:3])


def test_the_logit_lens_of_a_language_model() -> None:
    """Without probes, states of a transformer are read by its final norm and its head."""
    torch.manual_seed(0)
    ids = torch.randint(20, (3, 7))
    network = GPT()
    wrapped = wrap(network, ids).eval()
    x = network.tokens(ids) + network.places(torch.arange(7))
    for k, block in enumerate([*network.blocks.eval(), None]):
        expected = network.head(network.norm(x))
        torch.testing.assert_close(wrapped.outputs(ids)[k], expected)
        x = x if block is None else block(x)


def test_read_outs_after_a_norm_of_each_block() -> None:
    """With norms after the sums, a state crosses those of the later blocks, whose branches go."""
    torch.manual_seed(0)
    ids = torch.randint(20, (3, 7))
    network = Encoder(norm_first=False, batch_first=True)
    wrapped = wrap(network, ids, blocks="sums").eval()
    x = wrapped.trajectory(ids).states[3]
    layers: Any = network.eval().encoder.layers
    # The state after the first sum of the second layer.
    x = layers[2].norm2(layers[2].norm1(layers[1].norm2(layers[1].norm1(x))))
    torch.testing.assert_close(wrapped.outputs(ids)[3], network.head(x.mean(1)))


def test_statistics_of_the_states_or_of_the_network() -> None:
    """Both by hand; the profile says whose they are."""
    network, sample = settled(depth=3, widths=(4,))
    head: Any = network.problem.head
    x = network.trajectory(sample.x0).states[1]
    own = network.outputs(sample.x0)[1]
    torch.testing.assert_close(
        own,
        head.fc(((x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True) + 1e-5)
                 .sqrt() * head.bn.weight[:, None, None] + head.bn.bias[:, None, None])
                .relu().mean((2, 3))),
    )  # fmt: skip
    assert depth_profile(network, sample).statistics == "own"
    borrow_statistics(network)
    borrowed = network.outputs(sample.x0)
    torch.testing.assert_close(
        borrowed[1], head.fc(plain_norm(x, head.bn, False).relu().mean((2, 3)))
    )
    assert depth_profile(network, sample).statistics == "network"
    torch.testing.assert_close(borrowed[-1], network(sample.x0))
    assert not torch.allclose(borrowed[1], own)
    collect_statistics(network, [sample.x0])
    torch.testing.assert_close(network.outputs(sample.x0)[1], own)
    assert depth_profile(network, sample).statistics == "own"


def test_statistics_of_a_wrapped_network() -> None:
    torch.manual_seed(0)
    blocks: Any = [Residual(nn.Conv2d(8, 8, 3, padding=1), activation=nn.ReLU()) for _ in range(3)]
    norm = nn.BatchNorm2d(8)
    head = nn.Sequential(norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(6, 2, 5, 5)
    network = wrap(blocks, x, embedding=nn.Conv2d(2, 8, 1), head=head)
    network(x)
    network.eval()
    with pytest.raises(ValueError, match="no batch-norm statistics"):
        network.outputs(x)
    borrow_statistics(network)
    state = network.trajectory(x).states[1]
    torch.testing.assert_close(network.outputs(x)[1], head(state.relu()))
    assert depth_profile(network, Sample(x, torch.arange(6) % 3)).statistics == "network"
