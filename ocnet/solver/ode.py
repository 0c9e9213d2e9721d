"""The ODE solver: the same problem and the same control handed to torchdiffeq."""

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from .._types import State
from ..control import Layers
from ..control.base import check_count, Control, TIME_TOLERANCE, unbound
from ..problem import Problem, Projection
from ..trajectory import Trajectory
from .base import (
    check_control_value,
    check_running_cost,
    check_solve,
    project,
    Solver,
    SolverError,
    uniform_grid,
    vector_field,
)
from .recompute import frozen, tracking


ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
ORDER = {
    "dopri5": 5,
    "dopri8": 8,
    "bosh3": 3,
    "fehlberg2": 2,
    "adaptive_heun": 2,
    "euler": 1,
    "midpoint": 2,
    "heun2": 2,
    "heun3": 3,
    "rk4": 4,
    "explicit_adams": 4,
    "implicit_adams": 4,
}


class TorchDiffEq(Solver):
    """Any method of torchdiffeq, with the running cost as one more state.

    The control's knots are handed over, so that no adaptive step straddles one, and a stage at
    the end of a fixed step reads the control's left limit.

    Arguments:
        method: An adaptive method (dopri5, dopri8, bosh3, fehlberg2, adaptive_heun) or one of
            fixed steps (euler, midpoint, heun2, heun3, rk4, explicit_adams, implicit_adams).
        n: The steps of a fixed method, which needs it; of an adaptive method, into how many
            equal intervals the times of the trajectory divide the horizon.
        rtol, atol: The tolerances of an adaptive method, relative and absolute.
        gradient: "backprop" differentiates the solver's steps; "adjoint" solves the adjoint
            equation backwards in time, with the same tolerances and memory that does not grow
            with the number of steps.
        max_steps: An adaptive method gives up after so many steps between two output times.

    Raises:
        TypeError, ValueError: Naming the argument that is off.
    """

    def __init__(
        self,
        method: str = "dopri5",
        n: int | None = None,
        *,
        rtol: float = 1e-7,
        atol: float = 1e-9,
        gradient: Literal["backprop", "adjoint"] = "backprop",
        max_steps: int = 100_000,
    ):
        if method not in ORDER:
            raise ValueError(f"method must be one of {', '.join(ORDER)}, but got {method!r}.")
        if method in FIXED and n is None:
            raise ValueError(f"{method} takes fixed steps: give their number, but got n=None.")
        check_count("n", 1 if n is None else n)
        check_count("max_steps", max_steps)
        for name, tolerance in (("rtol", rtol), ("atol", atol)):
            if not tolerance > 0:
                raise ValueError(f"Must have {name} > 0, but got {name}={tolerance}.")
        if gradient not in ("backprop", "adjoint"):
            raise ValueError(f'gradient must be "backprop" or "adjoint", but got {gradient!r}.')
        self.method = method
        self.order = ORDER[method]
        self.is_fixed = method in FIXED
        self.n = 1 if n is None else n
        self.rtol = float(rtol)
        self.atol = float(atol)
        self.gradient = gradient
        self.max_steps = max_steps

    def __repr__(self) -> str:
        how = f"{self.n}" if self.is_fixed else f"rtol={self.rtol:g}, atol={self.atol:g}"
        more = "" if self.gradient == "backprop" else ", adjoint"
        return f"torchdiffeq {self.method}({how}{more})"

    def solve(
        self, problem: Problem, control: Control, x0: State, target: Tensor | None = None
    ) -> Trajectory:
        check_solve(problem, control, x0)
        grid = uniform_grid(problem, self.n)
        grid = grid._replace(times=snapped(grid.times, control.knots))
        field = AugmentedField(problem, control, target, x0.dtype, self.uses_adjoint)
        check_control_value(problem, control(problem.t0, x0))

        x, cost = x0, x0.new_zeros(problem.batch_shape(x0))
        states, k = [x0], 0
        while k < len(grid.times) - 1:
            if k in grid.projections:
                x, cost = field.project(grid.projections[k], x, cost)
                states.append(x)
                k += 1
                continue
            end = min((j for j in grid.projections if j > k), default=len(grid.times) - 1)
            xs, costs = self.integrate(field, grid.times[k : end + 1], x, cost)
            states.extend(unbound(xs[1:]))
            x, cost, k = xs[-1], costs[-1], end
        check_running_cost(problem, cost, x)
        return Trajectory(
            x0.new_tensor(grid.times), tuple(states), (), cost, evaluations=field.evaluations
        )

    @property
    def uses_adjoint(self) -> bool:
        """Whether a solution that is asked for now is one that the adjoint equation follows."""
        return self.gradient == "adjoint" and torch.is_grad_enabled()

    def integrate(
        self, field: "AugmentedField", times: Sequence[float], x: State, cost: Tensor
    ) -> tuple[Tensor, Tensor]:
        """States and running costs at `times`, which no projection lies between."""
        # Double precision time keeps the widths of many small steps exact for any state dtype.
        dtype = x.dtype if x.device.type == "mps" else torch.float64
        ts = torch.tensor(times, dtype=dtype, device=x.device)
        inner = [t for t in field.control.knots if times[0] < t < times[-1]]
        options: dict[str, Any] = {"perturb": True}
        if not self.is_fixed:
            # A step beyond either end would read the control, and the state space, of the
            # stage behind it.
            options = {"max_num_steps": self.max_steps, "step_t": ts[[0, -1]]}
            if inner:
                options["jump_t"] = torch.tensor(inner, dtype=dtype, device=x.device)
        settings: dict[str, Any] = {
            "rtol": self.rtol, "atol": self.atol, "method": self.method, "options": options,
        }  # fmt: skip
        # Not above: it imports scipy's integrators, which takes a third of a second.
        from torchdiffeq import odeint, odeint_adjoint

        field.reached = []
        try:
            if self.uses_adjoint:
                params = (*field.control.parameters(), *field.problem.parameters())
                params = tuple(p for p in params if p.requires_grad)
                xs, costs = odeint_adjoint(field, (x, cost), ts, adjoint_params=params, **settings)
            else:
                xs, costs = odeint(field, (x, cost), ts, **settings)
        except AssertionError as error:
            raise self.failure(field, error, times, x, cost, settings) from None
        return xs, costs  # pyright: ignore[reportReturnType]

    def failure(
        self,
        field: "AugmentedField",
        error: AssertionError,
        times: Sequence[float],
        x: State,
        cost: Tensor,
        settings: dict,
    ) -> SolverError:
        """The error that tells where an adaptive method gave up, with the trajectory up to there.

        The accepted steps are solved again, so that a run that goes well need not keep them.
        """
        from torchdiffeq import odeint

        reached = [times[0], *(t for t in dict.fromkeys(field.reached) if t > times[0])]
        time, layer = reached[-1], field.interval(reached[-1])
        reason = "non-finite state" if "non-finite" in str(error) else str(error)
        with torch.no_grad():
            xs, costs = x[None], cost[None]
            if len(reached) > 1:
                ts = torch.tensor(reached, dtype=torch.float64, device=x.device)
                xs, costs = odeint(field, (x, cost), ts, **settings)
            states, cost = tuple(xs.unbind()), costs[-1]  # pyright: ignore
        partial = Trajectory(x.new_tensor(reached), states, (), cost, field.evaluations)
        message = (
            f"{self.method} broke down at time t={time:.6g}, layer {layer} of "
            f"{field.control.n_intervals}, after {len(reached) - 1} steps: {reason}."
        )
        return SolverError(message, time, partial)


