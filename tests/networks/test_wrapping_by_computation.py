"""`wrap` understands networks by what they compute: kinds of networks, changed networks, proof."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

from ocnet.networks import wrap
from tests.support.wrapped import Encoder, GPT, mlps, Plain


torchvision = pytest.importorskip("torchvision")
models = torchvision.models


@pytest.fixture(autouse=True)
def single_precision() -> Any:
    """As networks are used; the proof of `wrap` goes to double precision by itself."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def images(n: int = 2, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def ids(n: int = 2, length: int = 8) -> Tensor:
    return torch.randint(20, (n, length), generator=torch.Generator().manual_seed(1))


def agree(network: nn.Module, x: Tensor, depth: int, **options: Any) -> Any:
    """Wraps a copy, and compares outputs and gradients with the network itself in both modes."""
    mine = copy.deepcopy(network)
    wrapped = wrap(mine, x, **options)
    assert wrapped.depth == depth
    # In double precision, where rounding is far from the differences that count.
    network, mine, wrapped = copy.deepcopy((network, mine, wrapped))
    x = x.double() if x.is_floating_point() else x
    for part in (network, mine, wrapped):
        part.double()
    for training in (False, True):
        outcomes = []
        for module, owner in ((network, network), (wrapped, mine)):
            module.train(training)
            torch.manual_seed(3)
            y = module(x)
            y = getattr(y, "logits", y)
            weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)
            used = [p for p in owner.parameters() if p.requires_grad]
            grads = torch.autograd.grad((y * weights).sum(), used, allow_unused=True)
            outcomes.append((y, grads, list(owner.buffers())))
        (y, grads, buffers), (y_w, grads_w, buffers_w) = outcomes
        torch.testing.assert_close(y_w, y)
        for g_w, g in zip(grads_w, grads, strict=True):
            assert (g_w is None) == (g is None)
            if g is not None:
                torch.testing.assert_close(g_w, g, rtol=1e-6, atol=1e-9 * float(1 + g.abs().max()))
        for b_w, b in zip(buffers_w, buffers, strict=True):
            torch.testing.assert_close(b_w, b)
    return wrapped


def vision_transformer() -> nn.Module:
    return models.VisionTransformer(16, 8, 12, 2, 16, 32, dropout=0.1, num_classes=5)


KINDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: models.resnet18(num_classes=5), 8),
    "regnet": (lambda: models.regnet_y_400mf(num_classes=5), 16),
    "convnext": (lambda: models.convnext_tiny(num_classes=5), 18),
    "efficientnet": (lambda: models.efficientnet_b0(num_classes=5), 9),
}
"""Stages, grouped convolutions, squeeze-excite, layer scale, stochastic depth."""

LARGE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet34": (lambda: models.resnet34(num_classes=5), 16),
    "resnet50": (lambda: models.resnet50(num_classes=5), 16),
    "resnet101": (lambda: models.resnet101(num_classes=5), 33),
    "resnet152": (lambda: models.resnet152(num_classes=5), 50),
    "wide_resnet50_2": (lambda: models.wide_resnet50_2(num_classes=5), 16),
    "resnext50": (lambda: models.resnext50_32x4d(num_classes=5), 16),
    "swin_t": (lambda: models.swin_t(num_classes=5), 12),
}


@pytest.mark.parametrize("name", KINDS)
def test_networks_of_torchvision(name: str) -> None:
    make, depth = KINDS[name]
    assert wrap(make(), images()).depth == depth


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_larger_networks_of_torchvision(name: str) -> None:
    make, depth = LARGE[name]
    assert wrap(make(), images()).depth == depth


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet152", "vit_b_16", "swin_t"])
def test_networks_in_full_size(name: str) -> None:
    depth = {"resnet152": 50, "vit_b_16": 12, "swin_t": 12}[name]
    assert wrap(getattr(models, name)(), images(2, 224)).depth == depth


def test_a_vision_transformer_has_layers_or_sums() -> None:
    network, x = vision_transformer(), images(2, 16)
    agree(network, x, 12)
    agree(network, x, 24, blocks="sums")
    some: Any = network.encoder.layers  # pyright: ignore[reportAttributeAccessIssue]
    assert wrap(network, x, blocks=[some[0], "encoder.layers.encoder_layer_5"]).depth == 2


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoders_of_torch(norm_first: bool, batch_first: bool) -> None:
    network = Encoder(norm_first, batch_first)
    agree(network, ids(), 3)
    wrapped = agree(network, ids(), 6, blocks="sums")
    # The batch comes first in all states, whatever the network does inside.
    assert {tuple(x.shape) for x in wrapped.trajectory(ids(5)).states[:7]} == {(5, 8, 16)}


