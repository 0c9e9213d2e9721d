"""Depth profiles, pruning, bounds, growing and early exit against plain computations."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ocnet import evaluate, plot, Sample
from ocnet.analysis.bounds import average_bound, loss_bounds, objective_bound
from ocnet.analysis.criteria import at_random, cost_changes, last, least_cost
from ocnet.analysis.depth import depth_profile, DepthProfile
from ocnet.analysis.early_exit import calibrate
from ocnet.analysis.growth import grow, monotone, penalised
from ocnet.analysis.pruning import flops, prune, smallest_depth
from ocnet.analysis.removal import remove_blocks
from ocnet.networks import collect_statistics, Residual, ResNet, SquaredError, wrap
from tests.support.networks import settled


def test_profile_equals_a_plain_computation() -> None:
    network, sample = settled()
    images, labels = sample
    assert labels is not None
    profile = depth_profile(network, sample, batch_size=17)
    outputs, states = network.outputs(images), network.trajectory(images).states
    for k, y in enumerate(outputs):
        assert profile.loss[k] == pytest.approx(F.cross_entropy(y, labels).item())
        assert profile.accuracy[k] == pytest.approx((y.argmax(1) == labels).double().mean().item())
    assert profile.change[2] == pytest.approx((outputs[3] - outputs[2]).norm(dim=1).mean().item())
    x, S = states[3], network.problem.projections[1].map
    gap = (S(x) - states[6]).flatten(1).norm(dim=1) / states[6].flatten(1).norm(dim=1)
    assert profile.distance[3] == pytest.approx(gap.mean().item())
    assert profile.distance[6] == 0
    weights = torch.cat([p.flatten() for p in network.control.layers[4].parameters()]).norm()
    assert profile.weights[4] == pytest.approx(weights.item())
    assert len(profile.table().splitlines()) == 2 + 7


def test_turnpike_rate_of_an_exponential() -> None:
    k = np.arange(11.0)
    distance = np.where(k < 10, 3 * np.exp(-0.4 * k), 0)
    zeros = np.zeros(10)
    profile = DepthProfile(distance, distance, zeros, zeros, distance)
    fit = profile.turnpike
    assert fit is not None and str(fit) == "distance ~ 3 exp(-0.4 k), R^2 = 1.000"
    assert fit.rate == pytest.approx(0.4)
    assert fit.factor == pytest.approx(3)
    assert fit.r2 == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_shallow_network_is_drawn_with_dots(n: int) -> None:
    distance = np.array([0.9, 0.5, 0.0])[2 - n :]
    profile = DepthProfile(np.ones(n + 1), np.ones(n + 1), np.ones(n), np.ones(n), distance)
    assert (profile.turnpike is None) == (n < 2)
    for figure in (plot.depth_outputs, plot.depth_changes, plot.turnpike):
        drawn = figure({"a": profile})
        drawn.canvas.draw()
        for axes in drawn.axes:
            assert axes.lines[0].get_marker() == "o"
            assert all(tick == round(tick) for tick in axes.get_xticks())


def test_pictures_show_every_network() -> None:
    profile = depth_profile(*settled())
    for figure in (plot.depth_outputs, plot.depth_changes, plot.turnpike):
        drawn = figure({"a": profile, "b": profile})
        assert len(drawn.axes[0].lines) >= 2
        drawn.canvas.draw()


def test_a_short_logarithmic_axis_has_ticks() -> None:
    distance = np.array([0.998, 0.96, 0.85, 0.78, 0.54, 0.0])
    profile = DepthProfile(distance, distance, np.ones(5), np.ones(5), distance)
    figure = plot.turnpike({"a": profile})
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    assert sum(low <= tick <= high for tick in figure.axes[0].get_yticks()) >= 4


def test_smallest_depth_within_the_tolerance() -> None:
    accuracy = np.array([0.1, 0.5, 0.896, 0.85, 0.9, 0.9])
    profile = DepthProfile(accuracy, accuracy, accuracy[1:], accuracy[1:], accuracy)
    assert smallest_depth(profile, 0.0) == 4
    assert smallest_depth(profile, 0.5) == 2
    assert smallest_depth(profile, 100.0) == 0
    with pytest.raises(ValueError, match="0 <= tolerance <= 100"):
        smallest_depth(profile, -1.0)


def test_pruning_measures_the_networks() -> None:
    network, sample = settled()
    tuned = []
    pruning = prune(network, sample, sample, 100.0, tune=tuned.append)
    assert pruning.m == 0 and pruning.network.depth == 0
    assert tuned == [pruning.network]
    before, after, _ = pruning.sizes
    assert before.parameters == sum(p.numel() for p in network.parameters())
    assert after.parameters < before.parameters and after.flops < before.flops
    assert before.accuracy == depth_profile(network, sample).accuracy[-1]
    assert "fine-tuned" in pruning.table()


def test_own_heads_do_not_count_as_parameters() -> None:
    network, sample = settled(heads="full")
    (before, *_) = prune(network, sample, sample).sizes
    shared, _ = settled()
    assert before.parameters == sum(p.numel() for p in shared.parameters())


def test_flops_of_a_hand_counted_network() -> None:
    network, sample = settled(depth=1, widths=(3,))
    pixels = 64
    expected = 2 * pixels * 9 * (2 * 3 + 3 * 3 + 3 * 3) + 2 * 3 * 3
    assert flops(network, sample.x0[:1]) == expected


def test_cost_changes_are_derivatives() -> None:
    """By finite differences: `F_k` scaled by `1 - eps` changes the cost by `eps` times as much."""
    network, sample = settled(gamma=0.3)
    changes, eps = cost_changes(network, sample, batch_size=40), 1e-5
    branches: Any = network.control.layers

    def cost() -> float:
        return evaluate(network.problem, network.control, network.solver, sample)[0].mean().item()

    for k in range(network.depth):
        costs = []
        for scale in (1 - eps, 1 + eps):
            with torch.no_grad():
                branches[k].conv2.weight.mul_(scale)
                costs.append(cost())
                branches[k].conv2.weight.div_(scale)
        assert changes[k] == pytest.approx((costs[0] - costs[1]) / (2 * eps), rel=1e-5, abs=1e-9)


def test_removing_blocks_inside_stages() -> None:
    network, sample = settled(depth=9)
    by_cost = remove_blocks(network, 3, least_cost(sample), sample)
    first = cost_changes(network, sample, absolute=True)
    assert by_cost.order[0] == np.argmin(first)
    ends = remove_blocks(network, 4, last, sample, recalibration=[sample.x0])
    assert list(ends.order) == [8, 7, 6, 5]
    assert ends.network.problem.backbone.skips.keys() == {3, 5}
    assert ends.network.depth == 6
    random = at_random(torch.Generator().manual_seed(0))
    everything = remove_blocks(network, 9, random, sample)
    assert sorted(everything.order) == list(range(9))
    assert everything.network.depth == 2
    with pytest.raises(ValueError, match="Only 9 blocks have a branch to remove, but got count=10"):
        remove_blocks(network, 10, last, sample)


def test_a_block_that_changes_the_stage_leaves_its_skip() -> None:
    network, sample = settled(heads="full", gamma=0.1)
    problem: Any = network.problem
    left = network.keep([0, 1, 3, 5])
    outputs, states = left.outputs(sample.x0), network.trajectory(sample.x0).states
    skips, branches = [p.map for p in problem.projections], network.control.layers
    x = skips[0](states[2])
    x = x + branches[3](x)  # pyright: ignore
    x = skips[1](x)
    x = x + branches[5](x)  # pyright: ignore
    torch.testing.assert_close(outputs[-1], problem.head(x))
    torch.testing.assert_close(outputs[:3], network.outputs(sample.x0)[:3])
    torch.testing.assert_close(left(sample.x0), outputs[-1])
    lost = sum(p.numel() for k in (2, 4) for p in branches[k].parameters())
    small_, whole = (prune(net, sample, sample).sizes[0].parameters for net in (left, network))
    assert whole - small_ == lost
    torch.testing.assert_close(left.subresnet(3)(sample.x0), outputs[3])


def test_a_removed_block_leaves_the_others_as_they_are() -> None:
    network, sample = settled()
    with torch.no_grad():
        network.control.layers[3].conv2.weight.zero_()  # pyright: ignore
    rest = network.keep([0, 2, 3, 4, 5])
    zero, _ = settled()
    with torch.no_grad():
        zero.control.layers[1].conv2.weight.zero_()  # pyright: ignore
        zero.control.layers[3].conv2.weight.zero_()  # pyright: ignore
    expected = zero.outputs(sample.x0)
    torch.testing.assert_close(rest.outputs(sample.x0), expected[[0, 2, 3, 4, 5, 6]])


PUBLISHED = [("standard", 1.326, 2.758, 2.507), ("homogeneous", 1.188, 2.470, 2.246)]


@pytest.mark.parametrize(("network", "final", "objective", "average"), PUBLISHED)
def test_bounds_give_the_published_rows(
    network: str, final: float, objective: float, average: float
) -> None:
    """M = 0, N = 54, gamma = 0.02 of arXiv 2506.21453, which follow from Lbar alone."""
    assert objective_bound([], [], final, 0.02, 54) == pytest.approx(objective, abs=2e-3)
    assert average_bound([], final, 0.02, 54) == pytest.approx(average, abs=2e-3)


def test_bounds_by_hand() -> None:
    assert objective_bound([2.0, 1.0], [0.1, 0.2], 0.5, 0.1, 5) == pytest.approx(
        0.1 * 3 + 0.3 + (1 + 0.1 * 3) * 0.5
    )
    assert average_bound([2.0, 1.0], 0.5, 0.1, 5) == pytest.approx(
        0.5 + (3 + (1 - 0.1 - 0.2) / 0.1 * 0.5) / 6
    )
    with pytest.raises(ValueError, match="M <= N, but got M=2 and N=1"):
        objective_bound([1.0, 1.0], [0.0, 0.0], 1.0, 0.1, 1)
    with pytest.raises(ValueError, match="gamma > 0"):
        average_bound([], 1.0, 0.0, 3)


class Shift(torch.nn.Module):
    """A residual branch that adds a vector: the network is linear in its weights."""

    def __init__(self, n: int):
        super().__init__()
        self.b = torch.nn.Parameter(torch.zeros(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b.expand_as(x)


def test_theorem_1_holds_on_a_trained_pair() -> None:
    """`x_{k+1} = x_k + w_k` and squared error are convex: L-BFGS reaches both optima."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(30, 4, generator=generator)
    sample = Sample(images, torch.randint(3, (30,), generator=generator))
    head = torch.nn.Linear(4, 3).requires_grad_(False)
    gamma, decay, N = 0.1, 0.05, 8

    def trained(depth: int, gamma: float) -> ResNet:
        embedding = torch.nn.Linear(4, 4).requires_grad_(False)
        torch.nn.init.eye_(embedding.weight)
        torch.nn.init.zeros_(embedding.bias)
        blocks = [Residual(Shift(4)) for _ in range(depth)]
        network = wrap(
            blocks, images, embedding=embedding, head=head, loss=SquaredError(), gamma=gamma
        )
        optimizer = torch.optim.LBFGS(
            network.control.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            J = penalised(network, sample, decay)
            J.backward()
            return J

        optimizer.step(closure)  # pyright: ignore
        gradients = torch.cat([p.grad for p in network.control.parameters()])  # pyright: ignore
        assert gradients.norm() < 1e-7
        collect_statistics(network, [images])
        return network.eval()

    shallow = {m: trained(m, 0.0) for m in range(1, N + 1)}
    found = loss_bounds(trained(N, gamma), sample, gamma, decay, shallow)
    assert [row.m for row in found.rows] == list(range(1, N + 1))
    assert all(found.objective <= row.objective + 1e-10 for row in found.rows)
    # The bound is not an empty one: the deepest network comes near it.
    assert min(row.objective for row in found.rows) < 1.5 * found.objective
    assert "below 8 of 8 bounds" in found.verdict and "only evaluated" in found.verdict


@pytest.mark.parametrize("blocks", [8, (6, 4, 3)])
@pytest.mark.parametrize("m", [2, 6])
def test_a_grown_network_starts_at_its_bound_and_never_exceeds_it(m: int, blocks: Any) -> None:
    gamma, decay = 0.1, 1e-3
    shape = (m, 0, 0) if blocks != 8 else (2, m - 2, 0)
    shallow, sample = settled(blocks=shape)
    grown = grow(shallow, blocks, gamma, torch.Generator().manual_seed(0)).eval()
    outputs = grown.outputs(sample.x0)
    torch.testing.assert_close(outputs[: m + 1], shallow.outputs(sample.x0))
    for y in outputs[m:]:
        torch.testing.assert_close(y, outputs[m])
    own = loss_bounds(grown, sample, gamma, decay, {m: shallow}, certified=True)
    new: Any = grown.control.layers[m:]
    rest = sum(float(p.square().sum().detach()) for p in new.parameters())
    bound = own.rows[0].objective + decay / 2 * rest
    start = penalised(grown, sample, decay).item()
    assert start == pytest.approx(bound)
    history = list(itertools.islice(monotone(grown, sample, decay), 6))
    assert history[0] == pytest.approx(start)
    assert all(b <= a for a, b in itertools.pairwise(history))
    assert history[-1] < history[0]
    assert penalised(grown, sample, decay).item() <= bound
    assert "certified: the network was grown" in own.verdict


def test_growing_bad_input() -> None:
    shallow, sample = settled(blocks=(2, 0, 0))
    with pytest.raises(ValueError, match="M <= N, but got M=2 and N=1"):
        grow(shallow, 1)
    with pytest.raises(ValueError, match="does not begin with"):
        grow(shallow, (1, 4, 0))
    assert "only evaluated" in loss_bounds(shallow, sample, 0.1).verdict


def test_early_exit_leaves_when_it_is_sure() -> None:
    network, sample = settled()
    outputs = network.outputs(sample.x0)
    exits = calibrate(network, sample)
    probabilities = (outputs / exits.temperatures[:, None, None]).softmax(-1)
    sure, label = probabilities.max(-1)
    confidence = sure.median().item()
    found = exits.predict(sample.x0, confidence)
    for i in range(len(sample.x0)):
        above = (sure[:, i] >= confidence).nonzero().flatten().tolist()
        k = above[0] if above else network.depth
        assert found.depth[i] == k
        assert found.label[i] == label[k, i]
        torch.testing.assert_close(found.probability[i], sure[k, i])
    assert exits.predict(sample.x0, 0.0).depth.max() == 0
    assert "average depth" in exits.table(sample)
    with pytest.raises(ValueError, match="0 <= confidence <= 1"):
        exits.predict(sample.x0, 1.5)


def test_calibration_minimises_the_cross_entropy() -> None:
    network, sample = settled()
    assert sample.target is not None
    exits, outputs = calibrate(network, sample), network.outputs(sample.x0).detach()
    for k, T in enumerate(exits.temperatures.tolist()):

        def loss(T: float, k: int = k) -> float:
            return F.cross_entropy(outputs[k] / T, sample.target).item()  # pyright: ignore

        if 0.02 < T < 50:
            # Else the optimum lies beyond the search's bounds.
            assert loss(T) <= min(loss(1.02 * T), loss(T / 1.02), loss(1.0)) + 1e-9
