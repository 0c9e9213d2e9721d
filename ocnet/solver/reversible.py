r"""A reversible scheme: the backward pass finds each state again from the one after it.

Any explicit Runge-Kutta method with increment `Psi_h(t, x)` gives one of the same order, on two
copies of the state, `y_0 = z_0 = x(t_0)`:

$$ y_{k+1} = \lambda y_k + (1 - \lambda) z_k + \Psi_h(t_k, z_k), \quad
   z_{k+1} = z_k - \Psi_{-h}(t_{k+1}, y_{k+1}). $$

Solved for the old state it reads

$$ z_k = z_{k+1} + \Psi_{-h}(t_{k+1}, y_{k+1}), \quad
   y_k = \lambda^{-1} (y_{k+1} - (1 - \lambda) z_k - \Psi_h(t_k, z_k)). $$

The coupling `lambda < 1` damps the difference of the copies, and the way back amplifies rounding
errors by `lambda**-n`: the two cannot be had apart. On `x' = -a x` the scheme needs
`a h <= 1 - lambda` to be stable, so strongly damped dynamics want another gradient.

Source: S. McCallum, J. Foster, "Efficient, accurate and stable gradients for neural ODEs",
arXiv 2410.11648, 2024.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.autograd.function import once_differentiable as detached

from ..control import Control, Feedback, Layers, OpenLoop
from ..control.base import as_times, Law
from ..problem import Problem
from ..trajectory import Trajectory
from ..types import ControlValue, Cost, State
from .base import check_control_value, check_running_cost, Grid, project, segments, Watch
from .first_look import first_look
from .recompute import frozen, once_differentiable, random_state, refuse_random, tracking
from .running_cost import RunningCost
from .stages import slope, Stage
from .tableau import Tableau


LEAST_COUPLING = 0.99
MOST_DAMPING = 4.0
"""Rounding errors grow by `exp(4)`, about 55, over any number of steps."""


def coupling(n: int) -> float:
    """The coupling `lambda` of `n` steps."""
    return max(LEAST_COUPLING, 1 - MOST_DAMPING / n)


class Column(NamedTuple):
    """One stage of all steps: where it reads the control.

    Attributes:
        times: The times.
        t: The same as tensors.
        values: The control's values there, shape `(step, ...)`, of an open-loop control.
        laws: The laws there, of another one.
    """

    times: Sequence[float]
    t: Sequence[Tensor]
    values: Tensor | None
    laws: Sequence[Law]

    def stage(self, k: int, u: Tensor | None = None) -> Stage:
        """The stage of a step, whose control value is `u` if the column has values."""
        law = self.laws[k] if u is None else lambda x: u
        return Stage(self.times[k], self.t[k], law)

    def law(self, k: int) -> Law:
        """The law of a step."""
        values = self.values
        return self.laws[k] if values is None else lambda x: values[k]


class Scheme(NamedTuple):
    """The reversible scheme on some steps without a projection between them.

    Attributes:
        problem: The problem.
        target: What the stage cost compares with.
        tableau: The method.
        coupling: The coupling `lambda`.
        h: The widths of the steps.
        ahead, back: The stages of the increments `Psi_h` and `Psi_{-h}`.
        norms: The modules that follow statistics, which the way back must not.
        steps: The indices of the steps.
        has_backward: Whether a backward pass may follow.
        watch: What looks at the state after each step, or None.
    """

    problem: Problem
    target: Tensor | None
    tableau: Tableau
    coupling: float
    h: Sequence[float]
    ahead: Sequence[Column]
    back: Sequence[Column]
    norms: Sequence[nn.Module]
    steps: range
    has_backward: bool
    watch: Watch | None = None

    @property
    def columns(self) -> list[Column]:
        """All stages, those of `Psi_h` first."""
        return [*self.ahead, *self.back]

    def increment(
        self, k: int, h: float, stages: Sequence[Stage], x: State, running: RunningCost | None
    ) -> tuple[list[ControlValue], Tensor]:
        """The controls and `Psi_h(t, x)` of the `k`-th step, whose nodes are added to `running`."""
        us, v = slope(self.problem, self.tableau, k, h, stages, x, running)
        return us, h * v

    def looking(
        self, stages: Sequence[Stage], states: Sequence[State], known: Sequence[Tensor]
    ) -> AbstractContextManager[Any]:
        """The context of the first step, in which formulas that drop a gradient are found."""
        times = [stage.t for stage in stages]
        return first_look(self.problem, times, states, "reversible", known)


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

    All states are shown to `watch`, if there is one.

    A projection maps `y` and is kept for the backward pass; after it both copies start anew.

    Raises:
        TypeError: If the control is neither open-loop, nor layers, nor a feedback policy.
        ValueError: If the dynamics draw random numbers, which the way back could not repeat.
    """
    if not isinstance(control, (OpenLoop, Layers, Feedback)):
        raise TypeError(
            'gradient="reversible" takes open-loop controls, layers and feedback policies, but got '
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
    if watch is not None:
        watch(0, x)
    for start, end, projection in segments(grid):
        if projection is not None:
            time, t, law = ahead[0].times[start], ahead[0].t[start], ahead[0].law(start)
            u, running = law(x), RunningCost(problem, target)
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
                watch,
            )
            values = [c.values for c in scheme.columns if c.values is not None]
            x, running = Reversible.apply(scheme, x, *values, *parameters(problem, control))  # pyright: ignore
            once_differentiable("reversible", x, running)
            cost = cost + running
            evaluations += 2 * len(tableau.b) * len(steps)
        if watch is not None:
            watch(end, x)
        states.append(x)
        kept.append(end)
    check_running_cost(problem, cost, x)
    return Trajectory(as_times(grid.times, x0.device)[kept], tuple(states), (), cost, evaluations)


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
    """What the increments depend on besides state and control values, and what is trained of it."""
    own = () if isinstance(control, OpenLoop) else control.parameters()
    return [p for p in (*problem.parameters(), *own) if p.requires_grad]


