r"""A reversible scheme: the backward pass finds each state again from the one after it.

Any explicit Runge-Kutta method with increment `Psi_h(t, x)` gives one of the same order, on two
copies of the state, `y_0 = z_0 = x(t_0)`:

$$ y_{k+1} = \lambda y_k + (1 - \lambda) z_k + \Psi_h(t_k, z_k), \quad
   z_{k+1} = z_k - \Psi_{-h}(t_{k+1}, y_{k+1}). $$

Solved for the old state it reads

$$ z_k = z_{k+1} + \Psi_{-h}(t_{k+1}, y_{k+1}), \quad
   y_k = \lambda^{-1} (y_{k+1} - (1 - \lambda) z_k - \Psi_h(t_k, z_k)). $$

The coupling `lambda < 1` damps the difference of the copies, and the way back amplifies rounding
errors by `lambda**-n`: one comes with the other. On `x' = -a x` the scheme needs
`a h <= 1 - lambda` to be stable, so strongly damped dynamics need another gradient.

Source: S. McCallum, J. Foster, "Efficient, accurate and stable gradients for neural ODEs",
arXiv 2410.11648, 2024.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import ClassVar, Self

import torch
from torch import nn, Tensor

from .._arguments import check_kind
from ..control import Control, Feedback, Layers, OpenLoop
from ..control.base import as_times, unbound
from ..problem import Problem
from ..trajectory import Trajectory
from ..types import ControlValue, State
from .base import (
    acting,
    check_control_value,
    check_running_cost,
    check_solve,
    Grid,
    project,
    segments,
    Solver,
    Times,
    uniform_grid,
    Watch,
)
from .dense import evaluation_times, with_states_at
from .draws import drawing_nothing
from .gradient import Backprop, Gradient
from .horizon import on_numbers
from .recompute import once_differentiable, tracking
from .reversal import Column, coupling, REVERSAL, Reversal, Reversed, Scheme
from .runge_kutta import ExplicitRungeKutta
from .running_cost import RunningCost
from .tableau import Tableau


class Reversible(Solver):
    """The reversible scheme that an explicit Runge-Kutta method gives.

    It has the method's order and takes twice the work. It keeps no states of the steps, so its
    memory does not grow with `n`, except for the control values of a feedback policy, which are
    kept. The trajectory holds the first state, the last one and those at projections.

    Arguments:
        solver: The method and its number of steps, with `gradient=Backprop()`.

    Raises:
        TypeError, ValueError: If the solver is another one, or has another gradient.
    """

    gradient: Gradient = REVERSAL
    gradients: ClassVar[tuple[type[Gradient], ...]] = (Reversal,)

    def __init__(self, solver: ExplicitRungeKutta):
        check_kind("solver", solver, ExplicitRungeKutta)
        if not isinstance(solver.gradient, Backprop):
            raise ValueError(
                f"Reversible finds gradients in its own way: give it {type(solver).__name__}"
                f"({solver.n}), but got {solver!r}."
            )
        self.solver = solver
        self.n: int = solver.n
        self.order: int = solver.order

    def __repr__(self) -> str:
        return f"Reversible({self.solver!r})"

    def with_steps(self, n: int) -> Self:
        return type(self)(self.solver.with_steps(n))

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
        looking = drawing_nothing(problem, control, x0, REVERSAL)
        with looking if torch.is_grad_enabled() else nullcontext():
            times = evaluation_times(problem, t_eval, x0)
            problem = on_numbers(problem, control, REVERSAL)
            grid = uniform_grid(problem, self.n)
            found = solve_reversibly(problem, control, self.solver.tableau, grid, x0, target)
            if times is None:
                return found
            return with_states_at(found, times, self.order, problem, control)

    @torch.no_grad()
    def first_non_finite(
        self, problem: Problem, control: Control | None, x0: State, target: Tensor | None = None
    ) -> tuple[int, float] | None:
        control = acting(problem, control)
        grid = uniform_grid(problem, self.n)
        watch = Watch(grid.times)
        solve_reversibly(problem, control, self.solver.tableau, grid, x0, target, watch)
        return watch.found


def solve_reversibly(
    problem: Problem,
    control: Control,
    tableau: Tableau,
    grid: Grid,
    x0: State,
    target: Tensor | None,
    watch: Watch | None = None,
) -> Trajectory:
    """The trajectory of the reversible scheme, its first and last state and those at projections.

    A projection maps `y` and is kept for the backward pass; after it both copies start anew.

    Arguments:
        problem, control, x0, target: What is integrated; see `Solver.solve`.
        tableau: The method.
        grid: Its steps.
        watch: What is shown all states, or None.

    Raises:
        TypeError: If the control is neither open-loop, nor layers, nor a feedback policy.
        ValueError: If the dynamics draw random numbers, which the way back could not repeat.
    """
    if not isinstance(control, (OpenLoop, Layers, Feedback)):
        raise TypeError(
            "Reversible takes open-loop controls, layers and feedback policies, but got "
            f"{type(control).__name__}."
        )
    starts, ends = grid.times[:-1], grid.times[1:]
    h = [end - start for start, end in zip(starts, ends, strict=True)]
    ahead = [column(control, x0, c, starts, h) for c in tableau.c]
    back = [column(control, x0, c, ends, [-width for width in h]) for c in tableau.c]
    check_control_value(problem, ahead[0].law(0)(x0))

    norms = tracking(problem, control)
    # Half precision would be lost on the way back.
    x = x0.to(torch.promote_types(x0.dtype, torch.float32))
    cost = x.new_zeros(problem.batch_shape(x))
    states, kept, evaluations = [x], [0], 0
    controls = list[ControlValue]()
    if watch is not None:
        watch(0, x)
    for start, end, projection in segments(grid):
        if projection is not None:
            time, t, law = ahead[0].times[start], ahead[0].t[start], ahead[0].law(start)
            u, running = law(x), RunningCost(problem, target)
            controls.append(u)
            running.add(start, h[start], time, t, x, u)
            cost = cost + running.total()
            x = project(problem, projection, t, x, u)
            evaluations += 1
        else:
            steps = range(start, end)
            scheme = Scheme(
                problem,
                target,
                tableau,
                coupling(len(h)),
                h,
                ahead,
                back,
                norms,
                steps,
                torch.is_grad_enabled(),
                isinstance(control, Feedback),
                watch,
            )
            values = [c.values for c in scheme.columns if c.values is not None]
            x, running, *own = Reversed.apply(scheme, x, *values, *parameters(problem, control))  # pyright: ignore
            once_differentiable(REVERSAL, x, running, *own)
            cost = cost + running
            controls += unbound(own[0]) if own else ahead[0].controls(steps, x)
            evaluations += 2 * len(tableau.b) * len(steps)
        if watch is not None:
            watch(end, x)
        states.append(x)
        kept.append(end)
    check_running_cost(problem, cost, x)
    t = as_times(grid.times, x0.device)
    return Trajectory(t, tuple(states), tuple(controls), cost, evaluations, tuple(kept))


def column(
    control: Control, x: State, c: float, starts: Sequence[float], h: Sequence[float]
) -> Column:
    """The stage with node `c` of steps that begin at `starts`, backwards where `h < 0`."""
    times = [start + c * width for start, width in zip(starts, h, strict=True)]
    # At its later end a step reads the control's left limit.
    side = "left" if (c == 1 and h[0] > 0) or (c == 0 and h[0] < 0) else "right"
    t = as_times(times, x.device).unbind()
    if isinstance(control, OpenLoop):
        return Column(times, t, control.values(times, side), ())
    return Column(times, t, None, control.laws(times, side))


def parameters(problem: Problem, control: Control) -> list[nn.Parameter]:
    """The trained parameters that the increments depend on besides state and control values."""
    own = () if isinstance(control, OpenLoop) else control.parameters()
    return [p for p in (*problem.parameters(), *own) if p.requires_grad]
