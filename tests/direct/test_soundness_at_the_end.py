"""The path constraint at the final time is looked at like all other functions."""

import torch
from torch import Tensor

from ocnet import Problem, RK4, Sample
from ocnet.direct import solve


class Rounded(Problem):
    """A path constraint that rounds near the end alone."""

    state_shape = (1,)
    control_shape = (1,)
    control_bounds = (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 + x[..., 0]

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.where(t > 0.999, (10 * x).round() - 50, x - 5 + 0 * t)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


def test_a_row_at_the_end_without_useful_derivatives_is_named() -> None:
    solution = solve(Rounded(), solver=RK4(10), compile=False)
    assert solution.status == "inconsistent"
    assert "path_constraint" in solution.reason and "t=1" in solution.reason