class Reversible(torch.autograd.Function):
    """`(x, control values, parameters) -> (y_n, running cost)`, keeping only `y_n` and `z_n`."""

    @staticmethod
    def forward(ctx: Any, scheme: Scheme, x: State, *tensors: Tensor) -> tuple[State, Cost]:
        device = x.device.type
        drawn = random_state(x.device)
        is_kept = scheme.has_backward and any(ctx.needs_input_grad)
        y, z, cost = x, x, x.new_zeros(scheme.problem.batch_shape(x))
        values = [None if c.values is None else c.values.unbind() for c in scheme.columns]
        m = len(scheme.ahead)
        for k in scheme.steps:
            us = [None if value is None else value[k] for value in values]
            stages = [c.stage(k, u) for c, u in zip(scheme.columns, us, strict=True)]
            running = RunningCost(scheme.problem, scheme.target)
            watch = is_kept and k == scheme.steps[0]
            own = [z, *(u for u in us if u is not None)]
            with scheme.looking(stages, own, tensors) if watch else nullcontext():
                _, ahead = scheme.increment(k, scheme.h[k], stages[:m], z, running)
            y = torch.lerp(z, y, scheme.coupling) + ahead
            z = z - scheme.increment(k, -scheme.h[k], stages[m:], y, None)[1]
            if scheme.watch is not None:
                scheme.watch(k + 1, y)
            cost = cost + running.total()
        if is_kept and not torch.equal(drawn, random_state(x.device)):
            raise refuse_random("reversible")
        ctx.scheme = scheme
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        ctx.save_for_backward(y, z, *tensors)
        return y, cost

    @staticmethod
    @detached
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        y, z, *tensors = ctx.saved_tensors
        back = WayBack(ctx.scheme, tensors)
        grad_y, grad_cost = grads
        grad_z = torch.zeros_like(grad_y)
        with torch.autocast(**ctx.autocast), frozen(ctx.scheme.norms):
            for k in reversed(ctx.scheme.steps):
                y, z, grad_y, grad_z = back.step(k, y, z, grad_y, grad_z, grad_cost)
        return None, grad_y + grad_z, *back.gradients


