"""The shape of a residual network for images, and its parts freshly drawn."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from .._arguments import check_count, check_sequence
from .blocks import Branch, Embedding, Head, NoBranch, skip


@dataclass(frozen=True)
class Architecture:
    """How many blocks each stage has, and how wide they are.

    The first block of every later stage halves height and width: there the skip is a
    1x1 convolution of stride 2. Stages without blocks may come last; then the head crosses their
    skips, as in a network that was cut off before them. Where pruning removed the branch of a
    stage's first block, the block is bare: its skip stays.

    Attributes:
        blocks: The residual blocks of each stage.
        widths: The channels of each stage.
        channels: The channels of an image.
        size: Height and width of an image.
        classes: How many classes there are.
        bare: The indexes of blocks without a branch; each is the first block of a later stage.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    channels: int = 3
    size: tuple[int, int] = (32, 32)
    classes: int = 10
    bare: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_sequence("blocks", self.blocks)
        check_sequence("widths", self.widths)
        if not self.widths or len(self.blocks) != len(self.widths):
            raise ValueError(
                f"Must have as many numbers of blocks as widths, but got blocks={self.blocks} "
                f"and widths={self.widths}."
            )
        check_sequence("size", self.size)
        if len(self.size) != 2:
            raise ValueError(f"size must be height and width, but got {self.size!r}.")
        for name in ("blocks", "widths", "size"):
            for value in getattr(self, name):
                check_count(name, value, least=0 if name == "blocks" else 1)
        check_count("channels", self.channels)
        check_count("classes", self.classes, least=2)
        # An empty stage between others would put two skips into one layer.
        if any(a == 0 < b for a, b in itertools.pairwise(self.blocks[1:])):
            raise ValueError(f"No stage between others can be empty: got blocks={self.blocks}.")
        if not set(self.bare) <= set(self.crossings):
            raise ValueError(
                f"Only blocks {self.crossings} change the stage: got bare={self.bare}."
            )

    @property
    def depth(self) -> int:
        """The number `N` of residual blocks."""
        return sum(self.blocks)

    @property
    def starts(self) -> tuple[int, ...]:
        """The index of each stage's first block, `N` for an empty stage."""
        return (0, *itertools.accumulate(self.blocks[:-1]))

    @property
    def crossings(self) -> tuple[int, ...]:
        """The indexes of the blocks that change the stage."""
        stages = zip(self.starts[1:], self.blocks[1:], strict=True)
        return tuple(start for start, n in stages if n)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the state `x_0`."""
        return self.widths[0], *self.size

    def keep(self, ks: Sequence[int], bare: Sequence[int] = ()) -> "Architecture":
        """The architecture of some of the blocks.

        Arguments:
            ks: The indexes of the blocks that stay, in order.
            bare: Those that now lose their branch, so that only the skip stays.

        Raises:
            ValueError: If a block that leads to a stage is removed while others of that stage stay.
        """
        kept = set(ks)
        stages = zip(self.starts, self.blocks, strict=True)
        blocks = tuple(len(kept.intersection(range(k, k + n))) for k, n in stages)
        for start, n in zip(self.starts[1:], blocks[1:], strict=True):
            if n and start not in kept:
                raise ValueError(f"Block {start} changes the stage: it must stay with its stage.")
        branchless = {*self.bare, *bare}
        return replace(
            self, blocks=blocks, bare=tuple(i for i, k in enumerate(ks) if k in branchless)
        )

    def embedding(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> Embedding:
        """The map `V` from an image to `x_0`."""
        return Embedding(self.channels, self.widths[0], mean, std)

    def branches(self) -> list[nn.Module]:
        """The residual branches `F_k`."""
        layers, old, (height, width) = [], self.widths[0], self.size
        for stage, (n, new) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for j in range(n):
                stride = 2 if stage > 0 and j == 0 else 1
                height, width = -(-height // stride), -(-width // stride)
                is_bare = len(layers) in self.bare
                shape = new, height, width
                layers.append(NoBranch(shape) if is_bare else Branch(old, new, stride))
                old = new
        return layers or [NoBranch()]

    def skips(self) -> dict[int, nn.Conv2d]:
        """The projection maps `S_k` under the index of the block that they bypass."""
        pairs = itertools.pairwise(self.widths)
        return {k: skip(*pair) for k, pair in zip(self.crossings, pairs, strict=False)}

    def head(self) -> Head:
        """The output block `H`, after the skips of stages that have no blocks."""
        pairs = itertools.pairwise(self.widths)
        left = [skip(*pair) for n, pair in zip(self.blocks[1:], pairs, strict=True) if n == 0]
        return Head(self.widths[-1], self.classes, left)


def stages(depth: int, n: int) -> tuple[int, ...]:
    """`depth` blocks in `n` equal stages.

    Raises:
        ValueError: If they do not divide.
    """
    check_count("depth", depth, least=0)
    check_count("n", n)
    if depth % n:
        raise ValueError(f"depth must divide into {n} equal stages, but got depth={depth}.")
    return (depth // n,) * n
