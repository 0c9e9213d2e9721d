"""The steps of the reversible scheme, forward and on the way back."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.autograd.function import once_differentiable as detached

from ..control.base import Law, unbound
from ..problem import Problem
from ..types import ControlValue, Cost, State
from .base import (
    Watch,
)
from .first_look import first_look
from .gradient import Gradient
from .recompute import frozen, random_state
from .running_cost import RunningCost
from .stages import slope, Stage
from .tableau import Tableau


@dataclass(frozen=True, repr=False)
class Reversal(Gradient):
    """The gradient of `Reversible`, which takes the steps back one by one."""

    repeats = True
    follows_time = False

    def __str__(self) -> str:
        return "Reversible"


REVERSAL = Reversal()


LEAST_COUPLING = 0.99
MOST_DAMPING = 4.0
"""Rounding errors grow by `exp(4)`, about 55, over any number of steps."""


def coupling(n: int) -> float:
    """The coupling `lambda` of `n` steps."""
    return max(LEAST_COUPLING, 1 - MOST_DAMPING / n)


class Column(NamedTuple):
    """One stage of all steps: the times and what it reads of the control there.

    Attributes:
        times: The times.
        t: The same as tensors.
        values: The control's values there, shape `(step, ...)`, if the control is open-loop.
        laws: The control laws there, if it is not.
    """

    times: Sequence[float]
    t: Sequence[Tensor]
    values: Tensor | None
    laws: Sequence[Law]

    def stage(self, k: int, u: Tensor | None = None) -> Stage:
        """The stage of a step, whose control value is `u` if the column has values."""
        law = self.laws[k] if u is None else lambda x: u
        return Stage(self.times[k], self.t[k], law)

    def controls(self, steps: range, x: State) -> list[ControlValue]:
        """The control values of some steps, where they do not depend on the state."""
        if self.values is not None:
            return list[ControlValue](unbound(self.values[steps.start : steps.stop]))
        return [self.laws[k](x) for k in steps]

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
        norms: The modules that keep running statistics, which the way back must not update.
        steps: The indices of the steps.
        has_backward: Whether a backward pass may follow.
        is_feedback: Whether the control values depend on the state, and are to be returned.
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
    is_feedback: bool
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
        return first_look(self.problem, times, states, REVERSAL, known)


class Reversed(torch.autograd.Function):
    """`(x, control values, parameters) -> (y_n, running cost)`, keeping only `y_n` and `z_n`.

    A feedback policy's values are returned after them, one per step, shape `(step, *batch, ...)`.
    """

    @staticmethod
    def forward(ctx: Any, scheme: Scheme, x: State, *tensors: Tensor) -> tuple[Tensor, ...]:
        device = x.device.type
        drawn = random_state(x.device)
        is_kept = scheme.has_backward and any(ctx.needs_input_grad)
        y, z, cost = x, x, x.new_zeros(scheme.problem.batch_shape(x))
        own_values = list[Any]()
        values = [None if c.values is None else c.values.unbind() for c in scheme.columns]
        m = len(scheme.ahead)
        for k in scheme.steps:
            us = [None if value is None else value[k] for value in values]
            stages = [c.stage(k, u) for c, u in zip(scheme.columns, us, strict=True)]
            running = RunningCost(scheme.problem, scheme.target)
            watch = is_kept and k == scheme.steps[0]
            own = [z, *(u for u in us if u is not None)]
            with scheme.looking(stages, own, tensors) if watch else nullcontext():
                found, ahead = scheme.increment(k, scheme.h[k], stages[:m], z, running)
            if scheme.is_feedback:
                own_values.append(found[0])
            y = torch.lerp(z, y, scheme.coupling) + ahead
            z = z - scheme.increment(k, -scheme.h[k], stages[m:], y, None)[1]
            if scheme.watch is not None:
                scheme.watch(k + 1, y)
            cost = cost + running.total()
        if is_kept and not torch.equal(drawn, random_state(x.device)):
            raise REVERSAL.refusal()
        ctx.scheme = scheme
        ctx.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        ctx.save_for_backward(y, z, *tensors)
        return y, cost, *([torch.stack(own_values)] if own_values else [])

    @staticmethod
    @detached
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        y, z, *tensors = ctx.saved_tensors
        back = WayBack(ctx.scheme, tensors)
        grad_y, grad_cost, *of_values = grads
        first = ctx.scheme.steps[0]
        grad_z = torch.zeros_like(grad_y)
        with torch.autocast(**ctx.autocast), frozen(ctx.scheme.norms):
            for k in reversed(ctx.scheme.steps):
                grad_u = of_values[0][k - first] if of_values else None
                y, z, grad_y, grad_z = back.step(k, y, z, grad_y, grad_z, grad_cost, grad_u)
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
        self,
        k: int,
        y: State,
        z: State,
        grad_y: State,
        grad_z: State,
        grad_cost: Cost,
        grad_u: Tensor | None,
    ) -> tuple[State, State, State, State]:
        """The states before the `k`-th step, and the gradients with respect to them.

        Arguments:
            k: The step.
            y, z: The states after it.
            grad_y, grad_z: The gradients with respect to these.
            grad_cost: The gradient with respect to the running cost.
            grad_u: The gradient with respect to the step's control value, for a feedback policy.
        """
        coupling, h = self.scheme.coupling, self.scheme.h[k]
        psi, grad = self.pull(k, -h, y, -grad_z, None)
        z, grad_y = z + psi, grad_y + grad
        psi, grad = self.pull(k, h, z, grad_y, grad_cost, grad_u)
        y = (y - (1 - coupling) * z - psi) / coupling
        return y, z, coupling * grad_y, grad_z + (1 - coupling) * grad_y + grad

    def pull(
        self,
        k: int,
        h: float,
        x: State,
        grad: State,
        grad_cost: Cost | None,
        grad_u: Tensor | None = None,
    ) -> tuple[State, State]:
        """The increment from `x`, and the gradient of its product with `grad`.

        The gradients with respect to control values and parameters are added to those found so far.

        Arguments:
            k: The step.
            h: Its width, negative for the increment backwards.
            x: The state that it starts from.
            grad: The weight of the increment.
            grad_cost: The weight of the running cost, which only the increment forward has.
            grad_u: The weight of the step's control value, for a feedback policy.
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
            if grad_u is not None:
                assert isinstance(values[0], Tensor), "a feedback policy gives tensors"
                outputs.append(values[0])
                weights.append(grad_u)
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
        """The parameters of some layers and of the problem; to look at all would take longer."""
        theirs = [p for layer in dict.fromkeys(layers) for p in layer.parameters()]
        used = {id(p) for p in (*theirs, *self.scheme.problem.parameters())}
        return [p for p in self.parameters if id(p) in used]
