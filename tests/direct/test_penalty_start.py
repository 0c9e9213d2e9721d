"""Where the constrained problem starts after the penalised one: what the penalty's slope says."""

import pytest
import torch
from torch import Tensor

from ocnet import Problem, RK4, Sample
from ocnet.direct.interior_point.restoration import tightened
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.transcription import Transcription
from ocnet.direct.transcription.variables import Iterate


class Limits(Problem):
    """A double integrator with constraints of every kind."""

    state_shape, control_shape = (2,), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., :1] - 0.5

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - 3

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return torch.stack([x[..., 1] - 1, -x[..., 1] - 7], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 2.0]).expand(batch_size, 2))


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_multipliers_start_at_the_slope_of_the_penalty(weight: float) -> None:
    problem = Limits()
    nlp = Transcription(problem.batch(torch.tensor([[1.0, 2.0]])), RK4(4), Autograd())
    z, u = nlp.constant_start(4)
    it = tightened(nlp, Iterate.without_multipliers(nlp, z, u), weight)
    end = z[-1, 0]
    torch.testing.assert_close(it.nu.flatten(), weight * (end[:1] - 3))
    # The slope of `w max(g, 0)^2 / 2`; the barrier adds `mu / s`, with one `mu` for all slacks.
    g = end[:1] - 0.5
    rows = torch.cat([end[1:] - 1, -end[1:] - 7, g]).clamp(min=0)
    mu = (it.y_end.flatten() - weight * rows) * it.s_end.flatten()
    assert (mu > 0).all()
    torch.testing.assert_close(mu, mu[:1].expand(3))
    # Along the path, per step; the first state is given.
    along = (4 * it.y.flatten()[1:] - weight * g) * it.s.flatten()[1:]
    torch.testing.assert_close(along, mu[:1].expand(3))
