"""Existing residual networks as controlled systems, without rewriting them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn, Tensor

from .._arguments import check_kind
from ..control import Layers
from ..cost import Loss
from ..modes import mode
from .chained import ChainedReadOuts
from .network import Heads, ResNet
from .problem import Classifier, Gamma, Parts
from .readouts import Backbone


class Residual(nn.Module):
    """One block of a stack, `activation(shortcut(x) + branch(x))`, described by its parts.

    Arguments:
        branch: The residual branch.
        shortcut: What runs parallel to it; the identity if None.
        activation: What follows the sum; nothing if None, as with pre-activation.
    """

    def __init__(
        self,
        branch: nn.Module,
        shortcut: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.branch: nn.Module = branch
        self.shortcut: nn.Module = nn.Identity() if shortcut is None else shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """The next state, shape `(batch, channels, ...)`, from `x` of the same kind."""
        y = self.shortcut(x) + self.branch(x)
        return y if self.activation is None else self.activation(y)


class After(nn.Module):
    """`module(activation(z))`: the state of a wrapped network is the sum before its activation."""

    def __init__(self, activation: Callable[[Tensor], Tensor] | None, module: nn.Module):
        super().__init__()
        self.activation = activation
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        return self.module(z if self.activation is None else self.activation(z))


class TorchvisionBranch(nn.Module):
    """The branch of a block of torchvision's ResNet: its convolutions up to the sum."""

    def __init__(self, block: Any):
        super().__init__()
        pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if hasattr(block, "conv3"):
            pairs.append((block.conv3, block.bn3))
        self.pairs: nn.ModuleList = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for i, (conv, bn) in enumerate(self.pairs):  # pyright: ignore
            x = bn(conv(torch.relu(x) if i else x))
        return x


def wrap(
    network: nn.Module | Sequence[nn.Module],
    embedding: nn.Module | None = None,
    head: nn.Module | None = None,
    *,
    image_shape: tuple[int, ...] = (3, 224, 224),
    heads: Heads = "WS",
    loss: Loss | None = None,
    gamma: Gamma = 0.0,
) -> ResNet:
    r"""A residual network that exists already, with the read-outs of every block's state.

    The parts are used as they are and share the parameters: training the wrapped network trains
    the given one, and with `gamma = 0` does so to the bit. Where an activation follows the sum,

    $$ z_{k+1} = S_k(\sigma(z_k)) + F_k(\sigma(z_k)), $$

    the state is the sum before it, and the skip `S_k` after it counts as the projection map.

    Arguments:
        network: torchvision's `resnet18`, `resnet34`, `resnet50` or another one of its kind; or
            the blocks of any network, each a `Residual`.
        embedding: With blocks: what comes before them.
        head: With blocks: what comes after them, the last activation not included.
        image_shape: The shape of the images that it takes.
        heads: "WS" if the read-outs share the network's weights, "full" if each has its own.
        loss: The loss per sample, `(logits, labels) -> (batch,)`.
        gamma: The weight of the stage cost: a number, or one for each state before the last.

    Raises:
        TypeError: If a block is of a kind that cannot be taken apart.
        ValueError: If blocks come without embedding or head.
    """
    if heads not in ("WS", "full"):
        raise ValueError(f'heads must be "WS" or "full", but got {heads!r}.')
    check_kind("network", network, nn.Module, Sequence)
    check_kind("image_shape", image_shape, tuple, list)
    for name, part in (("embedding", embedding), ("head", head)):
        check_kind(name, part, nn.Module, type(None))
    if isinstance(network, nn.Module) and not isinstance(network, (nn.Sequential, nn.ModuleList)):
        embedding, blocks, head = torchvision_parts(network)
    else:
        blocks = list(network)  # pyright: ignore[reportArgumentType]
    if embedding is None or head is None:
        name = "embedding" if embedding is None else "head"
        raise ValueError(f"wrap takes embedding and head along with blocks, but got {name}=None.")
    branches, backbone = taken_apart(checked(blocks), head)
    readouts = ChainedReadOuts(len(blocks), backbone, own=heads == "full")
    parts = (embedding, *blocks, head)
    like = next((p for part in parts for p in part.parameters()), torch.ones(1))
    problem = Classifier(
        Parts(embedding, *backbone, readouts),
        state_shape=state_shape(embedding, image_shape, like),
        image_shape=image_shape,
        loss=loss,
        gamma=gamma,
    )
    return ResNet(problem, Layers(0.0, float(len(blocks)), branches)).train(embedding.training)


def checked(blocks: Sequence[Any]) -> Sequence[Residual]:
    """The blocks; a ValueError if there are none, a TypeError if one is not a `Residual`."""
    if not blocks:
        raise ValueError("wrap takes at least one block.")
    for k, block in enumerate(blocks):
        if not isinstance(block, Residual):
            raise TypeError(
                f"wrap cannot take apart block {k}, a {type(block).__name__}: describe it as "
                "ocnet.networks.Residual(branch, shortcut, activation)."
            )
    return blocks


def taken_apart(blocks: Sequence[Residual], head: nn.Module) -> tuple[list[nn.Module], Backbone]:
    """The branches `F_k(sigma(z))`, and the skips `S_k(sigma(z))` with the head `H(sigma(z))`."""
    # The state that enters a block is the sum of the one before, not yet activated; the embedding
    # ends with an activation of its own.
    activations: list[Any] = [None, *(block.activation for block in blocks)]
    inputs = list(zip(activations, blocks, strict=False))
    skips = {
        k: After(activation, block.shortcut)
        for k, (activation, block) in enumerate(inputs)
        if activation is not None or not isinstance(block.shortcut, nn.Identity)
    }
    branches: list[nn.Module] = [After(activation, block.branch) for activation, block in inputs]
    return branches, Backbone(skips, After(activations[-1], head))


def torchvision_parts(network: Any) -> tuple[nn.Module, list[Residual], nn.Module]:
    """Embedding, blocks and head of one of torchvision's ResNets."""
    names = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
    missing = [name for name in names if not hasattr(network, name)]
    if missing:
        raise TypeError(
            f"wrap does not know a {type(network).__name__}, which has no {missing[0]}: give "
            "blocks, embedding and head."
        )
    embedding = nn.Sequential(network.conv1, network.bn1, nn.ReLU(), network.maxpool)
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    blocks = [
        Residual(TorchvisionBranch(block), block.downsample, torch.relu)
        if hasattr(block, "conv1") and hasattr(block, "downsample")
        else block
        for stage in stages
        for block in stage
    ]
    head = nn.Sequential(network.avgpool, nn.Flatten(), network.fc)
    return embedding.train(network.training), blocks, head


@torch.no_grad()
def state_shape(
    embedding: nn.Module, image_shape: tuple[int, ...], like: Tensor
) -> tuple[int, ...]:
    """The shape of the state that the embedding makes of an image of the type of `like`."""
    with mode(False, embedding):
        return tuple(embedding(like.new_zeros(1, *image_shape)).shape[1:])
