"""Residual networks as users know them: `forward(images) -> logits`, through the Euler solver."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import nn, Tensor

from .._arguments import check_count, check_function, check_generator, check_kind, check_sequence
from ..control import Layers
from ..cost import Loss
from ..solver import Euler, Solver
from ..solver.tableau import moved
from ..supervised import default_steps
from ..trajectory import Trajectory
from .architecture import Architecture, stages
from .blocks import initialise, NoBranch
from .crossing import Crossing, follow_of, following, is_identity, passes, set_follow, Tailed
from .grouped import OwnReadOuts, SharedReadOuts
from .problem import Classifier, Gamma, Parts, ResidualProblem
from .readouts import Backbone
from .template import Template


Heads = Literal["WS", "full"]
"""Whether the read-outs share the backbone's weights, or each has its own."""


COLLECT = "call ocnet.networks.collect_statistics(network, batches) with training images first."
"""What to do about statistics that are missing."""


class ResNet(nn.Module):
    """A residual network: a problem, the control that solves it, and `Euler(N)` between them.

    Arguments:
        problem: Embedding, skips, head and read-outs.
        control: The residual branches.

    Attributes:
        pruning: How the network was made from a larger one: `("cut", m)` and `("keep", ks)`.
        source: The network that was wrapped, if one was.
        numbers: The index that each layer had before any pruning.
    """

    def __init__(self, problem: ResidualProblem, control: Layers):
        super().__init__()
        check_kind("problem", problem, ResidualProblem)
        check_kind("control", control, Layers)
        self.problem = problem
        self.control = control
        self.solver: Solver = Euler(default_steps(problem))
        self.pruning: tuple[tuple[str, Any], ...] = ()
        self.source: Template | None = None
        self.numbers: tuple[int, ...] = tuple(range(self.depth))

    @property
    def depth(self) -> int:
        """The number `N` of residual blocks."""
        return self.problem.depth

    def forward(self, images: Tensor) -> Float[Tensor, "batch ..."]:
        """The logits `y^`; images are floats, or bytes, which are divided by 255."""
        return self.problem.head(self.trajectory(images).states[-1])

    def trajectory(self, images: Tensor, labels: Tensor | None = None) -> Trajectory:
        """The states `x_0, ..., x_N`, and with labels the stage cost."""
        return self.solver.solve(self.problem, self.control, self.problem.embed(images), labels)

    def outputs(self, images: Tensor) -> Float[Tensor, "state batch ..."]:
        """The logits `y^_0, ..., y^_N` of all states; the last are those of `forward`.

        Raises:
            ValueError: In evaluation mode, if the read-outs have no statistics yet.
        """
        self.check_statistics()
        states = self.trajectory(images).all_states[: self.depth + 1]
        return self.read(range(self.depth + 1), states)

    def read(self, ks: Sequence[int], xs: Sequence[Tensor]) -> Float[Tensor, "state batch ..."]:
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
        if isinstance(skip, Crossing):
            x, skip = skip.enter(x), skip.map
        return moved(x if skip is None else skip(x), self.control.layers[k](x), 1)

    def output_without(self, k: int, x: Tensor) -> Tensor:
        """The logits of `keep(...)` without the block `k`, from its state `x_k = x`."""
        skips, head = self.problem.backbone
        skip = skips.get(k)
        if skip is None or passes(skip):
            # What follows the block goes with it.
            x = x if skip is None else skip(x)
            if k + 1 == self.depth:
                return head.head(x) if isinstance(head, Tailed) else head(x)
            after = skips.get(k + 1)
            if isinstance(after, Crossing):
                x = after.lead(x)
                x = moved(after.map(x), self.control.layers[k + 1](x), 1)
                k += 1
        else:
            x = skip(x)
        for j in range(k + 1, self.depth):
            x = self.step(j, x)
        return head(x)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Loads a state dict; if it is of another architecture, nothing changes.

        Raises:
            ValueError: If names or shapes differ.
        """
        if strict:
            check_shapes(self.state_dict(), state_dict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def check_statistics(self) -> None:
        """Raises a ValueError if the read-outs need statistics that were never collected."""
        if not self.problem.readouts.training and (self.problem.readouts.batches == 0).any():
            raise ValueError(
                f"The intermediate outputs have no batch-norm statistics yet: {COLLECT}"
            )

    def parameter_groups(self, lr: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """What an optimiser trains; see `ResidualProblem.parameter_groups`."""
        return self.problem.parameter_groups(self.control, lr, weight_decay)

    @torch.no_grad()
    def subresnet(self, m: int, own_heads: bool = False) -> "ResNet":
        """The first `m` blocks, then the remaining skips and the head; its output is `y^_m`.

        A network with parameters of its own, and without stage cost.

        Arguments:
            m: The number of blocks that are kept.
            own_heads: Whether read-outs of earlier states keep their own heads, if they have any,
                and the stage cost goes on. Otherwise they share the new network's head, and have
                no statistics yet.

        Raises:
            TypeError, ValueError: Unless `0 <= m <= N`, or if `y^_m` has no statistics yet.
        """
        check_depth("m", m, self.depth)
        if m == self.depth:
            whole = copy.deepcopy(self)
            return whole if own_heads else whole.without_own_heads()
        if self.problem.readouts.batches[m] == 0:
            raise ValueError(f"y^_{m} has no batch-norm statistics yet: {COLLECT}")
        few = self.cut(m)
        return few if own_heads else few.without_own_heads()

    @torch.no_grad()
    def cut(self, m: int) -> "ResNet":
        """`subresnet(m)` for `m < N`, whatever statistics `y^_m` has."""
        head = self.problem.readouts.alone(self.problem.backbone, m)
        few = self.part(range(m), (), head, ("cut", m))
        readouts = few.problem.readouts
        if m not in self.problem.readouts.resting:
            # Where own heads rest, a different head reads out, with different skips.
            changed = [k for k in readouts.resting if readouts.own_parameters(k)]
            readouts.batches[changed] = 0
        return few

    def without_own_heads(self) -> "ResNet":
        """The network itself, whose read-outs share its head from now on.

        Where they had heads of their own, there is no stage cost any more that trains them, and
        their statistics are to be collected.
        """
        readouts = self.problem.readouts
        if any(readouts.own_parameters(k) for k in range(self.depth)):
            self.problem.readouts = readouts.shared(self.problem.backbone).train(self.training)
            self.problem.gamma = 0.0
            self.pruning = (*self.pruning, ("heads", None))
        return self

    @torch.no_grad()
    def keep(self, ks: Sequence[int]) -> "ResNet":
        """The network of the blocks `ks` alone, with parameters of its own.

        If a removed block changes the stage, its skip stays, as a layer without a branch.

        Arguments:
            ks: The indexes of the blocks that stay, in order.
        """
        skips = self.problem.backbone.skips
        stay = {k for k, skip in skips.items() if not passes(skip)}
        bare = sorted(stay - set(ks))
        return self.part(sorted({*ks, *stay}), bare, self.problem.head, ("keep", list(ks)))

    def part(
        self, ks: Sequence[int], bare: Sequence[int], head: nn.Module, step: tuple[str, Any]
    ) -> "ResNet":
        """Copies of the layers `ks`, those in `bare` without their branch, and of a head.

        Arguments:
            ks: The indices of the layers that are kept, increasing.
            bare: Those of them that keep their shortcut only.
            head: What follows the last of them.
            step: The name of what was done, and its value; joins the network's `pruning`.
        """
        problem = self.problem
        backbone = self.backbone_of(ks, head)
        few = Classifier(
            Parts(
                copy.deepcopy(problem.embedding),
                *backbone,
                problem.readouts.keep(ks, backbone, bare),
            ),
            state_shape=problem.state_shape,
            image_shape=problem.image_shape,
            loss=problem.loss,
            gamma=[problem.gamma[k] for k in ks],
        )
        few.image_dtype = problem.image_dtype
        branches = [
            NoBranch(problem.zero_state(k + 1).shape[1:])
            if k in bare
            else copy.deepcopy(self.control.layers[k])
            for k in ks
        ]
        network = ResNet(few, Layers(0.0, few.t1, branches or [NoBranch()])).train(self.training)
        network.pruning, network.source = (*self.pruning, step), self.source
        network.numbers = tuple(self.numbers[k] for k in ks)
        return network

    def backbone_of(self, ks: Sequence[int], head: nn.Module) -> Backbone:
        """Copies of the skips of the layers `ks`, and of a head that the last of them leads to.

        What follows the sum of a block goes with that block: each skip, and the network's own
        head, begins with what follows the layer that is now before it.
        """
        skips, whole = self.problem.backbone
        follows = [follow_of(skips[k]) if k in skips else None for k in range(self.depth)]
        follows.append(follow_of(whole))
        kept: dict[int, nn.Module] = {}
        for i, (k, after) in enumerate(zip(ks, [0, *(k + 1 for k in ks)], strict=False)):
            if k in skips:
                kept[i] = copy.deepcopy(skips[k])
            if after != k:
                kept[i] = following(kept.get(i), i, copy.deepcopy(follows[after]))
        after = ks[-1] + 1 if len(ks) else 0
        new_head = copy.deepcopy(head)
        if head is whole and after != self.depth:
            set_follow(new_head, copy.deepcopy(follows[after]) or nn.Identity())
        return Backbone({i: skip for i, skip in kept.items() if not is_identity(skip)}, new_head)


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
        mean, std: Those by which the embedding normalises images in [0, 1], for each channel.
        generator: Makes the draws reproducible.
    """
    check_kind("architecture", architecture, Architecture)
    check_generator(generator)
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
    check_kind("architecture", architecture, Architecture)
    check_generator(generator)
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
    check_sequence("widths", widths)
    if not widths:
        raise ValueError(f"widths must name a stage at least, but got {widths!r}.")
    if blocks is not None:
        check_sequence("blocks", blocks)
    if loss is not None:
        check_function("loss", loss)
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


def check_shapes(mine: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> None:
    """Raises a ValueError that names the first tensor whose shape differs in a checkpoint."""
    for name in sorted(mine.keys() | theirs.keys()):
        here, there = (
            tuple(state[name].shape) if name in state else "none" for state in (mine, theirs)
        )
        if here != there:
            raise ValueError(
                f"The checkpoint is of another architecture: {name} has shape {there} there and "
                f"{here} here."
            )
