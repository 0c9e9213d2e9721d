"""The stages of one Runge-Kutta step, and the slope that they give together."""

from collections.abc import Sequence
from typing import NamedTuple

from ..control.base import Law
from ..problem import Problem
from ..types import ControlValue, State, Time
from .base import vector_field
from .running_cost import RunningCost
from .tableau import stage_state, Tableau, weighted


class Stage(NamedTuple):
    """The time of one Runge-Kutta stage of one step, and the control law there."""

    time: float
    t: Time
    law: Law


def slope(
    problem: Problem,
    tableau: Tableau,
    k: int,
    h: float,
    stages: Sequence[Stage],
    x: State,
    running: RunningCost | None,
) -> tuple[list[ControlValue], State]:
    """The controls at the stages and `sum_i b_i k_i`, by which `x` moves; adds the nodes.

    Arguments:
        problem: What is integrated.
        tableau: The method.
        k: The index of the step.
        h: Its width, negative for one backwards in time.
        stages: Its stages.
        x: The state that it starts from.
        running: Where to add the nodes of the running cost; None if that is not asked for.
    """
    values, slopes = [], []
    for i, ((time, t, law), b) in enumerate(zip(stages, tableau.b, strict=True)):
        x_i = stage_state(tableau, i, h, x, slopes)
        u = law(x_i)
        values.append(u)
        if running is not None:
            running.add(k, h * b, time, t, x_i, u)
        slopes.append(vector_field(problem, t, x_i, u, x.shape))
    return values, weighted(tableau.b, slopes)
