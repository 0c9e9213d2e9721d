"""Residual networks as users know them: `forward(images) -> logits`, through the Euler solver."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import nn, Tensor

from ..control import Layers
from ..control.base import check_count
from ..cost import Loss
from ..solver import Euler
from ..trajectory import Trajectory
from .architecture import Architecture, stages
from .blocks import initialise, NoBranch
from .problem import Classifier, Gamma, Parts, ResidualProblem
from .readouts import Backbone, OwnReadOuts, SharedReadOuts


Heads = Literal["WS", "full"]
"""Whether the read-outs share the backbone's weights, or each has its own."""


COLLECT = "call ocnet.resnet.collect_statistics(network, batches) with training images first."
"""What to do about statistics that are missing."""


class ResNet(nn.Module):
    """A residual network: a problem, the control that solves it, and `Euler(N)` between them.

    Arguments:
        problem: Embedding, skips, head and read-outs.
        control: The residual branches.
    """

    def __init__(self, problem: ResidualProblem, control: Layers):
        super().__init__()
        self.problem = problem
        self.control = control
        self.solver = Euler(problem.n_steps)

    @property
    def depth(self) -> int:
        """The number `N` of residual blocks."""
        return self.problem.depth

    def forward(self, images: Tensor) -> Float[Tensor, "batch classes"]:
        """The logits `y^`; images are floats, or bytes that count as 255 times those."""
        return self.problem.head(self.trajectory(images).states[-1])

    def trajectory(self, images: Tensor, labels: Tensor | None = None) -> Trajectory:
        """The states `x_0, ..., x_N`, and with labels the stage cost."""
        return self.solver.solve(self.problem, self.control, self.problem.embed(images), labels)

    def outputs(self, images: Tensor) -> Float[Tensor, "state batch classes"]:
        """The logits `y^_0, ..., y^_N` of all states; the last are those of `forward`.

        Raises:
            ValueError: In evaluation mode, if the read-outs have no statistics yet.
        """
        self.check_statistics()
        states = self.trajectory(images).states[: self.depth + 1]
        return self.read(range(self.depth + 1), states)

    def read(self, ks: Sequence[int], xs: Sequence[Tensor]) -> Float[Tensor, "state batch classes"]:
        """The logits `y^_k` of the states `x_k`, for consecutive `k <= N`."""
        inner = [(k, x) for k, x in zip(ks, xs, strict=True) if k < self.depth]
        logits = []
        if inner:
            logits.append(self.problem.readouts(self.problem.backbone, *zip(*inner, strict=True)))
        if ks[-1] == self.depth:
            logits.append(self.problem.head(xs[-1])[None])
        return torch.cat(logits)

    def step(self, k: int, x: Tensor) -> Tensor:
        """One layer, `x_{k+1} = S_k(x_k) + F_k(x_k)`."""
        skip = self.problem.backbone.skips.get(k)
        return (x if skip is None else skip(x)) + self.control.layers[k](x)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As of `nn.Module`, but a checkpoint of another architecture changes nothing.

        Raises:
            ValueError: If names or shapes differ.
        """
        if strict:
            mine = {name: tuple(value.shape) for name, value in self.state_dict().items()}
            theirs = {name: tuple(value.shape) for name, value in state_dict.items()}
            odd = sorted(
                name for name in mine.keys() | theirs if mine.get(name) != theirs.get(name)
            )
            if odd:
                raise ValueError(
                    f"The checkpoint is of another architecture: {odd[0]} has shape "
                    f"{theirs.get(odd[0], 'none')} there and {mine.get(odd[0], 'none')} here."
                )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def check_statistics(self) -> None:
        """Raises a ValueError if the read-outs need statistics that were never collected."""
        if not self.problem.readouts.training and (self.problem.readouts.batches == 0).any():
            raise ValueError(
                f"The intermediate outputs have no batch-norm statistics yet: {COLLECT}"
            )

    @torch.no_grad()
    def subresnet(self, m: int) -> "ResNet":
        """The first `m` blocks, then the remaining skips and the head; its output is `y^_m`.

        A network with parameters of its own. Own heads of other states are dropped.

        Raises:
            TypeError, ValueError: Unless `0 <= m <= N`, or if `y^_m` has no statistics yet.
        """
        check_depth("m", m, self.depth)
        if m == self.depth:
            return copy.deepcopy(self)
        if self.problem.readouts.batches[m] == 0:
            raise ValueError(f"y^_{m} has no batch-norm statistics yet: {COLLECT}")
        return self.keep(range(m), self.problem.readouts.alone(self.problem.backbone, m))

    @torch.no_grad()
    def keep(self, ks: Sequence[int], head: nn.Module | None = None) -> "ResNet":
        """The network of the blocks `ks` alone, with parameters of its own.

        Arguments:
            ks: The indexes of the blocks that stay, in order.
            head: Another output block; a copy of the present one if None.

        Raises:
            ValueError: If a block is missing that leads to a stage of which others stay.
        """
        problem, skips = self.problem, self.problem.backbone.skips
        backbone = Backbone(
            {i: copy.deepcopy(skips[k]) for i, k in enumerate(ks) if k in skips},
            copy.deepcopy(problem.head) if head is None else head,
        )
        readouts = problem.readouts.keep(ks, backbone)
        few = Classifier(
            Parts(copy.deepcopy(problem.embedding), *backbone, readouts),
            state_shape=problem.state_shape,
            image_shape=problem.image_shape,
            loss=problem.loss,
            gamma=[problem.gamma[k] for k in ks],
        )
        branches = [copy.deepcopy(self.control.layers[k]) for k in ks] or [NoBranch()]
        return ResNet(few, Layers(0.0, few.t1, branches)).train(self.training)


def parts(
    architecture: Architecture,
    heads: Heads = "WS",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    generator: torch.Generator | None = None,
) -> Parts:
    """A freshly drawn embedding, skips, head and read-outs.

    Arguments:
        architecture: The network's shape.
        heads: "WS" if the read-outs share the backbone's weights, "full" if each has its own.
        mean, std: What the embedding normalises images in [0, 1] with, for each channel.
        generator: Makes the draws reproducible.
    """
    if heads not in ("WS", "full"):
        raise ValueError(f'heads must be "WS" or "full", but got {heads!r}.')
    embedding = architecture.embedding(mean, std)
    backbone = Backbone(architecture.skips(), architecture.head())
    for module in (embedding, *backbone.skips.values(), backbone.head):
        initialise(module, generator)
    shared = heads == "WS"
    readouts = SharedReadOuts(architecture) if shared else OwnReadOuts(architecture, backbone)
    return Parts(embedding, *backbone, readouts)


def layers(architecture: Architecture, generator: torch.Generator | None = None) -> Layers:
    """Freshly drawn residual branches as a control on `[0, N]`."""
    branches = [initialise(branch, generator) for branch in architecture.branches()]
    return Layers(0.0, float(len(branches)), branches)


def resnet(
    depth: int = 54,
    widths: Sequence[int] = (16, 32, 64),
    *,
    blocks: Sequence[int] | None = None,
    channels: int = 3,
    size: int | tuple[int, int] = 32,
    classes: int = 10,
    heads: Heads = "WS",
    loss: Loss | None = None,
    gamma: Gamma = 0.0,
    generator: torch.Generator | None = None,
) -> ResNet:
    """A pre-activation residual network, He et al.'s ResNet-v2 for small images.

    Arguments:
        depth: The number `N` of residual blocks, in equal stages.
        widths: The channels of each stage; each stage but the first halves height and width.
        blocks: The number of blocks of each stage, instead of `depth`.
        channels: The channels of an image.
        size: Height and width of an image, or one number for both.
        classes: The number of classes.
        heads: "WS" if the read-outs of the stage cost share the backbone's weights, "full" if
            each has its own.
        loss: The loss per sample; cross-entropy by default.
        gamma: The weight of the stage cost.
        generator: Makes the draws reproducible.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
    """
    widths = tuple(widths)
    blocks = stages(depth, len(widths)) if blocks is None else tuple(blocks)
    size = (size, size) if isinstance(size, int) else size
    architecture = Architecture(blocks, widths, channels, size, classes)
    return assemble(architecture, parts(architecture, heads, generator=generator),
                    layers(architecture, generator), loss, gamma)  # fmt: skip


def homogeneous(depth: int = 54, width: int = 64, **options: Any) -> ResNet:
    """A residual network with one width and one image size throughout: all skips are identities.

    Arguments:
        depth: The number `N` of residual blocks.
        width: The channels of the state.
        options: Further arguments of `resnet`.
    """
    return resnet(depth, (width,), **options)


def assemble(
    architecture: Architecture, parts: Parts, control: Layers, loss: Loss | None, gamma: Gamma
) -> ResNet:
    """The network made of the parts and the control of an architecture."""
    image_shape = (architecture.channels, *architecture.size)
    problem = Classifier(
        parts,
        state_shape=architecture.state_shape,
        image_shape=image_shape,
        loss=loss,
        gamma=gamma,
    )
    return ResNet(problem, control)


def check_depth(name: str, m: int, depth: int) -> None:
    """Raises a TypeError or ValueError unless `0 <= m <= depth`."""
    check_count(name, m, least=0)
    if m > depth:
        raise ValueError(f"Must have {name} <= N, but got {name}={m} and N={depth}.")
