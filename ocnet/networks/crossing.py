"""Layers whose shortcut and branch begin with the same operations, such as an activation."""

from collections.abc import Sequence
from typing import cast

from torch import nn, Tensor

from ..problem import Projection
from .segment import NetworkPart


class Crossing(Projection):
    r"""A layer `x_{k+1} = S(e) + F(e)` with `e = lead(follow(x_k))`.

    Where an activation or a norm follows the sum of a block, the state is the sum itself, and the
    activation or norm comes first in the next layer.

    Arguments:
        k: The index of the layer.
        map: The shortcut `S`.
        follow: What follows the sum of the block before; nothing if None.
        lead: What else comes before shortcut and branch, such as a change of the stage without
            a shortcut; nothing if None.
    """

    def __init__(
        self, k: int, map: nn.Module, follow: nn.Module | None = None, lead: nn.Module | None = None
    ):
        super().__init__(float(k), float(k + 1), map)
        self.follow: nn.Module = nn.Identity() if follow is None else follow
        self.lead: nn.Module = nn.Identity() if lead is None else lead

    def enter(self, x: Tensor) -> Tensor:
        return self.lead(self.follow(x))

    @property
    def passes(self) -> bool:
        """Whether the layer without its branch does only what followed the previous block."""
        return is_identity(self.map) and is_identity(self.lead)


class Tailed(nn.Module):
    """`head(follow(x))`: the output block, and what follows the last sum.

    Arguments:
        follow: What follows the sum of the last block.
        head: The rest.
    """

    def __init__(self, follow: nn.Module, head: nn.Module):
        super().__init__()
        self.follow = follow
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.follow(x))


def is_identity(module: nn.Module) -> bool:
    """Whether a module does nothing."""
    return type(module) is nn.Identity


def passes(skip: nn.Module) -> bool:
    """Whether a layer with this skip can be removed entirely, and not only its branch."""
    return isinstance(skip, Crossing) and skip.passes


def follow_of(module: nn.Module) -> nn.Module | None:
    """What follows the last sum in a module that reads a state; None if the module does not say."""
    if isinstance(module, nn.Sequential) and len(module):
        return follow_of(module[0])
    return module.follow if isinstance(module, (Crossing, Tailed)) else None


def set_follow(module: nn.Module, follow: nn.Module) -> None:
    """Lets a module that reads a state begin with what follows another block's sum."""
    if isinstance(module, nn.Sequential) and len(module):
        set_follow(module[0], follow)
    elif isinstance(module, (Crossing, Tailed)):
        module.follow = follow


def following(skip: nn.Module | None, k: int, follow: nn.Module | None) -> nn.Module:
    """The skip of layer `k`, which now follows a different block; `nn.Identity` for none.

    Arguments:
        skip: What it was; None for the identity.
        k: The index of the layer.
        follow: What follows the sum of the block that is now before it; None for nothing.
    """
    if isinstance(skip, Crossing):
        skip.follow = nn.Identity() if follow is None else follow
        is_empty = skip.passes and is_identity(skip.follow)
        return nn.Identity() if is_empty else skip
    if follow is None or is_identity(follow):
        return nn.Identity() if skip is None else skip
    return Crossing(k, nn.Identity() if skip is None else skip, follow)


def without_repetitions(skips: Sequence[nn.Module], head: nn.Module) -> list[nn.Module]:
    """The skips that a state crosses, without any ReLU that the next one repeats."""
    kept = []
    for skip, after in zip(skips, [*skips, head][1:], strict=True):
        both = map(is_idempotent, map(follow_of, (skip, after)))
        if not (passes(skip) and all(both)):
            kept.append(skip)
    return kept


def is_idempotent(module: nn.Module | None) -> bool:
    """Whether applying it twice is the same as applying it once."""
    return isinstance(module, NetworkPart) and module.is_idempotent


def pieces(module: nn.Module) -> list[nn.Module]:
    """The parts of a chain of skips and a head, in order."""
    if isinstance(module, nn.Sequential):
        return [piece for part in module for piece in pieces(cast(nn.Module, part))]
    if isinstance(module, Crossing):
        return [module.follow, module.lead, module.map]
    if isinstance(module, Tailed):
        return [module.follow, module.head]
    return [module]
