"""The stage cost and its read-outs against the plain definition."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

from ocnet import Euler, evaluate, Heun, RK4, Sample, Solver, TorchDiffEq, training
from ocnet.analysis.bounds import loss_bounds
from ocnet.analysis.depth import depth_profile
from ocnet.analysis.early_exit import calibrate
from ocnet.analysis.pruning import prune
from ocnet.networks import (
    collect_statistics,
    CrossEntropy,
    load_network,
    ResNet,
    save_network,
    SquaredError,
)
from ocnet.networks.chained import ChainedReadOuts
from ocnet.networks.grouped import OwnReadOuts
from ocnet.solver.running_cost import RunningCost
from tests.support.networks import batch, margin, plain_norm, small


NETS = [
    {"depth": 6, "widths": (3, 4, 5)},
    {"blocks": (3, 2, 0), "widths": (3, 4, 5), "size": (9, 7)},
    {"depth": 10, "widths": (4,)},
    {"depth": 6, "widths": (4, 4, 4)},
]
GAMMA = [0.0, 0.5, 0.1, 0.3, 0.2, 0.7, 0.4, 0.2, 0.1, 0.6]


def plain_read_out(network: ResNet, k: int, x: Tensor) -> Tensor:
    """`E_k(x_k)`: through every later skip, with statistics of the batch, and own heads if any."""
    problem: Any = network.problem
    kernels = [p.map.weight for p in problem.projections if p.start >= k]
    kernels += [skip.weight for skip in problem.head.skips]
    bn, fc = problem.head.bn, problem.head.fc
    if isinstance(problem.readouts, OwnReadOuts) and problem.gamma[k]:
        own: Any = problem.readouts.own[k]
        kernels, bn, fc = [skip.weight for skip in own["skips"]], own["bn"], own["fc"]
    for kernel in kernels:
        x = F.conv2d(x, kernel, stride=2)
    return plain_norm(x, bn, True).relu().mean((2, 3)) @ fc.weight.T + fc.bias


def perturb(network: ResNet) -> ResNet:
    """Own heads that differ from each other."""
    with torch.no_grad():
        for p in network.problem.readouts.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    return network


@pytest.mark.parametrize("heads", ["WS", "full"])
@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1), SquaredError(), margin])
@pytest.mark.parametrize("net", NETS)
def test_cost_and_gradients_equal_the_plain_definition(net: dict, loss: Any, heads: str) -> None:
    network = perturb(small(heads=heads, loss=loss, **net))
    gamma = GAMMA[: network.depth]
    network.problem.gamma = gamma
    reference = copy.deepcopy(network)
    sample = batch(network)
    cost, _ = evaluate(network.problem, network.control, network.solver, sample)
    cost.mean().backward()

    states = reference.trajectory(sample.x0).states
    expected = loss(reference.problem.head(states[-1]), sample.target)
    for k, x in enumerate(states[:-1]):
        expected = expected + gamma[k] * loss(plain_read_out(reference, k, x), sample.target)
    torch.testing.assert_close(cost, expected)
    expected.mean().backward()
    mine = dict(network.named_parameters())
    for name, q in reference.named_parameters():
        torch.testing.assert_close(mine[name].grad, q.grad, msg=name)


def trained_by(optimizer: torch.optim.Optimizer, network: ResNet, steps: int = 3) -> ResNet:
    batches = [batch(network, seed=seed) for seed in range(steps)]
    for _ in training(network.problem, network.control, network.solver, optimizer, batches):
        pass
    return network


@pytest.mark.parametrize("gamma", [0.02, [0.5, 0.1, 0.3, 0.2, 0.7, 0.4]])
def test_own_heads_learn_at_lr_over_gamma(gamma: Any) -> None:
    """SGD with momentum and weight decay, against groups written out for a plain `J_N`."""
    net = {"heads": "full", "depth": 6, "widths": (3, 4, 5), "gamma": gamma}
    network, reference = perturb(small(**net)), perturb(small(**net))
    groups = network.parameter_groups(0.01, weight_decay=0.2)
    trained_by(torch.optim.SGD(groups, 0.01, momentum=0.9), network)

    gammas = reference.problem.gamma
    problem: Any = reference.problem
    rest = [problem.embedding, problem.projections, problem.head]
    optimizer = torch.optim.SGD(
        [
            {"params": reference.control.parameters(), "lr": 0.01, "weight_decay": 0.2},
            {"params": [p for module in rest for p in module.parameters()], "lr": 0.01},
            *({"params": problem.readouts.own[k].parameters(), "lr": 0.01 / gammas[k]}
              for k in range(6)),
        ],
        momentum=0.9,
    )  # fmt: skip
    for seed in range(3):
        images, labels = batch(reference, seed=seed)
        assert labels is not None
        states = reference.trajectory(images).states
        J = F.cross_entropy(reference.problem.head(states[-1]), labels)
        for k, x in enumerate(states[:-1]):
            J = J + gammas[k] * F.cross_entropy(plain_read_out(reference, k, x), labels)
        optimizer.zero_grad()
        J.backward()
        optimizer.step()
    mine = dict(network.named_parameters())
    for name, q in reference.named_parameters():
        torch.testing.assert_close(mine[name], q, msg=name)


def test_parameter_groups_hold_every_parameter_once() -> None:
    for heads, more in (("WS", 0), ("full", 6)):
        network = small(heads=heads, depth=6, widths=(3, 4, 5), gamma=lambda k: 0.1 * k)
        groups = network.parameter_groups(0.1)
        ids = [id(p) for group in groups for p in group["params"]]
        assert sorted(ids) == sorted(map(id, network.parameters()))
        assert len(groups) == 2 + more
    assert [group["lr"] for group in groups[2:4]] == [0.1, pytest.approx(1.0)]


@pytest.mark.parametrize("heads", ["WS", "full"])
@pytest.mark.parametrize("net", NETS)
def test_grouped_read_outs_equal_chained_ones(net: dict, heads: str) -> None:
    """In both modes, and in the statistics that they leave behind."""
    network = small(heads=heads, gamma=0.1, **net)
    # Some heads rest, the first stage's first among them.
    network.problem.gamma = lambda k: 0.1 * (k % 2)
    problem: Any = network.problem
    chained = ChainedReadOuts(network.depth, problem.backbone, own=heads == "full")
    ks = range(network.depth)
    chained.resting = problem.readouts.resting
    if heads == "full":
        chained.chains = nn.ModuleList(problem.readouts.alone(problem.backbone, k) for k in ks)
    images, _ = batch(network)
    for training_mode in (True, True, False):
        network.train(training_mode)
        chained.train(training_mode)
        xs = network.trajectory(images).states[:-1]
        grouped = problem.readouts(problem.backbone, ks, xs)
        torch.testing.assert_close(grouped, chained(problem.backbone, ks, xs))
    assert problem.readouts.batches.tolist() == [2] * network.depth
    for k, module in enumerate(chained.chains):
        torch.testing.assert_close(problem.readouts.var[k], list(module.modules())[-2].running_var)


@pytest.mark.parametrize("heads", ["WS", "full"])
@pytest.mark.parametrize("net", NETS)
def test_half_precision_is_near(net: dict, heads: str) -> None:
    """And the read-outs' statistics stay in the precision of the parameters."""
    network = small(heads=heads, gamma=0.1, **net)
    sample = batch(network, n=32)
    costs, gradients = [], []
    for dtype in (None, torch.bfloat16):
        network.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            cost, _ = evaluate(network.problem, network.control, network.solver, sample)
        cost.mean().backward()
        costs.append(cost.double())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # pyright: ignore
    torch.testing.assert_close(costs[1], costs[0], rtol=0.02, atol=0.05)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98
    assert network.problem.readouts.var.dtype == torch.get_default_dtype()


