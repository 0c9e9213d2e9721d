"""Optimal control problems in Bolza form."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..control import Control, PiecewiseConstant
from ..observation import Observation
from ..types import Cost, State, Time
from .projection import Projection
from .sample import Sample


class Batch(NamedTuple):
    """A problem from many initial states, each with parameters of its own, as `solve` takes it.

    Attributes:
        problem: The problem that these are instances of.
        x0: The initial states, shape `(*batch, *state_shape)`.
        target: What the costs compare with, shape `(*batch, ...)`, or None.
        parameters: Values that replace the problem's parameters or buffers of the same name,
            each of the same shape or of shape `(*batch, *shape)`.
    """

    problem: "Problem"
    x0: State
    target: Tensor | None
    parameters: dict[str, Tensor]


HIDDEN = ("stage_cost", "terminal_cost", "projections", "observations")
"""The members with defaults that a module may take the place of."""


class Problem(nn.Module, abc.ABC):
    r"""A continuous-time optimal control problem in Bolza form,

    $$ \min_u \; \mathbb{E} \Big[ \int_{t_0}^{t_1} l(t, x, u) \, dt + \phi(x(t_1))
       + \sum_i c_i(x(t_{i1}), x(t_{i2}), \dots) \Big] $$

    $$ \text{subject to} \quad \dot{x} = f(t, x, u), \quad x(t_0) = E(x_0), \quad
       g(t, x, u) \le 0, \quad u_{\min} \le u \le u_{\max}, \quad
       \psi(x(t_1)) = 0, \quad \omega(x(t_1)) \le 0. $$

    A problem knows nothing of grids, networks, data sets or optimisers. Implement `dynamics` and
    `sample`, and one or both of `stage_cost` and `terminal_cost` (a cost that is not implemented is
    zero). A cost may be a method, or a cost object assigned in the constructor:
    `self.stage_cost = 0.5 * Quadratic(...)`. `SupervisedProblem` adds what learning from data
    needs.

    Every method accepts leading batch dimensions of `x`, and a `u` whose batch dimensions
    broadcast with those of `x`.

    Attributes:
        t0, t1: The horizon: numbers, or tensors that hold one and may require a gradient.
        state_shape: The shape of one state at `t0`.
        control_shape: The shape of one control value; None if a control value is a layer.
        projections: The maps `S_k` from one state space to the next, in order of time.
        jumps: Times at which `f` or `l` jumps or has a kink by itself, such as the two ends of a
            pulse. Steps end there: an adaptive method may miss a pulse narrower than its steps.
        observations: The costs `c_i` of the states at given times.
        control_bounds: Lower and upper bounds of `u`, or None.
        final_time_bounds: Lower and upper bound of a final time that is free, with `t1` the
            guess; None if it is fixed.
        static_parameters: The names of the problem's own parameters that are optimised together
            with the control, with the lower and upper bounds of each.
        state_names, state_units, control_names, control_units: For people: the names and units of
            the components, flattened. Pictures show components in "rad" without jumps by whole
            turns.
    """

    t0: float = 0.0
    t1: float = 1.0
    state_shape: tuple[int, ...]
    control_shape: tuple[int, ...] | None = None
    projections: Sequence[Projection] = ()
    jumps: Sequence[float] = ()
    observations: Sequence[Observation] = ()
    control_bounds: tuple[float | Tensor, float | Tensor] | None = None
    final_time_bounds: tuple[float, float] | None = None
    static_parameters: Mapping[str, tuple[float, float]] = {}
    state_names: Sequence[str] = ()
    state_units: Sequence[str] = ()
    control_names: Sequence[str] = ()
    control_units: Sequence[str] = ()

    @abc.abstractmethod
    def dynamics(self, t: Time, x: State, u: Any) -> State:
        """The vector field `f(t, x, u)`, shape `(*batch, *state_shape)`."""

    def stage_cost(self, t: Time, x: State, u: Any, target: Tensor | None) -> Cost:
        """The stage cost `l(t, x, u)` per unit of time, shape `(*batch,)`; zero by default.

        Arguments:
            t: The time, without dimensions, in double precision.
            x: The states, shape `(*batch, *state_shape)`.
            u: The control values, shape `(*batch, *control_shape)`, or a module (a layer).
            target: What the sample's states are compared with, shape `(*batch, ...)`, or None.
        """
        return x.new_zeros(self.batch_shape(x))

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        """The terminal cost `phi(x(t1))`, shape `(*batch,)`; zero by default."""
        return x.new_zeros(self.batch_shape(x))

    def path_constraint(self, t: Time, x: State, u: Any) -> Tensor:
        """`g(t, x, u)`, which must be `<= 0`, shape `(*batch, rows)`; no rows by default.

        `solve` imposes it at the start of each step, with that step's control, and at the final
        time with the last step's control (except for rows that read neither state nor time: that
        control has satisfied them already). Rows that no decision can influence are left out.
        These are the rows at the given initial state; with Euler steps, they are also the rows on a
        position at the second node, if the control acts on its acceleration. If the initial state
        violates such rows, the solution's `violation` and `reason` say so, but `solve` goes on.
        """
        return x.new_zeros(*self.batch_shape(x), 0)

    def terminal_constraint(self, x: State, target: Tensor | None) -> Tensor:
        """`psi(x(t1))`, which must be `= 0`, shape `(*batch, rows)`; no rows by default."""
        return x.new_zeros(*self.batch_shape(x), 0)

    def terminal_inequality(self, x: State, target: Tensor | None) -> Tensor:
        """`omega(x(t1))`, which must be `<= 0`, shape `(*batch, rows)`; no rows by default."""
        return x.new_zeros(*self.batch_shape(x), 0)

    @abc.abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        """Draws `batch_size` inputs (and targets)."""

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        """A guess of the control, one interval for each of `n` steps; zero by default.

        Raises:
            TypeError: If the control values are layers: the problem must then override this.
        """
        if self.control_shape is None:
            raise TypeError(
                f"{type(self).__name__} takes layers: it must implement initial_control."
            )
        return PiecewiseConstant(self.t0, self.t1, n, self.control_shape)

    def initial_states(self, t: Tensor, x0: State) -> Tensor | None:
        """A guess of the states at times `t`, shape `(time, *batch, *state_shape)`.

        None, the default, means those that the initial control leads to.
        """
        return None

    def batch(self, x0: State, target: Tensor | None = None, **parameters: Tensor) -> Batch:
        """This problem from each of the states `x0`; one call of `solve` takes thousands."""
        return Batch(self, x0, target, parameters)

    def embed(self, x0: Tensor) -> Tensor:
        """`E(x_0)`, the initial state of an input; the input itself by default."""
        return x0

    @property
    def has_stage_cost(self) -> bool:
        """Whether the problem has its own stage cost; if not, solvers need not sum up zeros."""
        return "stage_cost" in self.__dict__ or type(self).stage_cost is not Problem.stage_cost

    @property
    def constraints(self) -> list[str]:
        """The names of the constraints that the problem has; training enforces none of them."""
        methods = ("path_constraint", "terminal_constraint", "terminal_inequality")
        found = [
            n
            for n in methods
            if n in self.__dict__ or getattr(type(self), n) is not getattr(Problem, n)
        ]
        values = ("control_bounds", "final_time_bounds")
        found += [n for n in values if getattr(self, n) is not None]
        bounded = any(math.isfinite(b) for pair in self.static_parameters.values() for b in pair)
        return [*found, "static_parameters"] if bounded else found

    def batch_shape(self, x: State) -> torch.Size:
        """The batch dimensions of a state (its rank is the same in every stage)."""
        return x.shape[: x.dim() - len(self.state_shape)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("projections", "observations"):
            value = nn.ModuleList(value)
        if name in ("t0", "t1") and isinstance(value, nn.Parameter):
            # Because of the defaults below, PyTorch would treat the name as already taken.
            self._parameters[name] = value
            object.__setattr__(self, name, value)
            return
        super().__setattr__(name, value)
        # An assigned module lies in `_modules`, where Python looks only after it has looked in the
        # class, so the defaults above would hide it.
        if name in HIDDEN and isinstance(value, nn.Module):
            object.__setattr__(self, name, value)
