"""The problem with penalties for constraints: its answer leads to the multipliers."""

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct.interior_point.interior_point import InteriorPoint
from ocnet.direct.interior_point.restoration import relaxed, tightened
from ocnet.direct.solving import single
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.iterate import linearise
from ocnet.direct.transcription.start import COLD
from ocnet.direct.transcription.transcription import Transcription
from ocnet.direct.transcription.variables import Iterate


class Ride(Problem):
    """`x' = u` from 0 at the least `int u^2`, where `u = 1` is the answer."""

    state_shape, control_shape = (1,), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


class Arrives(Ride):
    """`x(1) = 1`: its multiplier is `-2 u = -2`."""

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 1


class GetsFar(Ride):
    """`x(1) >= 1`: its multiplier is 2."""

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 1 - x


class Pushed(Ride):
    """`u >= 1` along the path: its multiplier is 2 all the time, `2/n` for each of `n` steps."""

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 1 - u


N, WEIGHT = 5, 1e3


def penalised_answer(problem: Problem) -> tuple[Transcription, Iterate]:
    """The problem, and the answer of the one with penalties of weight `WEIGHT`."""
    nlp = Transcription(single(problem), Euler(N), Autograd())
    nlp.room = 1e-9
    start = relaxed(nlp, Iterate.without_multipliers(nlp, *nlp.constant_start(N)), 1.0)
    penalised = nlp.relaxed(WEIGHT, nlp.anchor)
    most = torch.full_like(nlp.scale, 100, dtype=torch.int64)
    return nlp, InteriorPoint().iterate(penalised, start, COLD, most).it


@pytest.mark.parametrize(
    ("problem", "name", "multiplier"),
    [(Arrives, "nu", -2.0), (GetsFar, "y_end", 2.0), (Pushed, "y", 2.0 / N)],
)
def test_the_slope_of_the_penalty_is_the_multiplier(
    problem: type[Problem], name: str, multiplier: float
) -> None:
    """A weight `w` leaves `u = w/(w + 2)` and the slope `2 w/(w + 2)`, close to 2."""
    nlp, it = penalised_answer(problem())
    torch.testing.assert_close(it.u, torch.full_like(it.u, WEIGHT / (WEIGHT + 2)))
    found = tightened(nlp, it, WEIGHT)
    _, s_end = found.s, found.s_end
    # To the slope of the penalty the barrier adds its own, `mu / s` (`mu / (n s)` along the path).
    barrier = {"nu": 0.0 * found.nu, "y_end": COLD / s_end, "y": COLD / (N * found.s)}[name]
    slope = getattr(found, name) - barrier
    torch.testing.assert_close(
        slope, torch.full_like(slope, multiplier * WEIGHT / (WEIGHT + 2)), rtol=1e-6, atol=1e-6
    )


def test_what_holds_has_the_multipliers_of_the_barrier_alone() -> None:
    nlp, it = penalised_answer(GetsFar())
    inside = it._replace(z=it.z + 1.0)
    found = tightened(nlp, inside, WEIGHT)
    torch.testing.assert_close(found.y_end, COLD / found.s_end)
    assert float(linearise(nlp, inside).rows_end.max()) < 0
