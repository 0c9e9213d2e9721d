"""The derivatives of what did not converge: NaN with a warning, or an error."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor


FailedGradient = Literal["nan", "raise"]
"""How to treat a gradient through an instance that did not converge."""


class Failed(NamedTuple):
    """Instances without derivatives.

    Attributes:
        numbers: Their numbers in the flattened batch.
        words: Status and reason of each.
        gradient: How to treat a gradient through them.
    """

    numbers: Sequence[int]
    words: Sequence[tuple[str, str]]
    gradient: FailedGradient


class Undefined(torch.autograd.Function):
    """Values as they are, without derivatives in what they depend on.

    If a gradient goes through the values of such an instance, it is NaN in what belongs to this
    instance and in what all instances share. Elsewhere it is zero, so other instances keep their
    gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, failed: Failed, axes: tuple[int, ...], n_own: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """The values.

        Arguments:
            ctx: What the backward pass needs.
            failed: The instances.
            axes: For each value, the axis along which the instances lie.
            n_own: The number of tensors that hold something of each instance's own.
            tensors: The values; the `n_own` tensors, with the instances along their first axis;
                and the tensors that all instances share.
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
