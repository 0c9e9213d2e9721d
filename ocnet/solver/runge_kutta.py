"""Explicit Runge-Kutta methods on equal steps; forward Euler is the residual network."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .._arguments import check_count
from ..control.base import as_times, Control
from ..problem import Problem, Projection
from ..trajectory import Trajectory
from ..types import ControlValue, Cost, State
from .base import (
    acting,
    check_control_value,
    check_running_cost,
    check_solve,
    Grid,
    project,
    Solver,
    Times,
    uniform_grid,
    Watch,
)
from .costate import solve_by_costate
from .dense import evaluation_times, flat, neighbours, with_states_at
from .draws import drawing_nothing
from .first_look import first_look
from .gradient import Backprop, check_gradient, Checkpoint, Costate, Gradient
from .horizon import on_numbers
from .recompute import frozen, tracking
from .running_cost import RunningCost
from .stages import slope, Stage
from .tableau import check_tableau, EULER, HEUN, KUTTA, KUTTA_38, moved, Tableau as Tableau


BACKPROP = Backprop()


class Step(NamedTuple):
    """One step: its index, its width, its stages, and the projection that it crosses, if any."""

    k: int
    h: float
    stages: Sequence[Stage]
    projection: Projection | None


class ExplicitRungeKutta(Solver):
    """An explicit Runge-Kutta method on `n` equal steps.

    Gradients are those of the discrete scheme (discretise, then optimise). The running cost is
    integrated with the method's own weights.

    Arguments:
        tableau: The method.
        n: How many steps.
        gradient: `Backprop()` keeps every step for the backward pass, `Checkpoint()` keeps a part
            of them and computes the rest again, `Costate()` runs the costate recursion.

    Raises:
        TypeError, ValueError: If `n` is not a positive integer, or the gradient is not one of
            these.
    """

    gradients: ClassVar[tuple[type[Gradient], ...]] = (Backprop, Checkpoint, Costate)

    def __init__(self, tableau: Tableau, n: int, *, gradient: Gradient = BACKPROP):
        check_tableau(tableau)
        check_count("n", n)
        check_gradient(gradient, self.gradients)
        self.tableau = tableau
        self.order: int = tableau.order
        self.n = n
        self.gradient: Gradient = gradient

    def __repr__(self) -> str:
        more = "" if self.gradient == BACKPROP else f", {self.gradient}"
        return f"{type(self).__name__}({self.n}{more})"

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
        looks = self.gradient != BACKPROP and torch.is_grad_enabled()
        with drawing_nothing(problem, control, x0, self.gradient) if looks else nullcontext():
            found = self.solved(problem, control, x0, target, () if times is None else flat(times))
            if times is None:
                return found
            return with_states_at(found, times, self.order, problem, control)

    def solved(
        self,
        problem: Problem,
        control: Control,
        x0: State,
        target: Tensor | None,
        times: Sequence[float],
    ) -> Trajectory:
        """`solve` without its checks.

        Arguments:
            problem, control: What is integrated, on one horizon.
            x0: The initial states, shape `(*batch, *problem.state_shape)`.
            target: What the stage cost compares with, or None.
            times: Times next to which states must be kept.
        """
        problem = on_numbers(problem, control, self.gradient)
        grid = uniform_grid(problem, self.n)
        if isinstance(self.gradient, Costate) and torch.is_grad_enabled():
            way = self.gradient
            return solve_by_costate(problem, control, self.tableau, grid, x0, target, way)
        steps = self.steps(grid, control, x0)
        check_control_value(problem, steps[0].stages[0].law(x0))
        saves = isinstance(self.gradient, Checkpoint)
        asked = None if saves else RunningCost(problem, target).steps_at_once
        segment = math.isqrt(len(steps) - 1) + 1 if asked is None else asked
        norms = tracking(problem, control) if saves else []
        needed: set[int] = neighbours(grid.times, times) if saves and times else set()

        # A cost of the control alone stays one number, so the way back needs no sum.
        x, cost = x0, x0.new_zeros(())
        states, controls, kept = [x0], [], [0]
        for start in range(0, len(steps), segment):
            block = steps[start : start + segment]
            with self.looking(problem, block, x) if start == 0 else nullcontext():
                if saves:
                    us, xs, x, cost = checkpoint(
                        self.advance, problem, block, x, cost, target,
                        use_reentrant=False, context_fn=lambda: (nullcontext(), frozen(norms)),
                    )  # fmt: skip
                    ends = range(start + 1, start + len(block) + 1)
                    inner = [k for k in ends if k in needed or k == ends[-1]]
                    states.extend(xs[k - start - 1] for k in inner)
                    kept.extend(inner)
                else:
                    us, xs, x, cost = self.advance(problem, block, x, cost, target)
                    states.extend(xs)
                controls.extend(us)
        cost = cost + x.new_zeros(problem.batch_shape(x))
        check_running_cost(problem, cost, x)
        evaluations = sum(len(step.stages) for step in steps)
        t = as_times(grid.times, x0.device)
        at = tuple(kept) if saves else ()
        return Trajectory(t, tuple(states), tuple(controls), cost, evaluations, at)

    def looking(
        self, problem: Problem, steps: Sequence[Step], x: State
    ) -> AbstractContextManager[Any]:
        """The context of the first steps, in which formulas that drop a gradient are found."""
        if not torch.is_grad_enabled():
            return nullcontext()
        times = [stage.t for step in steps for stage in step.stages]
        return first_look(problem, times, [x], self.gradient)

    @torch.no_grad()
    def first_non_finite(
        self, problem: Problem, control: Control | None, x0: State, target: Tensor | None = None
    ) -> tuple[int, float] | None:
        control = acting(problem, control)
        grid = uniform_grid(problem, self.n)
        watch = Watch(grid.times)
        x = x0
        watch(0, x)
        for k, step in enumerate(self.steps(grid, control, x0), start=1):
            _, x = self.step(problem, step, x, None)
            watch(k, x)
        return watch.found

    def steps(self, grid: Grid, control: Control, x0: State) -> list[Step]:
        """The steps on a grid; the control is looked up once for each node of the tableau."""
        steps = self.steps_over(list(pairwise(grid.times)), control, x0)
        for k, projection in grid.projections.items():
            steps[k] = steps[k]._replace(stages=steps[k].stages[:1], projection=projection)
        return steps

    def steps_over(
        self, spans: Sequence[tuple[float, float]], control: Control, x0: State
    ) -> list[Step]:
        """One step over each span of time; spans need not follow each other."""
        starts = [start for start, _ in spans]
        widths = [end - start for start, end in spans]
        stages = {}
        for c in dict.fromkeys(self.tableau.c):
            ts = [t + c * h for t, h in zip(starts, widths, strict=True)]
            laws = control.laws(ts, side="left" if c == 1 else "right")
            t = as_times(ts, x0.device)
            stages[c] = list(map(Stage, ts, t.unbind(), laws))
        by_node = [stages[c] for c in self.tableau.c]
        return [
            Step(k, h, of_step, None)
            for k, (h, *of_step) in enumerate(zip(widths, *by_node, strict=True))
        ]

    def advance(
        self, problem: Problem, steps: Sequence[Step], x: State, cost: Cost, target: Tensor | None
    ) -> tuple[list[ControlValue], list[State], State, Cost]:
        """Several steps: their controls and states, the last state and the running cost there.

        Arguments:
            problem: What is integrated.
            steps: Consecutive steps.
            x, cost: State and running cost at the start of the first.
            target: What the stage cost compares with, or None.
        """
        controls, states, running = [], [], RunningCost(problem, target)
        for step in steps:
            u, x = self.step(problem, step, x, running)
            controls.append(u)
            states.append(x)
        return controls, states, x, cost + running.total()

    def step(
        self, problem: Problem, step: Step, x: State, running: RunningCost | None
    ) -> tuple[ControlValue, State]:
        """The control at the start of a step and the state at its end; adds the step's nodes.

        Arguments:
            problem: What is integrated.
            step: The step, with its width and the control at its nodes.
            x: The state at its start, shape `(*batch, ...)`.
            running: Gets the nodes of the running cost; None if it is not needed.
        """
        h = step.h
        if step.projection is not None:
            (time, t, law), *_ = step.stages
            u = law(x)
            if running is not None:
                running.add(step.k, h, time, t, x, u)
            return u, project(problem, step.projection, t, x, u)

        us, v = slope(problem, self.tableau, step.k, h, step.stages, x, running)
        return us[0], moved(x, v, h)


class Euler(ExplicitRungeKutta):
    """Forward Euler, `x <- S(x) + h f(t, x, u)`: a residual network of `n` layers.

    Arguments: those of `ExplicitRungeKutta`.
    """

    def __init__(self, n: int, *, gradient: Gradient = BACKPROP):
        super().__init__(EULER, n, gradient=gradient)


class Heun(ExplicitRungeKutta):
    """Heun's method of order two. Arguments: those of `ExplicitRungeKutta`."""

    def __init__(self, n: int, *, gradient: Gradient = BACKPROP):
        super().__init__(HEUN, n, gradient=gradient)


class RK4(ExplicitRungeKutta):
    """The classical method of order four. Arguments: those of `ExplicitRungeKutta`."""

    def __init__(self, n: int, *, gradient: Gradient = BACKPROP):
        super().__init__(KUTTA, n, gradient=gradient)


class RK38(ExplicitRungeKutta):
    """Kutta's 3/8 rule of order four, the method that torchdiffeq calls "rk4".

    Arguments: those of `ExplicitRungeKutta`.
    """

    def __init__(self, n: int, *, gradient: Gradient = BACKPROP):
        super().__init__(KUTTA_38, n, gradient=gradient)
