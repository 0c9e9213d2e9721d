"""Values that were accepted once and gave a wrong answer."""

import math
from typing import Any

import pytest
import torch

from ocnet import Euler, ExplicitRungeKutta, PiecewiseConstant, Problem, Sample, Tableau, training
from ocnet.analysis.bounds import objective_bound
from ocnet.run.config import Config
from ocnet.supervised import parameter_groups


class Plain(Problem):
    """`x' = u`."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: torch.Tensor, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return u + 0 * x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


@pytest.mark.parametrize(
    ("tableau", "said"),
    [
        (Tableau(((), (0.5, 0.5)), (0.5, 0.5), (0.0, 1.0), 2), "explicit: row 1 .*1 entries"),
        (Tableau(((0.5,),), (1.0,), (0.5,), 2), "explicit: row 0"),
        (Tableau(((), (1.0,)), (0.5, 0.6), (0.0, 1.0), 2), r"sum to 1, but got b=\(0.5, 0.6\)"),
        (Tableau(((), (1.0,)), (0.5, 0.5), (0.0, 0.5), 2), r"c\[1\] = sum of row 1"),
        (Tableau(((),), (1.0,), (0.0, 1.0), 1), "one entry for each stage, but got 1, 1, 2"),
        (Tableau(((),), (1.0,), (0.0,), 0), "order must be a positive integer, but got 0"),
        (Tableau(((),), (math.nan,), (0.0,), 1), "sum to 1, but got b=.nan"),
        ("euler", "tableau must be a Tableau, but got 'euler'"),
    ],
)
def test_tableaux(tableau: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        ExplicitRungeKutta(tableau, 4)


@pytest.mark.parametrize("clip", [-1, 0, math.inf, math.nan])
def test_clip(clip: float) -> None:
    problem, control = Plain(), PiecewiseConstant(0, 1, 4, 1)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"clip < inf, but got clip={clip}"):
        next(training(problem, control, Euler(4), optimizer, [problem.sample(1)], clip=clip))


@pytest.mark.parametrize("value", [-1e-4, math.nan, math.inf])
def test_weight_decay_and_rate(value: float) -> None:
    control = PiecewiseConstant(0, 1, 4, 1)
    with pytest.raises(ValueError, match=f"weight_decay={value}"):
        parameter_groups(Plain(), control, 0.1, value)
    with pytest.raises(ValueError, match=f"lr={value}"):
        parameter_groups(Plain(), control, value)
    with pytest.raises(ValueError, match=f"weight_decay={value}"):
        Config.of("problems.digits:Digits", weight_decay=value)


def test_warm_up_and_gamma() -> None:
    config = Config.of("problems.digits:Digits", warmup=50)
    with pytest.raises(ValueError, match="warmup=50 and iterations=20"):
        config.descent.course.over(20)
    with pytest.raises(ValueError, match="gamma=inf"):
        objective_bound([1.0], [0.0], 1.0, math.inf, 3)
