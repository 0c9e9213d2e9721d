"""A problem that wrong calls of all kinds are made with, and how its types are hidden."""

from typing import Any

import torch
from torch import Tensor

from ocnet import Problem, Sample


class Plain(Problem):
    """`x' = u`."""

    state_shape = (2,)
    control_shape = (2,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + 0 * x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))


def changed(**members: Any) -> Problem:
    """A problem with other members."""
    problem = Plain()
    for name, value in members.items():
        object.__setattr__(problem, name, value)
    return problem


def loose(value: Any) -> Any:
    """A function or a value without its type, which the wrong calls do not fit."""
    return value
