"""The ODE solver: the same problem and the same control handed to torchdiffeq."""

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import nn, Tensor

from .._arguments import check_count
from ..control import Layers
from ..control.base import as_times, Control, Piece, time_dtype, time_slack, unbound
from ..problem import Problem, Projection
from ..trajectory import Trajectory
from ..types import ControlValue, State
from .base import (
    acting,
    check_control_value,
    check_running_cost,
    check_solve,
    Grid,
    project,
    Solver,
    SolverError,
    Times,
    uniform_grid,
    vector_field,
)
from .dense import evaluation_times, flat, places, with_states_at
from .draws import drawing_nothing
from .first_look import first_look
from .gradient import Adjoint, Backprop, check_gradient, Gradient
from .horizon import on_numbers
from .recompute import frozen, once_differentiable, random_state, tracking
from .running_cost import RunningCost


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


BACKPROP = Backprop()


class TorchDiffEq(Solver):
    """Any method of torchdiffeq, with the running cost as one more state.

    The control's knots and the problem's jumps are handed over, so that no adaptive step straddles
    one, and a stage at the end of a fixed step reads the control's left limit. The method adds up
    its steps in double precision, where the device has it; the dynamics are evaluated in the
    state's precision.

    Arguments:
        method: An adaptive method (dopri5, dopri8, bosh3, fehlberg2, adaptive_heun) or one of
            fixed steps (euler, midpoint, heun2, heun3, rk4, explicit_adams, implicit_adams).
        n: The number of steps, required for a method of fixed steps. For an adaptive method, the
            number of equal intervals into which the times of the trajectory divide the horizon.
        rtol, atol: The tolerances of an adaptive method, relative and absolute.
        gradient: `Backprop()` differentiates the method's steps; `Adjoint()` solves the adjoint
            equation backwards in time, with memory that does not grow with the number of steps.
        max_steps: An adaptive method gives up after this many steps between two output times.
        norm: How an adaptive method measures the error of a batch: "sample" takes the largest of
            the samples' own norms, so that each is solved to the tolerance; "joint" takes one norm
            over all, in which many easy samples hide a hard one.

    Raises:
        TypeError, ValueError: The message names the argument that is wrong.
    """

    gradients: ClassVar[tuple[type[Gradient], ...]] = (Backprop, Adjoint)

    def __init__(
        self,
        method: str = "dopri5",
        n: int | None = None,
        *,
        rtol: float = 1e-7,
        atol: float = 1e-9,
        gradient: Gradient = BACKPROP,
        max_steps: int = 100_000,
        norm: Literal["sample", "joint"] = "sample",
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
        check_gradient(gradient, self.gradients)
        if norm not in ("sample", "joint"):
            raise ValueError(f'norm must be "sample" or "joint", but got {norm!r}.')
        self.norm = norm
        self.method = method
        self.order: int = ORDER[method]
        self.is_fixed: bool = method in FIXED
        self.n: int = 1 if n is None else n
        self.rtol: float = float(rtol)
        self.atol: float = float(atol)
        self.gradient: Gradient = gradient
        self.max_steps = max_steps

    def __repr__(self) -> str:
        how = f"{self.n}" if self.is_fixed else f"rtol={self.rtol:g}, atol={self.atol:g}"
        more = "" if self.gradient == BACKPROP else f", {self.gradient}"
        more += "" if self.norm == "sample" else ", joint norm"
        return f"torchdiffeq {self.method}({how}{more})"

    def solve(
        self,
        problem: Problem,
        control: Control | None,
        x0: State,
        target: Tensor | None = None,
        t_eval: Times | None = None,
    ) -> Trajectory:
        control = acting(problem, control)
        check_solve(problem, control, x0)
        times = evaluation_times(problem, t_eval, x0)
        problem = on_numbers(problem, control, self.gradient)
        grid = uniform_grid(problem, self.n)
        grid = grid._replace(times=snapped(grid.times, control.knots))
        grid = grid if times is None else refined(grid, flat(times))
        field = AugmentedField(
            problem, control, target, x0.dtype, self.gradient if self.uses_adjoint else BACKPROP
        )
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
        t = as_times(grid.times, x0.device)
        controls = applied(control, grid.times, states)
        found = Trajectory(t, tuple(states), controls, cost, field.evaluations)
        return found if times is None else with_states_at(found, times, 1, problem, control)

    @property
    def uses_adjoint(self) -> bool:
        """Whether a solution computed now will have its gradient from the adjoint equation."""
        return isinstance(self.gradient, Adjoint) and torch.is_grad_enabled()

    def integrate(
        self, field: "AugmentedField", times: Sequence[float], x: State, cost: Tensor
    ) -> tuple[Tensor, Tensor]:
        """States and running costs at `times`, which no projection lies between.

        Arguments:
            field: `f` and `l` in one function of time and state.
            times: Increasing, at least two.
            x, cost: State and running cost at the first of them.
        """
        # torchdiffeq rounds the time to the dtype of what it integrates: that must be double.
        dtype = torch.promote_types(x.dtype, time_dtype(x.device))
        ts = torch.tensor(times, dtype=dtype, device=x.device)
        breaks = sorted({*field.control.knots, *field.problem.jumps})
        inner = [t for t in breaks if times[0] < t < times[-1]]
        options: dict[str, Any] = {"perturb": True}
        if not self.is_fixed:
            # A step beyond either end would read the control, and the state space, of the
            # stage after it.
            options = {"max_num_steps": self.max_steps, "step_t": ts[[0, -1]]}
            if self.norm == "sample":
                options["norm"] = functools.partial(worst_sample, batch=cost.dim())
            if inner:
                options["jump_t"] = torch.tensor(inner, dtype=dtype, device=x.device)
        settings: dict[str, Any] = {
            "rtol": self.rtol, "atol": self.atol, "method": self.method, "options": options,
        }  # fmt: skip
        # Imported here because it imports scipy's integrators, which takes a third of a second.
        from torchdiffeq import odeint, odeint_adjoint

        field.reached = []
        start = (x.to(dtype), cost.to(dtype))
        try:
            if self.uses_adjoint:
                params = (*field.control.parameters(), *field.problem.parameters())
                params = tuple(p for p in params if p.requires_grad)
                drawn = random_state(x.device)
                with drawing_nothing(field.problem, field.control, x, self.gradient):
                    found = odeint_adjoint(field, start, ts, adjoint_params=params, **settings)
                if not torch.equal(drawn, random_state(x.device)):
                    raise self.gradient.refusal()
                once_differentiable(self.gradient, *found)  # pyright: ignore[reportArgumentType]
            else:
                found = odeint(field, start, ts, **settings)
        except AssertionError as error:
            if hasattr(error, "formula"):
                raise
            raise self.failure(field, error, times, start, settings) from None
        xs, costs = found
        return xs.to(x.dtype), costs.to(cost.dtype)  # pyright: ignore

    def failure(
        self,
        field: "AugmentedField",
        error: AssertionError,
        times: Sequence[float],
        start: tuple[State, Tensor],
        settings: dict[str, Any],
    ) -> SolverError:
        """The error that says where an adaptive method gave up, with the trajectory up to there.

        The accepted steps are solved again, so a run that goes well need not keep them.

        Arguments:
            field: `f` and `l` in one function, which noted the times that were reached.
            error: What torchdiffeq raised.
            times: The times that were asked for.
            start: State and running cost at the first of them.
            settings: How `odeint` was called.
        """
        from torchdiffeq import odeint

        reached = [times[0], *(t for t in dict.fromkeys(field.reached) if t > times[0])]
        time, layer = reached[-1], field.interval(reached[-1])
        reason = "non-finite state" if "non-finite" in str(error) else str(error)
        with torch.no_grad():
            xs, costs = (z[None] for z in start)
            if len(reached) > 1:
                ts = torch.tensor(reached, dtype=xs.dtype, device=xs.device)
                xs, costs = odeint(field, start, ts, **settings)
            states, cost = tuple(xs.to(field.dtype).unbind()), costs[-1].to(field.dtype)
            controls = applied(field.control, reached, states)
        t = as_times(reached, xs.device)
        partial = Trajectory(t, states, controls, cost, field.evaluations)
        message = (
            f"{self.method} broke down at time t={time:.6g}, layer {layer} of "
            f"{field.control.n_intervals}, after {len(reached) - 1} steps: {reason}."
        )
        return SolverError(message, time, partial)


class AugmentedField:
    """The right-hand side `(f, l)` of state and running cost, in the form torchdiffeq calls.

    Arguments:
        problem, control, target: What is integrated; see `Solver.solve`.
        dtype: The precision of the state.
        gradient: How its gradient is found: by the adjoint equation, it is evaluated again.
    """

    def __init__(
        self,
        problem: Problem,
        control: Control,
        target: Tensor | None,
        dtype: torch.dtype,
        gradient: Gradient,
    ):
        self.problem = problem
        self.control = control
        self.running: RunningCost = RunningCost(problem, target)
        self.dtype = dtype
        self.pieces: Sequence[Piece] = control.pieces()
        # A time at a knot arrives moved to the left or right by one unit in the last place.
        self.inner: list[float] = control.knots[1:-1]
        self.gradient = gradient
        self.has_adjoint: bool = gradient.repeats
        self.is_watched: bool = torch.is_grad_enabled()
        # For each interval, the modules used there that keep running statistics.
        parts = control.layers if isinstance(control, Layers) else [control]
        self.norms: list[list[nn.Module]] = (
            [tracking(problem, part) for part in parts] if gradient.repeats else []
        )
        self.evaluations: int = 0
        self.reached: list[float] = []

    def interval(self, t: float) -> int:
        """The index of the control's interval that holds `t`."""
        return bisect_right(self.inner, t)

    def __call__(self, t: Tensor, state: tuple[State, Tensor]) -> tuple[State, Tensor]:
        self.evaluations += 1
        # Only the adjoint asks for derivatives here, and it sees the batch a second time. Its first
        # evaluation in an interval is at the later end, and that time is not moved.
        again = self.has_adjoint and torch.is_grad_enabled()
        time = float(t.detach())
        k = bisect_left(self.inner, time) if again else self.interval(time)
        with frozen(self.norms[min(k, len(self.norms) - 1)]) if again else nullcontext():
            if not self.is_watched:
                return self.rates(k, t, state)
            self.is_watched = False
            known = (*self.control.parameters(), *self.problem.parameters())
            known = known if self.has_adjoint else None
            with first_look(self.problem, [t], state, self.gradient, known):
                return self.rates(k, t, state)

    def rates(self, k: int, t: Tensor, state: tuple[State, Tensor]) -> tuple[State, Tensor]:
        """`(f, l)` at a time in the `k`-th interval of the control."""
        x, cost = state[0].to(self.dtype), state[1]
        u = self.pieces[k](t, x)
        f = vector_field(self.problem, t, x, u, x.shape).to(cost.dtype)
        if self.running.is_zero:
            return f, torch.zeros_like(cost)
        rate = self.running.rate(k, t, x, u).to(cost.dtype)
        check_running_cost(self.problem, cost + rate, x)
        return f, rate.expand_as(cost)

    def callback_step(self, t0: Tensor, state: tuple[State, Tensor], dt: Tensor) -> None:
        """Notes where each attempted step begins, which is where the last accepted one ended."""
        self.reached.append(float(t0.detach()))

    def project(self, projection: Projection, x: State, cost: Tensor) -> tuple[State, Tensor]:
        """State and running cost after a projection."""
        t = as_times((projection.start,), x.device)[0]
        self.evaluations += 1
        k = self.control.intervals([projection.start])[0]
        u = self.pieces[k](t, x)
        if not self.running.is_zero:
            h = projection.end - projection.start
            cost = cost + h * self.running.rate(k, t, x, u)
        return project(self.problem, projection, t, x, u), cost


def applied(
    control: Control, times: Sequence[float], states: Sequence[State]
) -> tuple[ControlValue, ...]:
    """The control values at all times but the last; the states at the times are given."""
    if len(times) == 1:
        return ()
    with frozen(tracking(control)):
        return tuple(law(x) for law, x in zip(control.laws(times[:-1]), states, strict=False))


def refined(grid: Grid, times: Sequence[float]) -> Grid:
    """The grid with nodes at further times; times that already stand for a node are left out."""
    new = [t for t, (_, share) in zip(times, places(grid.times, times), strict=True) if share > 0]
    projections = {grid.times[k]: p for k, p in grid.projections.items()}
    nodes = sorted([*grid.times, *new])
    return Grid(nodes, {nodes.index(t): p for t, p in projections.items()})


def worst_sample(errors: tuple[Tensor, Tensor], batch: int) -> Tensor:
    """The largest root mean square of any sample's error, with cost and state taken apart.

    Arguments:
        errors: The errors of state and running cost, each divided by its tolerance.
        batch: How many batch dimensions they have.
    """
    of_x, of_cost = errors
    of_x = of_x.reshape(*of_x.shape[:batch], -1)
    return torch.maximum(of_x.square().mean(-1).sqrt(), of_cost.abs()).max()


def snapped(times: Sequence[float], knots: Sequence[float]) -> list[float]:
    """The times, with those that lie next to a knot moved onto it."""
    slack = time_slack(times[0], times[-1])

    def snap(t: float) -> float:
        after = bisect_right(knots, t)
        near = [knot for knot in knots[max(after - 1, 0) : after + 1] if abs(knot - t) <= slack]
        return near[0] if near else t

    return [snap(t) for t in times]
