"""One step and the end of a discretised problem, as functions of the variables at a point."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ...problem import Problem
from ...solver import Tableau
from ...solver.tableau import moved, stage_state, weighted
from .check import own_value


class Call(nn.Module):
    """A function that reads a problem, as a module: the problem's parameters can be replaced."""

    def __init__(self, problem: nn.Module):
        super().__init__()
        self.problem = problem

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Points:
    """The functions of a step and of the end at one point, or at many that share the time.

    The state is extended by what is constant and free, `z = (x, theta)`: the factor `r` by which
    a free final time stretches the horizon, `t = t0 + r (s - t0)` with `s` in `[t0, t1]`, and the
    static parameters.

    Arguments:
        problem: The problem whose functions are evaluated at all nodes at once.
        tableau: The Runge-Kutta method.
        h: The width of a step on the unstretched horizon.

    Attributes:
        last: Which rows of the path constraint hold at the final time too.
    """

    problem: Problem
    tableau: Tableau
    h: float

    def __init__(self, problem: Problem, tableau: Tableau, h: float):
        self.problem, self.tableau, self.h = problem, tableau, h
        self.call: Call = Call(problem)
        self.nx: int = torch.Size(problem.state_shape).numel()
        self.free_time: bool = problem.final_time_bounds is not None
        self.static: dict[str, Tensor] = {
            name: own_value(problem, name) for name in problem.static_parameters
        }
        self.nz: int = self.nx + self.free_time + sum(v.numel() for v in self.static.values())
        self.last: list[int] = []

    def constants(self, z: Tensor) -> dict[str, Tensor]:
        """The static parameters that `z` holds, by name, each `(*batch, *shape)`."""
        values, start = {}, self.nx + self.free_time
        for name, like in self.static.items():
            value = z[..., start : start + like.numel()]
            values[name] = value.reshape((*z.shape[:-1], *like.shape))
            start += like.numel()
        return values

    def replaced(
        self, function: Callable[..., Any], z: Tensor, own: dict[str, Tensor], *args: Any
    ) -> Any:
        """`function(z, *args)` while the problem's parameters have the values given."""
        values = {**own, **self.constants(z)}
        if not values:
            return function(z, *args)
        prefixed = {f"problem.{name}": value for name, value in values.items()}
        return functional_call(self.call, prefixed, (function, z, *args))

    def stage(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None, own: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next state `F`, the cost `c` of the step, and the path constraint `g`."""
        return self.replaced(self.step, z, own, u, s, target)

    def ending(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None, own: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The terminal cost `phi`, constraint `psi` and inequality `omega`.

        `omega` includes the rows of the path constraint at the final time, with the last step's
        control.
        """
        return self.replaced(self.finish, z, own, u, s, target)

    def step(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A Runge-Kutta step of state and running cost."""
        problem, batch = self.problem, z.shape[:-1]
        x, (h, t) = z[..., : self.nx], self.stretched(z, s)
        v = u.reshape(*batch, *self.problem.control_shape)  # pyright: ignore
        slopes, cost, g = [], x.new_zeros(*batch, 1), None
        for i, (b, c) in enumerate(zip(self.tableau.b, self.tableau.c, strict=True)):
            x_i = stage_state(self.tableau, i, h, x, slopes)
            x_i, t_i = x_i.reshape(*batch, *problem.state_shape), t if batch else t + c * h
            slopes.append(problem.dynamics(t_i, x_i, v).reshape(x.shape))
            if problem.has_stage_cost:
                l = problem.stage_cost(t_i, x_i, v, target)
                cost = cost + (b * h) * l.expand(batch).unsqueeze(-1)
            g = problem.path_constraint(t_i, x_i, v) if g is None else g
        assert g is not None, "a tableau has a first stage"
        return moved(x, weighted(self.tableau.b, slopes), h), cost, g

    def stretched(self, z: Tensor, s: Tensor) -> tuple[float | Tensor, Tensor]:
        """The width of a step and the time, where the horizon is stretched as `z` says."""
        if not self.free_time:
            return self.h, s
        # Many points at once share one time, which such problems do not read.
        rate = z[..., self.nx : self.nx + 1] if z.dim() > 1 else z[self.nx]
        t0 = self.problem.t0
        return self.h * rate, s if z.dim() > 1 else t0 + rate * (s - t0)

    def finish(
        self, z: Tensor, u: Tensor, s: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Terminal cost and constraints."""
        problem, batch = self.problem, z.shape[:-1]
        x = z[..., : self.nx].reshape(*batch, *problem.state_shape)
        omega = problem.terminal_inequality(x, target)
        if self.last:
            v = u.reshape(*batch, *self.problem.control_shape)  # pyright: ignore
            g = problem.path_constraint(self.stretched(z, s)[1], x, v)
            omega = torch.cat([omega, g[..., self.last]], -1)
        return (
            problem.terminal_cost(x, target).unsqueeze(-1),
            problem.terminal_constraint(x, target),
            omega,
        )
