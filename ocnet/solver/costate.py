"""Gradients by the costate recursion: only what is sequential in depth is done in sequence."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable as detached

from ..control import Control, OpenLoop
from ..control.base import as_times, unbound
from ..problem import Problem
from ..trajectory import Trajectory
from ..types import Cost, State
from .base import check_control_value, check_running_cost, Grid, project, segments
from .gradient import Costate
from .linearisation import linearise, LinearisedDynamics
from .recompute import once_differentiable
from .running_cost import RunningCost
from .sweep import advance, compiled, retreat
from .tableau import Tableau


CHUNK = 2**19
"""The gradients over all steps process about this many numbers of states or parameters at once."""

COMPILED_EVALUATIONS = 32
"""This many evaluations of the dynamics are compiled together; compile time grows with it."""


class Steps(NamedTuple):
    """The steps that the recursion works on.

    Attributes:
        problem: What is integrated.
        tableau: The method.
        linear: The dynamics and their linearisation at each step.
        h: The widths of the steps.
        t: The times of the steps, shape `(step,)`, for each stage of the method.
        compile: Whether to compile a block of steps with `COMPILED_EVALUATIONS` evaluations in all,
            which is then run again and again.
    """

    problem: Problem
    tableau: Tableau
    linear: LinearisedDynamics
    h: Sequence[float]
    t: Sequence[Tensor]
    compile: bool

    def chunks(self, x: Tensor) -> Iterator[tuple[slice, Sequence[float] | Tensor]]:
        """The steps to take at once, and their widths (for compiled code, in a tensor like `x`)."""
        n = len(self.h)
        if self.compile:
            most = min(n, max(1, COMPILED_EVALUATIONS // len(self.t)))
            # The steps left over are not compiled, so compile time does not depend on the depth.
            size = min(range(most, most // 2, -1), key=lambda size: n % size)
            h = x.new_tensor(self.h)
        else:
            size = CHUNK // max(1, x.numel(), *(theta.numel() for theta in self.linear.parameters))
            size, h = max(1, size), self.h
        for start in range(0, n, size):
            chunk = slice(start, start + size)
            yield chunk, (h if start + size <= n else self.h)[chunk]

    def run(self, recursion: Callable[..., Any], h: Sequence[float] | Tensor, *args: Any) -> Any:
        """`advance` or `retreat`, in compiled code if the widths of the steps are a tensor."""
        function = partial(recursion, self.tableau, self.linear)
        if not isinstance(h, Tensor):
            return function(h, *args)
        return compiled(function, (recursion, self.tableau, self.linear.key), h, *args)


def solve_by_costate(
    problem: Problem,
    control: Control,
    tableau: Tableau,
    grid: Grid,
    x0: State,
    target: Tensor | None,
    gradient: Costate,
) -> Trajectory:
    """The trajectory of an explicit Runge-Kutta method, with gradients by `Recursion`.

    The running cost is not part of the recursion: it is a function of all states at once.

    Arguments:
        problem, control, x0, target: What is integrated; see `Solver.solve`.
        tableau: The method.
        grid: Its steps.
        gradient: Whether to compile.

    Raises:
        ValueError: If the control is not a function of time alone, or the dynamics cannot be
            recorded; see `linearise`.
    """
    if not isinstance(control, OpenLoop):
        raise ValueError(
            f"{gradient} needs an open-loop control with tensor values, but got "
            f"{type(control).__name__}."
        )
    starts = grid.times[:-1]
    h = [end - start for start, end in zip(starts, grid.times[1:], strict=True)]
    t, u = {}, {}
    for c in dict.fromkeys(tableau.c):
        ts = [start + c * width for start, width in zip(starts, h, strict=True)]
        t[c] = as_times(ts, x0.device)
        u[c] = control.values(ts, side="left" if c == 1 else "right")
    check_control_value(problem, u[0][0])

    x, cost = x0, x0.new_zeros(problem.batch_shape(x0))
    states, evaluations = [x0], 0
    for start, end, projection in segments(grid):
        if projection is not None:
            time, value = t[0][start], u[0][start]
            running = RunningCost(problem, target)
            running.add(start, h[start], starts[start], time, x, value)
            cost = cost + running.total()
            x = project(problem, projection, time, x, value)
            states.append(x)
            evaluations += 1
            continue
        ts, us = ([z[c][start:end] for c in tableau.c] for z in (t, u))
        linear = linearise(problem, ts[0][0], x, us[0][0])
        steps = Steps(problem, tableau, linear, h[start:end], ts, gradient.compile)
        x, *X = Recursion.apply(steps, x, *us, *linear.parameters)
        once_differentiable(gradient, x, *X)
        if problem.has_stage_cost:
            cost = cost + running_cost(steps, start, starts[start:end], X, us, target)
        states += [*unbound(X[0])[1:], x]
        evaluations += len(tableau.b) * (end - start)
    check_running_cost(problem, cost, x)
    times = as_times(grid.times, x0.device)
    return Trajectory(times, tuple(states), u[0].unbind(), cost, evaluations)


def running_cost(
    steps: Steps,
    start: int,
    times: Sequence[float],
    X: Sequence[Tensor],
    u: Sequence[Tensor],
    target: Tensor | None,
) -> Cost:
    """`sum h b_i l(t_i, X_i, u_i)`, all steps at once.

    Arguments:
        steps: Consecutive steps.
        start: The index of the first.
        times: Where each begins.
        X: The states of each stage, shape `(step, *batch, ...)`.
        u: The control values of each stage, shape `(step, ...)`.
        target: What the stage cost compares with, or None.
    """
    running = RunningCost(steps.problem, target)
    total = X[0].new_zeros(())
    tableau = steps.tableau
    for b, c, t, X_i, u_i in zip(tableau.b, tableau.c, steps.t, X, u, strict=True):
        weights = [h * b for h in steps.h]
        at = [time + c * h for time, h in zip(times, steps.h, strict=True)]
        total = total + running.over_steps(start, weights, at, t, X_i, u_i)
    return total


class Recursion(torch.autograd.Function):
    r"""`(x, u_1, ..., u_s, theta) -> (x_n, X_1, ..., X_s)`, with costates on the way back.

    With `X_i` the states and `u_i` the controls of stage `i`, `k_i = f(t_i, X_i, u_i)` its slope
    and `q_i` the gradient of what is computed from `X_i`, such as the running cost, a step back is

        m_i = b_i p + h sum_{j>i} a_ji g_j,   g_i = f_x(t_i, X_i, u_i)' m_i + q_i / h,
        p <- p + h sum_i g_i.

    For forward Euler that is the costate equation, `p <- p + h f_x' p + q`. The gradient with
    respect to the control is `h f_u(t_i, X_i, u_i)' m_i`, Pontryagin's `H_u`. It needs no
    recursion: all steps are computed at once. After W. Hager, "Runge-Kutta methods in optimal
    control and the transformed adjoint system", Numerische Mathematik 87 (2000).
    """

    @staticmethod
    def forward(ctx: Any, steps: Steps, x: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        # A recording may hold views, which want the strides of a fresh tensor.
        x = x.detach().contiguous()
        of_u = torch.vmap(steps.linear.control)
        values = [of_u(t, u.detach()) for t, u in zip(steps.t, inputs, strict=False)]
        parts, ctx.chunks = [], []
        for chunk, h in steps.chunks(x):
            known = [[value[chunk] for value in of_stage] for of_stage in values]
            x, X, residuals = steps.run(advance, h, x, known)
            parts.append(X)
            ctx.chunks.append((chunk, h, known, residuals))
        stacked = joined(parts)
        ctx.steps = steps
        ctx.save_for_backward(*stacked)
        ctx.set_materialize_grads(False)
        return x, *stacked

    @staticmethod
    @detached
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        p, *q = gradients
        steps, X = ctx.steps, [X_i.detach() for X_i in ctx.saved_tensors]
        widths = X[0].new_tensor(steps.h).reshape(-1, *[1] * (X[0].dim() - 1))
        q_h = [[] if q_i is None else [q_i / widths] for q_i in q]
        p = torch.zeros_like(X[0][0]) if p is None else p.contiguous()
        of_theta = [torch.zeros_like(theta) for theta in steps.linear.parameters]
        parts = []
        for chunk, h, *known in reversed(ctx.chunks):
            stacked = [[X_i[chunk], *v, *r] for X_i, v, r in zip(X, *known, strict=True)]
            sources = [[q_i[chunk] for q_i in of_stage] for of_stage in q_h]
            p, of_u, sums = steps.run(retreat, h, p, sources, stacked)
            parts.append(of_u)
            of_theta = [total + new for total, new in zip(of_theta, sums, strict=True)]
        return None, p, *joined(parts[::-1]), *of_theta


def joined(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The stacked tensors of each stage, of all chunks one after the other."""
    return [z[0] if len(z) == 1 else torch.cat(z) for z in zip(*parts, strict=True)]
