"""A problem that is compiled quickly, and the libraries which that leaves in a cache."""

from pathlib import Path

import torch
from torch import Tensor

from ocnet import Problem, Sample


class Ride(Problem):
    """`x' = u`, `int u^2 + (x(1) - 1)^2` from 0: least at `u = 1/2`, where it is 1/2."""

    state_shape, control_shape = (1,), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return ((x - 1) ** 2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.so"))