def test_a_language_model_written_plainly() -> None:
    """Tied weights, a causal mask, dropout that is a function of `self.training`."""
    network = GPT()
    wrapped = agree(network, ids(), 3)
    agree(network, ids(), 6, blocks="sums")
    wrapped.eval()
    assert wrapped.outputs(ids(4)).shape == (4, 4, 8, 20)


def test_a_plain_loop() -> None:
    agree(Plain(mlps(5)), torch.randn(3, 4), 5)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3))).sigmoid()[..., None, None]


class Gated(models.resnet.BasicBlock):
    """A block with squeeze-excite before the sum."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.gate = Gate(self.conv2.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(self.gate(y) + shortcut)


class Dropped(models.resnet.BasicBlock):
    """A block with dropout in its branch, and stochastic depth."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.dropout(self.relu(self.bn1(self.conv1(x))), 0.3, self.training)
        y = torchvision.ops.stochastic_depth(self.bn2(self.conv2(y)), 0.5, "row", self.training)
        y += shortcut
        return self.relu(y)


class Normalising(models.ResNet):
    """An own `forward` that normalises images and returns log-probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - 0.5) / 0.25).log_softmax(-1)


def with_activation(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose rectifiers are all replaced."""
    network = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    for module in list(network.modules()):
        if hasattr(module, "relu"):
            module.relu = make()
    return network


BASIC = models.resnet.BasicBlock
CHANGED: dict[str, Callable[[], nn.Module]] = {
    "SiLU": lambda: with_activation(lambda: nn.SiLU(inplace=True)),
    "LeakyReLU": lambda: with_activation(lambda: nn.LeakyReLU(0.2, inplace=True)),
    "squeeze-excite": lambda: models.ResNet(Gated, [1, 1, 1, 1], num_classes=5),
    "dropout": lambda: models.ResNet(Dropped, [1, 1, 1, 1], num_classes=5),
    "own forward": lambda: Normalising(BASIC, [1, 1, 1, 1], num_classes=5),
    "frozen": lambda: models.ResNet(
        BASIC, [1, 1, 1, 1], 5, norm_layer=torchvision.ops.FrozenBatchNorm2d
    ),
    "GroupNorm": lambda: models.ResNet(
        BASIC, [1, 1, 1, 1], 5, norm_layer=lambda width: nn.GroupNorm(8, width)
    ),
}
"""Networks that are torchvision's by their attributes, but compute something else."""


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_computed_counts_and_not_the_names(name: str) -> None:
    network = CHANGED[name]()
    wrapped = agree(network, images(), 4)
    if name in ("frozen", "GroupNorm"):
        # Norms without running statistics: there is nothing to collect.
        assert wrapped.eval().outputs(images().double()).shape == (5, 2, 5)


class Frozen(models.ResNet):
    """A network that keeps its first norm in evaluation mode."""

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.bn1.eval()
        return self


