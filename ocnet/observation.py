"""Costs at given times: what the states are compared with on their way."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ._arguments import as_number, check_function, check_sequence
from ._blame import blamed
from .types import Cost


__all__ = ["Observation"]


class Moments(NamedTuple):
    """When an observation is made.

    Attributes:
        times: Shape `(eval,)` if all samples share them, or `(*batch, eval)`.
        mask: Which of them count, shape `(*batch, eval)`, or None if all do.
    """

    times: Tensor
    mask: Tensor | None


class Observation(nn.Module):
    r"""A cost of the states at given times, $\sum_j m_j \, c(t_j, x(t_j), y)$.

    Every sample has the same times, or each its own, which are then a part of its target:

        Observation([0.1, 0.5, 2.0], lambda t, x, y: (x - y.movedim(-2, 0)).square().sum(-1))
        Observation(lambda y: y[..., 0], cost, mask=lambda y: y[..., 2] > 0)

    Arguments:
        times: The times $t_j$, which increase; or a function of the target that gives them,
            `(*batch, ...) -> (*batch, eval)`. They need not be the ends of a solver's steps.
        cost: `(t, x, target) -> cost` of all times together: `t` of shape `(eval,)`, or
            `(eval, *batch)` where each sample has its own, `x` of shape
            `(eval, *batch, *state_shape)`. What it returns is summed over the times if its shape is
            `(eval, *batch)`, and the cost itself if that is `(*batch,)`, such as a maximum.
        mask: A function of the target that says which times count, `(*batch, eval)`; a sample of
            which none does costs nothing. The others may be anything, but must be finite.

    Raises:
        TypeError, ValueError: If the times do not increase or are not finite.
    """

    def __init__(
        self,
        times: Sequence[float] | Tensor | Callable[[Any], Tensor],
        cost: Callable[[Tensor, Tensor, Any], Cost],
        mask: Callable[[Any], Tensor] | None = None,
    ):
        super().__init__()
        check_function("cost", cost)
        if mask is not None:
            check_function("mask", mask)
        # Numbers, which keep their precision whatever that of the problem becomes.
        self.times: tuple[float, ...] | Callable[[Any], Tensor] = (
            times if callable(times) else increasing(times)
        )
        self.cost: Callable[[Tensor, Tensor, Any], Cost] = cost
        self.mask: Callable[[Any], Tensor] | None = mask

    def moments(self, target: Any, batch: torch.Size, device: torch.device) -> Moments:
        """When the samples of a batch are observed.

        Arguments:
            target: Their targets.
            batch: The shape of the batch.
            device: Where the states are.

        Raises:
            TypeError, ValueError: If times or mask do not have a row for each sample, or times that
                count do not increase.
        """
        times, mask = self.times, None
        if callable(times):
            with blamed("Observation.times"):
                times = times(target)
            found = rows("times", times, batch).to(device, torch.float64)
        else:
            found = torch.tensor(times, dtype=torch.float64, device=device)
        if self.mask is not None:
            with blamed("Observation.mask"):
                mask = self.mask(target)
            mask = rows("mask", mask, batch).to(device)
            if mask.dtype != torch.bool or mask.shape[-1] != found.shape[-1]:
                raise ValueError(
                    f"The mask of an Observation must hold a bool for each of {found.shape[-1]} "
                    f"times, but has shape {tuple(mask.shape)} of {mask.dtype}."
                )
        if found.dim() > 1 or len(batch) == 0:
            check_rows(found, mask)
        return Moments(found, mask)

    def total(self, moments: Moments, x: Tensor, target: Any, batch: torch.Size) -> Cost:
        """The cost of each sample, shape `(*batch,)`.

        Arguments:
            moments: When the states were observed.
            x: The states, shape `(eval, *batch, *state_shape)`.
            target: What they are compared with.
            batch: The shape of the batch.

        Raises:
            TypeError, ValueError: If the cost is of another shape.
        """
        t = moments.times if moments.times.dim() == 1 else moments.times.movedim(-1, 0)
        with blamed("Observation.cost"):
            cost = self.cost(t, x, target)
        if not isinstance(cost, Tensor):
            name = type(cost).__name__
            raise TypeError(f"The cost of an Observation must be a tensor, but is a {name}.")
        cost = cost.to(x.dtype) if cost.dtype == torch.float64 else cost
        if cost.shape == (len(t), *batch):
            if moments.mask is None:
                return cost.sum(0)
            counts = moments.mask.movedim(-1, 0)
            return torch.where(counts, cost, 0.0).sum(0)
        if cost.shape != batch or moments.mask is not None:
            shapes = f"{(len(t), *batch)}"
            shapes += "" if moments.mask is not None else f" or {tuple(batch)}"
            raise ValueError(
                f"The cost of an Observation must have shape {shapes}, but has {tuple(cost.shape)}."
            )
        return cost


def increasing(times: Any) -> tuple[float, ...]:
    """Times as numbers; raises a TypeError or ValueError unless they increase."""
    if isinstance(times, Tensor):
        if times.dim() != 1:
            raise ValueError(
                f"times must have shape (eval,), but got {tuple(times.shape)}; for each sample its "
                "own, they are a function of the target."
            )
        times = times.detach().tolist()
    check_sequence("times", times)
    found = tuple(as_number("Each of times", t) for t in times)
    if not found:
        raise ValueError("times must hold a time, but got none.")
    for before, t in zip((-math.inf, *found), found, strict=False):
        if not math.isfinite(t):
            raise ValueError(f"times must be finite, but got {t}.")
        if not t > before:
            how = "twice" if t == before else f"after {before:g}"
            raise ValueError(f"times must increase, but got {t:g} {how}.")
    return found


def rows(name: str, values: Any, batch: torch.Size) -> Tensor:
    """What a function of the target gives; raises an error unless it has a row for each sample.

    Arguments:
        name: What it is: times, or a mask.
        values: What was given.
        batch: The shape of the batch.
    """
    if not isinstance(values, Tensor):
        got = type(values).__name__
        raise TypeError(f"The {name} of an Observation must be a tensor, but are a {got}.")
    if values.dim() != len(batch) + 1 or values.shape[:-1] != batch or values.shape[-1] == 0:
        raise ValueError(
            f"The {name} of an Observation must have shape "
            f"({', '.join([*map(str, batch), 'eval'])}), but have {tuple(values.shape)}."
        )
    return values.detach()


def check_rows(times: Tensor, mask: Tensor | None) -> None:
    """Raises a ValueError unless the times of each sample that count increase.

    Arguments:
        times: Shape `(*batch, eval)`.
        mask: Which of them count, of the same shape, or None if all do.
    """
    counts = torch.ones_like(times, dtype=torch.bool) if mask is None else mask
    wrong = ~times.isfinite() & counts
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"The times of an Observation must be finite, but got {float(times[tuple(place)])} for "
            f"sample {place[:-1]}."
        )
    latest = times.masked_fill(~counts, -math.inf).cummax(-1).values[..., :-1]
    wrong = counts[..., 1:] & ~(times[..., 1:] > latest)
    if wrong.any():
        *sample, j = wrong.nonzero()[0].tolist()
        t, before = float(times[(*sample, j + 1)]), float(latest[(*sample, j)])
        how = "twice" if t == before else f"after {before:g}"
        raise ValueError(
            f"The times of an Observation must increase, but got {t:g} {how} for sample {sample}."
        )
