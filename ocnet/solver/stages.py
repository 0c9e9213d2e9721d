"""The stages of one Runge-Kutta step, and the slope that they give together."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .._blame import blamed, called
from ..control.base import Law
from ..problem import Node, Problem
from ..types import ControlValue, Cost, State, Time
from .base import as_cost, vector_field
from .tableau import Tableau, weighted


class Stage(NamedTuple):
    """What one Runge-Kutta stage of one step reads: its time and the control there."""

    time: float
    t: Time
    law: Law


class Nodes(list[Node]):
    """The nodes of the running cost that a solver has passed.

    Arguments:
        problem: The problem, which observes each node as it is added.
        target: What the stage cost compares with.
    """

    def __init__(self, problem: Problem, target: Tensor | None):
        super().__init__()
        self.problem = problem
        self.target = target

    def add(self, weight: float, time: float, t: Time, x: State, u: ControlValue) -> None:
        """Adds a node, as of `Node`."""
        node = Node(weight, time, t, x, u)
        y = self.problem.observe(node, self.target)
        # Most problems observe nothing: a copy for each of many steps would be for nothing, too.
        self.append(node if y is None else node._replace(y=y))

    def cost(self) -> Cost | float:
        """The running cost of all nodes."""
        if not self.problem.has_stage_cost:
            return 0.0
        x = self[0].x
        with blamed(called(self.problem, "stage_cost")):
            cost = self.problem.running_cost(self, self.target)
        return as_cost("running_cost", cost, x)


def slope(
    problem: Problem,
    tableau: Tableau,
    h: float,
    stages: Sequence[Stage],
    x: State,
    nodes: Nodes | None,
) -> tuple[ControlValue, State]:
    """The control at the first stage and `sum_i b_i k_i`, by which `x` moves; adds the nodes.

    Arguments:
        problem: The problem.
        tableau: The method.
        h: The width of the step, negative for one backwards in time.
        stages: Its stages.
        x: The state that it starts from.
        nodes: Where to add the nodes of the running cost; None if that is not asked for.
    """
    slopes, values = [], []
    for (time, t, law), a, b in zip(stages, tableau.a, tableau.b, strict=True):
        x_i = x.add(weighted(a, slopes), alpha=h) if slopes else x
        u = law(x_i)
        values.append(u)
        if nodes is not None:
            nodes.add(h * b, time, t, x_i, u)
        slopes.append(vector_field(problem, t, x_i, u, x.shape))
    return values[0], weighted(tableau.b, slopes)