def test_what_the_network_keeps_in_evaluation_mode_stays_there() -> None:
    network = Frozen(BASIC, [1, 1, 1, 1], num_classes=5)
    wrapped = agree(network, images(), 4)
    norms = [m for m in wrapped.train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(not norm.training for norm in norms) == 1


class Branching(nn.Module):
    """Whose number of layers is Python's business, and whose state is changed in place."""

    def __init__(self, after: nn.Module):
        super().__init__()
        self.blocks = nn.ModuleList(mlps(3))
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2 and len(x) > 0:
            for i, block in enumerate(self.blocks):
                x = self.after(x + block(x)) if i % 2 else x.add(block(x)).mul_(2)
        return x[..., :3]


def test_what_changes_its_input_in_place() -> None:
    agree(Branching(nn.LeakyReLU(0.3, inplace=True)), torch.randn(3, 8), 3)
    agree(Branching(nn.Dropout(0.3, inplace=True)), torch.randn(3, 8), 3)
    # Nor are the states changed that were already computed, which others read.
    network, x = Branching(nn.LeakyReLU(0.3, inplace=True)).eval(), torch.randn(3, 8)
    wrapped = wrap(network, x)
    outputs = wrapped.outputs(x)
    network.after = nn.LeakyReLU(0.3)
    torch.testing.assert_close(outputs, wrap(network, x).outputs(x))
    z = wrapped.trajectory(x).states[2]
    assert bool((z < 0).any()) and z.equal(wrapped.trajectory(x).states[2])
    torch.testing.assert_close(wrapped.read([2], [z])[0], outputs[2])


class Statistics(nn.Module):
    """A norm of the sum: it follows statistics, and comes before shortcut and branch."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlps(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(3))
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = self.drop(norm(x + block(x)))
        return x


def test_what_follows_a_sum_is_computed_once() -> None:
    """Twice would draw two masks and follow the statistics twice."""
    agree(Statistics(), torch.randn(6, 8), 3)


class Parallel(nn.Module):
    """Attention and perceptron next to each other: a sum of three terms."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(8), *mlps(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.a(y) + self.b(y)


def test_a_sum_of_three_terms() -> None:
    agree(nn.Sequential(nn.Linear(4, 8), Parallel(), Parallel()), torch.randn(3, 4), 2)


def test_a_block_that_is_used_several_times() -> None:
    block = mlps(1)[0]
    agree(Plain([block, block, block]), torch.randn(3, 4), 3)


class Typed(Plain):
    """Looks at the type of its input, which torch.fx cannot record."""

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError("not a tensor")
        return super().forward(x)


def test_what_only_torch_export_records() -> None:
    """In both modes, for any batch size, with parameters that are the network's own."""
    blocks: list[nn.Module] = [
        nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Tanh()) for _ in range(3)
    ]
    network = Typed(blocks)
    wrapped = agree(network, torch.randn(3, 4), 3)
    assert wrapped.eval().outputs(torch.randn(5, 4).double()).shape == (4, 5, 5)
    mine = wrap(network, torch.randn(3, 4))
    assert {id(p) for p in mine.parameters()} == {id(p) for p in network.parameters()}


def test_nothing_of_the_network_changes() -> None:
    network = vision_transformer()
    network.encoder.layers[3].eval()  # pyright: ignore
    images_before = images(2, 16)
    network(images_before).sum().backward()
    before = copy.deepcopy(network.state_dict())
    gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    modes = [m.training for m in network.modules()]
    random = torch.get_rng_state()
    network_2 = models.resnet18(num_classes=5)
    before_2 = copy.deepcopy(network_2.state_dict())
    torch.set_rng_state(random)
    x = images(2, 16)
    wrap(network, x)
    wrap(network_2, images())
    assert torch.get_rng_state().equal(random)
    assert x.equal(images_before)
    for old, new in ((before, network.state_dict()), (before_2, network_2.state_dict())):
        assert all(value.equal(new[name]) for name, value in old.items())
    assert [m.training for m in network.modules()] == modes
    for p, g in zip(network.parameters(), gradients, strict=True):
        if p.grad is None or g is None:
            assert p.grad is g
        else:
            assert p.grad.equal(g)


def hooked() -> nn.Module:
    network: Any = models.resnet18(num_classes=5)
    network.layer2[0].register_forward_hook(lambda m, x, y: 2 * y)
    return network


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(8, 4), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([x, self.a(x)], 1)
        return self.c(torch.cat([y, self.b(y)], 1))


class Data(Plain):
    """Computes what the values say."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 1e9 else super().forward(-x)


class Fixed(Plain):
    """Knows the size of its batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(2, 4))


class Aliased(nn.Module):
    """Adds to a view of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlps(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
            x[:, :2].add_(1)
        return x


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (hooked, images(), "cannot carry the hooks of layer2.0: remove"),
        (Dense, torch.ones(2, 4), "no residual stack in this Dense"),
        (lambda: nn.Linear(4, 4), torch.ones(2, 4), "no residual stack in this Linear"),
        (lambda: Data(mlps()), torch.ones(2, 4), "depend"),
        (lambda: Fixed(mlps()), torch.ones(2, 4), "shape '\\[2, 4\\]'|batch"),
        (Aliased, torch.ones(2, 8), "not reproduce this network: .* evaluation mode the outputs"),
        (lambda: Plain(mlps()), torch.ones(2, 7), r"refuses example_input of shape \(2, 7\)"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(make: Any, x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        wrap(make(), x.float())
    assert "\n" not in str(error.value)


def test_wrong_blocks_are_refused() -> None:
    network = Plain(mlps())
    with pytest.raises(ValueError, match=r"blocks\[0\] is not a part of the network: layers.7"):
        wrap(network, torch.ones(2, 4).float(), blocks=["layers.7"])
    with pytest.raises(ValueError, match="blocks must be .*'each'"):
        wrap(network, torch.ones(2, 4).float(), blocks="each")
    with pytest.raises(ValueError, match="no residual stack"):
        wrap(network, torch.ones(2, 4).float(), blocks=[network.head])
