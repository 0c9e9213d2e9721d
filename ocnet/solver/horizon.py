"""Replaces a horizon that requires a gradient by one of numbers, with the same problem on it."""

from typing import Any

import torch
from torch import Tensor

from .._arguments import as_number
from ..control import Control, Feedback
from ..problem import Problem, Sample
from ..types import Cost, State, Time
from .gradient import Gradient
from .running_cost import parts


class ScaledTime(Problem):
    r"""A problem whose time is stretched by a rate of 1, which carries the horizon's gradient.

    With $s$ the time of the solver, on a horizon of numbers $[s_0, s_1]$ that are equal to
    `t0` and `t1`,

    $$ t(s) = t_0 + r (s - s_0), \quad r = (t_1 - t_0) / (s_1 - s_0), \quad
       \frac{dx}{ds} = r f(t(s), x, u), \quad \text{cost } r \, l(t(s), x, u). $$

    The control is a function of $s$: its grid moves with the horizon.

    Arguments:
        inner: The problem, whose `t0` or `t1` is a tensor that requires a gradient.
    """

    t0: float
    t1: float

    def __init__(self, inner: Problem):
        super().__init__()
        self.inner = inner
        self.t0, self.t1 = as_number("t0", inner.t0), as_number("t1", inner.t1)
        self.state_shape: tuple[int, ...] = inner.state_shape
        self.control_shape: tuple[int, ...] | None = inner.control_shape

    @property
    def has_stage_cost(self) -> bool:
        return self.inner.has_stage_cost

    @property
    def rate(self) -> Tensor:
        """`r`, a scalar."""
        return torch.as_tensor(self.inner.t1 - self.inner.t0).double() / (self.t1 - self.t0)

    def time(self, s: Time) -> Time:
        """`t(s)`."""
        return self.inner.t0 + self.rate.to(s) * (s - self.t0)

    def dynamics(self, t: Time, x: State, u: Any) -> State:
        return self.rate.to(x) * self.inner.dynamics(self.time(t), x, u)

    def stage_cost(self, t: Time, x: State, u: Any, target: Tensor | None) -> Cost:
        return self.rate.to(x) * self.inner.stage_cost(self.time(t), x, u, target)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.inner.sample(batch_size, generator)


def on_numbers(problem: Problem, control: Control, gradient: Gradient) -> Problem:
    """The problem itself, unless its horizon requires a gradient.

    Arguments:
        problem: The problem.
        control: The control.
        gradient: How the gradient is found.

    Raises:
        ValueError: If `gradient`, the control, a projection or the stage cost cannot follow the
            horizon's gradient.
    """
    ends = (problem.t0, problem.t1)
    if not any(isinstance(t, Tensor) and t.requires_grad for t in ends):
        return problem
    if not torch.is_grad_enabled():
        return problem
    name = "t1" if isinstance(problem.t1, Tensor) and problem.t1.requires_grad else "t0"
    obstacle = None
    if not gradient.follows_time:
        obstacle = str(gradient)
    if isinstance(control, Feedback):
        obstacle = "a Feedback control"
    if problem.projections:
        obstacle = "a problem with projections"
    if parts(problem.stage_cost)[1]:
        obstacle = "a stage cost that observes states"
    if obstacle is not None:
        value = as_number(name, getattr(problem, name))
        raise ValueError(
            f"{name}={value} requires a gradient, which {obstacle} does "
            "not follow: let it require none, or take an open-loop control and "
            "gradient=Backprop()."
        )
    return ScaledTime(problem)