def test_running_cost_is_the_sum_of_stage_costs() -> None:
    network = small(depth=6, widths=(3, 4, 5), gamma=0.3)
    images, labels = batch(network)
    xs = network.trajectory(images).states[:-1]
    running = RunningCost(network.problem, labels)
    for k, x in enumerate(xs):
        running.add(k, 0.5 + k, float(k), torch.tensor(float(k)), x, network.control.layers[k])
    together = running.total()
    l = network.problem.stage_cost
    alone = sum(w * l(t, x, u, labels) for _, w, _, t, x, u, _ in running.nodes)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("solver", "read"),
    [
        (RK4(6), "it at t=0.5"),
        (Heun(6), "it at t=1 in step 0"),
        (Euler(3), "it at t=2 in step 1"),
        (TorchDiffEq("dopri5"), "it at t=0."),
    ],
    ids=repr,
)
def test_only_euler_reads_the_states_that_the_stage_cost_is_of(solver: Solver, read: str) -> None:
    network = small(depth=6, widths=(4,), gamma=0.1)
    problem = network.problem
    with pytest.raises(ValueError, match=rf"take Euler\(6\), not a solver that reads {read}"):
        evaluate(problem, network.control, solver, batch(network))
    images, _ = batch(network)
    solver.solve(problem, network.control, problem.embed(images))