class WayBack:
    """The backward pass, one step after the other.

    Arguments:
        scheme: The scheme.
        tensors: The control values of its columns, if they have any, and the parameters.
    """

    def __init__(self, scheme: Scheme, tensors: Sequence[Tensor]):
        self.scheme = scheme
        n = sum(c.values is not None for c in scheme.columns)
        self.parameters: Sequence[Tensor] = tensors[n:]
        self.grads: dict[int, Tensor] = {}
        self.values: list[tuple[Tensor, ...]] = [v.unbind() for v in tensors[:n]]
        self.value_grads: list[Tensor] = [torch.zeros_like(v) for v in tensors[:n]]

    @property
    def gradients(self) -> list[Tensor | None]:
        """The gradients of all tensors, in order."""
        return [*self.value_grads, *(self.grads.get(id(p)) for p in self.parameters)]

    def step(
        self, k: int, y: State, z: State, grad_y: State, grad_z: State, grad_cost: Cost
    ) -> tuple[State, State, State, State]:
        """The states before the `k`-th step, and the gradients with respect to them."""
        coupling, h = self.scheme.coupling, self.scheme.h[k]
        psi, grad = self.pull(k, -h, y, -grad_z, None)
        z, grad_y = z + psi, grad_y + grad
        psi, grad = self.pull(k, h, z, grad_y, grad_cost)
        y = (y - (1 - coupling) * z - psi) / coupling
        return y, z, coupling * grad_y, grad_z + (1 - coupling) * grad_y + grad

    def pull(
        self, k: int, h: float, x: State, grad: State, grad_cost: Cost | None
    ) -> tuple[State, State]:
        """The increment from `x`, and the gradient of its product with `grad`.

        That with respect to control values and parameters is added to what is there.

        Arguments:
            k: The step.
            h: Its width, negative for the increment backwards.
            x: The state that it starts from.
            grad: The weight of the increment.
            grad_cost: The weight of the running cost, which the increment ahead has.
        """
        scheme = self.scheme
        m = len(scheme.ahead)
        own = slice(0, m) if h > 0 else slice(m, 2 * m)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            us = [value[k].detach().requires_grad_() for value in self.values[own]]
            stages = [c.stage(k, *us[i : i + 1]) for i, c in enumerate(scheme.columns[own])]
            running = None if grad_cost is None else RunningCost(scheme.problem, scheme.target)
            values, psi = scheme.increment(k, h, stages, x, running)
            outputs, weights = [psi], [grad]
            if grad_cost is not None and running is not None and not running.is_zero:
                cost = torch.as_tensor(running.total())
                outputs.append(cost.expand_as(grad_cost))
                weights.append(grad_cost)
        layers = [u for u in values if isinstance(u, nn.Module)]
        parameters = self.used_by(layers) if layers else self.parameters
        found = [(z, w) for z, w in zip(outputs, weights, strict=True) if z.requires_grad]
        grads = torch.autograd.grad(
            [z for z, _ in found],
            [x, *us, *parameters],
            [w.to(z.dtype) for z, w in found],
            allow_unused=True,
        )
        for total, g in zip(self.value_grads[own], grads[1 : 1 + len(us)], strict=True):
            if g is not None:
                total[k] += g
        for p, g in zip(parameters, grads[1 + len(us) :], strict=True):
            if g is not None:
                self.grads[id(p)] = self.grads[id(p)] + g if id(p) in self.grads else g
        return psi.detach(), torch.zeros_like(x) if grads[0] is None else grads[0]

    def used_by(self, layers: Sequence[nn.Module]) -> list[Tensor]:
        """The parameters of some layers and of the problem: looking at all takes longer."""
        theirs = [p for layer in dict.fromkeys(layers) for p in layer.parameters()]
        used = {id(p) for p in (*theirs, *self.scheme.problem.parameters())}
        return [p for p in self.parameters if id(p) in used]