class AugmentedField:
    """The right-hand side `(f, l)` of state and running cost, in the form torchdiffeq calls.

    Arguments:
        problem, control, target: As of a solver.
        dtype: The precision of the state.
        has_adjoint: Whether the adjoint equation is solved behind it, which evaluates it again.
    """

    def __init__(
        self,
        problem: Problem,
        control: Control,
        target: Tensor | None,
        dtype: torch.dtype,
        has_adjoint: bool,
    ):
        self.problem = problem
        self.control = control
        self.target = target
        self.pieces = control.pieces()
        # Time arrives rounded to the state's precision and moved by one unit in the last place
        # to a knot's left or right: knots rounded the same way tell the two apart.
        self.inner = torch.tensor(control.knots[1:-1], dtype=dtype).tolist()
        self.has_adjoint = has_adjoint
        # What follows statistics where the field is evaluated, in each interval.
        parts = control.layers if isinstance(control, Layers) else [control]
        self.norms = [tracking(problem, part) for part in parts] if has_adjoint else []
        self.evaluations = 0
        self.reached: list[float] = []

    def interval(self, t: float) -> int:
        """The index of the control's interval that holds `t`."""
        return bisect_right(self.inner, t)

    def __call__(self, t: Tensor, state: tuple[State, Tensor]) -> tuple[State, Tensor]:
        self.evaluations += 1
        k = self.interval(float(t.detach()))
        # The adjoint alone asks for derivatives: it meets the batch a second time.
        again = self.has_adjoint and torch.is_grad_enabled()
        with frozen(self.norms[min(k, len(self.norms) - 1)]) if again else nullcontext():
            return self.rates(k, t, state)

    def rates(self, k: int, t: Tensor, state: tuple[State, Tensor]) -> tuple[State, Tensor]:
        """`(f, l)` at a time in the `k`-th interval of the control."""
        x, cost = state
        u = self.pieces[k](t, x)
        f = vector_field(self.problem, t, x, u, x.shape)
        if not self.problem.has_stage_cost:
            return f, torch.zeros_like(cost)
        rate = self.problem.stage_cost(t, x, u, self.target)
        check_running_cost(self.problem, cost + rate, x)
        return f, rate.expand_as(cost)

    def callback_step(self, t0: Tensor, state: tuple[State, Tensor], dt: Tensor) -> None:
        """Notes where each attempted step begins, which is where the last accepted one ended."""
        self.reached.append(float(t0.detach()))

    def project(self, projection: Projection, x: State, cost: Tensor) -> tuple[State, Tensor]:
        """State and running cost behind a projection."""
        t = x.new_tensor(projection.start)
        self.evaluations += 1
        u = self.pieces[self.control.intervals([projection.start])[0]](t, x)
        if self.problem.has_stage_cost:
            h = projection.end - projection.start
            cost = cost + h * self.problem.stage_cost(t, x, u, self.target)
        return project(self.problem, projection, t, x, u), cost


def snapped(times: Sequence[float], knots: Sequence[float]) -> list[float]:
    """The times, with those that lie beside a knot moved onto it."""
    slack = TIME_TOLERANCE * (times[-1] - times[0])

    def snap(t: float) -> float:
        after = bisect_right(knots, t)
        near = [knot for knot in knots[max(after - 1, 0) : after + 1] if abs(knot - t) <= slack]
        return near[0] if near else t

    return [snap(t) for t in times]
