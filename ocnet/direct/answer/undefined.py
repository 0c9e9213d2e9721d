"""The derivatives of what did not converge: NaN with a warning, or an error."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


FailedGradient = Literal["nan", "raise"]
"""What a gradient through an instance that did not converge is."""


class Failed(NamedTuple):
    """Instances without derivatives.

    Attributes:
        numbers: Their numbers in the flattened batch.
        words: Status and reason of each.
        gradient: What a gradient through them is.
    """

    numbers: Sequence[int]
    words: Sequence[tuple[str, str]]
    gradient: FailedGradient


class Undefined(torch.autograd.Function):
    """Values as they are, without derivatives in what they depend on.

    A gradient is NaN in what belongs to an instance through whose values it goes, in what all
    share if it goes through any, and zero elsewhere: other instances keep theirs.
    """

    @staticmethod
    def forward(
        ctx: Any, failed: Failed, axes: tuple[int, ...], n_own: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """The values.

        Arguments:
            ctx: What the backward pass needs.
            failed: The instances.
            axes: Along which axis of each value the instances lie.
            n_own: How many of what they depend on has instances along its first axis.
            tensors: The values, what each instance has of its own, and what all share.
        """
        ctx.failed, ctx.axes, ctx.n_own = failed, axes, n_own
        ctx.inputs = [v.detach() for v in tensors[len(axes) :]]
        return tuple(v.clone() for v in tensors[: len(axes)])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        used = torch.zeros(len(ctx.failed.numbers), dtype=torch.bool, device=cotangents[0].device)
        for axis, value in zip(ctx.axes, cotangents, strict=True):
            used |= (value != 0).movedim(axis, 0).reshape(len(used), -1).any(1)
        if bool(used.any()):
            tell(ctx.failed, used)
        slopes = []
        for i, value in enumerate(ctx.inputs):
            slope = torch.zeros_like(value)
            if i < ctx.n_own:
                slope[used] = torch.nan
            elif bool(used.any()):
                slope = torch.full_like(value, torch.nan)
            slopes.append(slope)
        return None, None, None, *(None for _ in ctx.axes), *slopes


def tell(failed: Failed, used: Tensor) -> None:
    """Warns of a gradient through instances that did not converge, or raises.

    Raises:
        RuntimeError: If that was asked for.
    """
    i = int(used.nonzero()[0, 0])
    status, reason = failed.words[i]
    more = int(used.sum()) - 1
    others = f" So are {more} more." if more else ""
    line = f"instance {failed.numbers[i]} is {status}: {reason}.{others}"
    if failed.gradient == "raise":
        raise RuntimeError(f"There is no gradient through what did not converge: {line}")
    warnings.warn(
        f"The gradient through what did not converge is NaN: {line}", RuntimeWarning, stacklevel=2
    )
