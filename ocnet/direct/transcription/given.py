"""What the instances of a batch are given, and functions called with it at many points."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.func import vmap

from ...problem import Batch
from .check import own_value


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
        """What a batch gives.

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
        """What some of the instances are given."""
        own = {name: value[index] for name, value in self.own.items()}
        return Given(self.shared, own, None if self.target is None else self.target[index])

    def at_points(self, function: Callable[..., Any], *args: Tensor) -> tuple[Tensor, ...]:
        """`function(*point, target, parameters)` at each point, with what its instance is given.

        Arguments:
            function: A function of one point of one instance.
            *args: What differs between times alone, `(*lead,)`, or from instance to instance too,
                `(*lead, batch, .)`; the first of them differs between instances.
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
