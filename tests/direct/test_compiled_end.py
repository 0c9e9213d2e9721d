"""Inequalities at the end, compiled: the same steps as torch's, and an optimum that is known."""

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import InteriorPoint, solve
from ocnet.direct.compiled import build


compiles = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")


class IntoTheDisc(Problem):
    """`x' = u` from 0 into the disc of radius 1 around (3, 4), minimise `int |u|^2`: 16.

    The nearest point is `4 (3, 4)/5`, straight ahead; the second row does not bind.
    """

    state_shape = (2,)
    control_shape = (2,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        disc = ((x - x.new_tensor([3.0, 4.0])) ** 2).sum(-1) - 1
        return torch.stack([disc, x[..., 0] * x[..., 1] - 50], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))


@compiles
@pytest.mark.parametrize("iterations", [2, 5])
def test_every_row_at_the_end_takes_the_same_steps(iterations: int) -> None:
    method = InteriorPoint(max_iterations=iterations, tolerance=1e-14)
    found, expected = (
        solve(IntoTheDisc(), solver=Euler(4), method=method, compile=compiled)
        for compiled in (True, False)
    )
    assert found.status == expected.status
    for name in ("x", "u", "costates", "cost", "violation"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    torch.testing.assert_close(
        found.multipliers.terminal_inequality, expected.multipliers.terminal_inequality
    )


@compiles
def test_the_nearest_point_of_a_disc_is_reached() -> None:
    found = solve(IntoTheDisc(), solver=Euler(4), compile=True)
    assert found.status == "converged", found.reason
    assert float(found.cost) == pytest.approx(16, rel=1e-6)
    torch.testing.assert_close(found.x[-1].flatten(), torch.tensor([2.4, 3.2]), rtol=0, atol=1e-6)
