"""What the instances of a batch are given, and functions called with it at many points."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from ...problem import Batch
from .check import own_value
from .points import Points


Way = Literal["together", "apart", "stepwise"]
"""How the functions are evaluated at many points: in one call that shares the time and all
parameters, by a vmap over times and instances, or by a vmap over instances, one time after the
other."""


class Given(NamedTuple):
    """The parameters and targets of the instances.

    Attributes:
        shared: The parameters that all instances share, by name.
        own: Those that each has of its own, each `(batch, *shape)`.
        target: What the costs compare with, shape `(batch, ...)`, or None.
    """

    shared: dict[str, Tensor]
    own: dict[str, Tensor]
    target: Tensor | None

    @classmethod
    def of(cls, batch: Batch) -> "Given":
        """Reads the parameters and targets of a batch.

        Raises:
            ValueError: If a parameter has neither its own shape nor one for each instance.
        """
        problem, x0, target, parameters = batch
        lead = problem.batch_shape(x0)
        size = math.prod(lead)
        shared, own = {}, {}
        for name, value in parameters.items():
            shape = own_value(problem, name).shape
            if value.shape == shape:
                shared[name] = value
            elif value.shape == lead + shape:
                own[name] = value.reshape(size, *shape)
            else:
                raise ValueError(
                    f"{name} must have shape {tuple(shape)} or {tuple(lead + shape)}, but "
                    f"got {tuple(value.shape)}."
                )
        if target is not None:
            target = target.reshape(size, *target.shape[len(lead) :])
        return cls(shared, own, target)

    def take(self, index: Tensor) -> "Given":
        """The parameters and targets of some of the instances."""
        own = {name: value[index] for name, value in self.own.items()}
        return Given(self.shared, own, None if self.target is None else self.target[index])

    def at_points(self, function: Callable[..., Any], *args: Tensor) -> tuple[Tensor, ...]:
        """`function(*point, target, parameters)` at each point, with what its instance is given.

        Arguments:
            function: A function of one point of one instance.
            *args: Arguments that differ between times alone, `(*lead,)`, or between instances
                too, `(*lead, batch, .)`; the first one must differ between instances.
        """
        lead, size = args[0].shape[:-2], args[0].shape[-2]
        of_points = [a.dim() - len(lead) for a in args]
        flat = [a.reshape(-1, *a.shape[len(lead) :]) for a in args]

        def one(*point: Tensor, target: Tensor | None = None, **own: Tensor) -> tuple[Tensor, ...]:
            return function(*point, target, {**self.shared, **own})

        over_batch = vmap(
            lambda target, own, *point: one(*point, target=target, **own),
            in_dims=(None if self.target is None else 0, 0, *(0 if d else None for d in of_points)),
        )
        outputs = vmap(lambda *point: over_batch(self.target, self.own, *point))(*flat)
        return tuple(value.reshape(*lead, size, -1) for value in outputs)


def stages_at(
    points: Points, given: Given, way: Way, z: Tensor, u: Tensor, s: Tensor
) -> tuple[Tensor, ...]:
    """`F`, `c` and `g` at points `(*lead, time, batch, .)`; all `lead` have the same times.

    Arguments:
        points: The functions at one point.
        given: What the instances are given.
        way: How to evaluate at many points.
        z, u: Extended states and controls.
        s: The times, shape `(time,)`.
    """
    if way == "together":
        return points.stage(z, u, s[0], None, {})
    if way == "apart":
        return given.at_points(points.stage, z, u, s.expand(z.shape[:-2]))
    steps = [
        given.at_points(
            lambda z, u, target, own, now=now: points.stage(z, u, now, target, own),
            z[..., k, :, :], u[..., k, :, :],
        )
        for k, now in enumerate(s.unbind())
    ]  # fmt: skip
    return tuple(torch.stack(values, -3) for values in zip(*steps, strict=True))


def ends_at(
    points: Points, given: Given, way: Way, z: Tensor, u: Tensor, s: Tensor
) -> tuple[Tensor, ...]:
    """`phi`, `psi` and `omega` at points `(*lead, time, batch, .)`.

    Arguments:
        points: The functions at one point.
        given: What the instances are given.
        way: How to evaluate at many points.
        z, u: Extended states and controls.
        s: The final time, a tensor without dimensions.
    """
    if way == "together":
        return points.ending(z, u, s, None, {})
    return given.at_points(lambda z, u, target, own: points.ending(z, u, s, target, own), z, u)