def test_without_stage_cost_training_is_plain_training_to_the_bit() -> None:
    network = small(depth=6, widths=(3, 4, 5), gamma=0.0)
    plain = copy.deepcopy(network)
    batches = [batch(network, seed=seed) for seed in range(3)]
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in training(network.problem, network.control, network.solver, optimizer, batches):
        pass
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9)
    for images, labels in batches:
        assert labels is not None
        optimizer.zero_grad()
        F.cross_entropy(plain(images), labels, reduction="none").mean().backward()
        optimizer.step()
    for (name, p), q in zip(network.state_dict().items(), plain.state_dict().values(), strict=True):
        assert p.equal(q), name


def test_gamma_may_change_between_steps() -> None:
    network = small(depth=6, widths=(3, 4, 5), gamma=lambda k: 0.1 * k)
    sample = batch(network)

    def cost() -> Tensor:
        return evaluate(network.problem, network.control, Euler(6), sample)[0]

    assert network.problem.gamma == pytest.approx((0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    first = cost()
    network.problem.gamma = 0
    last = cost()
    network.problem.gamma = lambda k: 0.2 * k
    torch.testing.assert_close(cost() - last, 2 * (first - last))


@pytest.mark.parametrize("heads", ["WS", "full"])
@pytest.mark.parametrize("net", NETS)
def test_subresnet_gives_the_intermediate_output(net: dict, heads: str) -> None:
    network = perturb(small(heads=heads, gamma=0.1, **net))
    images, labels = batch(network)
    evaluate(network.problem, network.control, network.solver, Sample(images, labels))
    outputs = network.eval().outputs(images)
    for m in range(network.depth + 1):
        sub = network.subresnet(m, own_heads=True)
        torch.testing.assert_close(sub(images), outputs[m])
        torch.testing.assert_close(sub.outputs(images), outputs[: m + 1])
        assert sub.depth == m
        assert not {id(p) for p in sub.parameters()} & {id(p) for p in network.parameters()}


GAMMAS = [0.0, (0.0, 0.2, 0.0, 0.1, 0.0, 0.3)]
"""No head is trained, or some are."""


def resting(network: ResNet) -> tuple[ResNet, ResNet]:
    """A network with own heads, and the same one whose heads share the backbone's weights.

    Both have seen a batch in training mode.
    """
    own, shared = perturb(network), small(depth=6, widths=(3, 4, 5), gamma=network.problem.gamma)
    names = shared.state_dict().keys()
    shared.load_state_dict({k: v for k, v in own.state_dict().items() if k in names})
    for one in (own, shared):
        collect_statistics(one, [batch(one).x0])
        one.eval()
    return own, shared


@pytest.mark.parametrize("gamma", GAMMAS)
def test_heads_without_weight_rest(gamma: Any) -> None:
    """The backbone reads out in their place, and no gradient reaches them."""
    own, shared = resting(small(heads="full", depth=6, widths=(3, 4, 5), gamma=gamma))
    images, labels = batch(own)
    rest = [k for k, weight in enumerate(own.problem.gamma) if not weight]
    y, z = own.outputs(images), shared.outputs(images)
    for k in range(6):
        assert torch.allclose(y[k], z[k], atol=1e-5) == (k in rest)
        few = own.subresnet(k, own_heads=True)
        torch.testing.assert_close(few(images), y[k])
        if k in rest:
            torch.testing.assert_close(few.outputs(images), y[: k + 1])
        elif k > 0:
            # The head of its last state now reads out where others rest.
            with pytest.raises(ValueError, match="no batch-norm statistics"):
                few.outputs(images)
    own.train()
    evaluate(own.problem, own.control, own.solver, Sample(images, labels))[0].mean().backward()
    for k in range(6):
        grads = [p.grad for p in own.problem.readouts.own_parameters(k)]
        assert all((g is None) == (k in rest) for g in grads)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_analysis_sees_no_resting_head(gamma: Any, tmp_path: Path) -> None:
    own, shared = resting(small(heads="full", depth=6, widths=(3, 4, 5), gamma=gamma))
    sample = batch(own, n=20)
    rest = [k for k, weight in enumerate(own.problem.gamma) if not weight] + [6]
    loss = depth_profile(own, sample).loss
    assert loss[rest] == pytest.approx(depth_profile(shared, sample).loss[rest])
    found = [row.final_loss for row in loss_bounds(own, sample, 0.1).rows]
    assert found == pytest.approx(loss)
    save_network(own, tmp_path / "own.safetensors")
    again = load_network(tmp_path / "own.safetensors")
    torch.testing.assert_close(again.outputs(sample.x0), own.outputs(sample.x0))
    small_one = own.keep([1, 2, 4])
    assert small_one.problem.readouts.resting == {k for k, j in enumerate((1, 2, 4)) if j in rest}
    if not any(own.problem.gamma):
        assert prune(own, sample, sample).m == prune(shared, sample, sample).m
        one, two = (calibrate(net, sample).predict(sample.x0, 0.4) for net in (own, shared))
        assert one.depth.equal(two.depth) and one.label.equal(two.label)


def test_identity_lemma() -> None:
    """`F_k = 0` for `k >= M` makes all later outputs the same."""
    network = small(depth=6, widths=(3, 4, 5))
    branches: Any = network.control.layers
    with torch.no_grad():
        for branch in branches[3:]:
            branch.conv2.weight.zero_()
    images, _ = batch(network)
    network.eval()
    collect_statistics(network, [images])
    # The head follows training batches, the read-outs saw this one: normalise alike.
    problem: Any = network.problem
    head, readouts = problem.head, problem.readouts
    head.bn.running_mean.copy_(readouts.mean[3])
    head.bn.running_var.copy_(readouts.var[3])
    outputs = network.outputs(images)
    for k in range(4, 7):
        torch.testing.assert_close(outputs[k], outputs[3])
    assert not torch.allclose(outputs[2], outputs[3])


def test_collected_statistics_average_the_batches() -> None:
    network = small(depth=6, widths=(3, 4, 5))
    problem: Any = network.problem
    batches = [batch(network, seed=seed).x0 for seed in range(3)]
    network.train()(batches[0])
    backbone = copy.deepcopy(network.state_dict())
    collect_statistics(network, batches)
    assert network.training
    network.eval()
    states = [network.trajectory(images).states[-2] for images in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in states]).mean(0)
    var = torch.stack([x.var((0, 2, 3)) for x in states]).mean(0)
    torch.testing.assert_close(problem.readouts.mean[5], mean)
    torch.testing.assert_close(problem.readouts.var[5], var)
    for name, value in network.state_dict().items():
        if "readouts" not in name:
            assert value.equal(backbone[name]), name
    with pytest.raises(ValueError, match="at least one batch"):
        collect_statistics(network, [])
