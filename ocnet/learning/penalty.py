"""Constraints as a penalty: violating them has a cost, which training can trade off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .._arguments import check_range
from ..cost import CostTerm, StageCost
from ..observation import Observation
from ..problem import Problem, Projection, Sample
from ..supervised import scores, SupervisedProblem
from ..types import Cost, State, Time


@dataclass(frozen=True)
class Penalty:
    r"""The squared violation of a problem's constraints, times a weight, is added to the cost,

    $$ w \Big( \int |g(t, x, u)_+|^2 + |(u - b)_+|^2 + |(a - u)_+|^2 \, dt
       + |h(x(t_1))|^2 + |r(x(t_1))_+|^2 \Big), $$

    with $g$ the path constraint, $[a, b]$ the control bounds, $h$ and $r$ the terminal constraint
    and inequality. The optimum approaches the constrained one as the weight grows, from outside.

    Arguments:
        weight: The weight `w`.

    Raises:
        ValueError: Unless the weight is positive and finite.
    """

    weight: float

    def __post_init__(self) -> None:
        check_range("weight", self.weight, "0 <", "< inf")


Constraints = Penalty | Literal["refuse", "ignore"]
"""What training does about the constraints of a problem."""

PENALISED = ("path_constraint", "terminal_constraint", "terminal_inequality", "control_bounds")


class Penalised(SupervisedProblem):
    """A problem without constraints, whose cost contains the penalty instead.

    Arguments:
        inner: The problem.
        weight: The weight of the penalty.
    """

    t0: float
    t1: float

    def __init__(self, inner: Problem, weight: float):
        super().__init__()
        self.inner = inner
        self.weight = weight
        self.t0, self.t1 = inner.t0, inner.t1
        self.state_shape: tuple[int, ...] = inner.state_shape
        self.control_shape: tuple[int, ...] | None = inner.control_shape
        self.projections: Sequence[Projection] = inner.projections
        self.observations: Sequence[Observation] = inner.observations
        self.is_along: bool = bool({"path_constraint", "control_bounds"} & set(inner.constraints))
        # A cost object may observe states, which a method would hide.
        if isinstance(inner.stage_cost, CostTerm):
            self.stage_cost = inner.stage_cost + Along(self)

    @property
    def has_stage_cost(self) -> bool:
        return self.is_along or self.inner.has_stage_cost

    def dynamics(self, t: Time, x: State, u: Any) -> State:
        return self.inner.dynamics(t, x, u)

    def stage_cost(self, t: Time, x: State, u: Any, target: Tensor | None) -> Cost:
        return self.inner.stage_cost(t, x, u, target) + self.along(t, x, u)

    def along(self, t: Time, x: State, u: Any) -> Cost:
        """The penalty per unit of time."""
        cost = squares(self.inner.path_constraint(t, x, u).clamp(min=0))
        if self.inner.control_bounds is not None:
            n = len(self.control_shape or ())
            low, high = (torch.as_tensor(b).to(u) for b in self.inner.control_bounds)
            outside = (u - high).clamp(min=0) + (low - u).clamp(min=0)
            cost = cost + squares(outside.reshape(*u.shape[: u.dim() - n], -1))
        return self.weight * cost

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        missed = squares(self.inner.terminal_constraint(x, target))
        beyond = squares(self.inner.terminal_inequality(x, target).clamp(min=0))
        return self.inner.terminal_cost(x, target) + self.weight * (missed + beyond)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.inner.sample(batch_size, generator)

    def embed(self, x0: Tensor) -> Tensor:
        return self.inner.embed(x0)

    def score(self, x: State, target: Tensor | None) -> dict[str, Cost]:
        return scores(self.inner, x, target)


class Along(StageCost):
    """The penalty along the path, as a cost object.

    Arguments:
        problem: The problem with the penalty.
    """

    problem: Penalised

    def __init__(self, problem: Penalised):
        super().__init__()
        # Not a submodule: this cost is itself a part of the problem.
        object.__setattr__(self, "problem", problem)

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        return self.problem.along(t, x, u)


def squares(rows: Tensor) -> Tensor:
    """The sum of the squares of the rows of a constraint, shape `(*batch,)`."""
    return rows.square().sum(-1)


def unconstrained(problem: Problem, constraints: Constraints) -> Problem:
    """The problem to train in place of a given one.

    Arguments:
        problem: The given one, perhaps with constraints.
        constraints: What to do about its constraints.

    Raises:
        TypeError, ValueError: If there are constraints and they are to be refused, or they have
            no penalty.
    """
    if constraints not in ("refuse", "ignore") and not isinstance(constraints, Penalty):
        raise TypeError(
            f'constraints must be "refuse", "ignore" or a Penalty, but got {constraints!r}.'
        )
    found = problem.constraints
    if constraints == "ignore" or not found:
        return problem
    name = type(problem).__name__
    if not isinstance(constraints, Penalty):
        raise ValueError(
            f"{name} has constraints ({', '.join(found)}), which training does not keep: use "
            'ocnet.solve, or give constraints=Penalty(weight) or constraints="ignore".'
        )
    others = [n for n in found if n not in PENALISED]
    if others:
        raise ValueError(
            f"{name} has {', '.join(others)}, for which there is no penalty: use solve."
        )
    return Penalised(problem, constraints.weight)
