"""An optimal control problem cut into steps: the nonlinear program, and its derivatives."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import vmap

from ...control.base import equal_times
from ...problem import Batch, Problem
from ...solver import ExplicitRungeKutta
from ..settings import check_integer
from . import structure
from .check import check_batch, check_bounds, own_value
from .inequality import Inequalities
from .invalid import without_invalid
from .points import Points
from .units import NEAR_ONE, Units


if TYPE_CHECKING:
    from ..compiled.kernel import Kernel


Way = Literal["together", "apart", "stepwise"]
"""How the functions are evaluated at many points: in one call that shares the time and all
parameters, by a vmap over times and instances, or by a vmap over instances at one time after
the other."""

MOST_STEPS = 1_000_000
"""The most steps that a problem is cut into."""

CHUNK = 100_000
"""How many points are differentiated at once: more do not fit into a processor's cache."""


class Derivatives(NamedTuple):
    """Values and Jacobians of several functions, and the Hessian of their weighted sum.

    Attributes:
        values: The functions' values, each `(*points, rows)`.
        jacobians: Their Jacobians, each `(*points, rows, d)`.
        hessian: The Hessian of `sum_i weights_i . values_i`, shape `(*points, d, d)`.
    """

    values: tuple[Tensor, ...]
    jacobians: tuple[Tensor, ...]
    hessian: Tensor

    def take(self, index: Tensor) -> "Derivatives":
        """Those of some of the instances: points are `(time, batch)`."""
        values, jacobians = (tuple(v[:, index] for v in part) for part in self[:2])
        return type(self)(values, jacobians, self.hessian[:, index])


class Transcription:
    r"""The problem discretised by `n` Runge-Kutta steps, the control constant over each:

    $$ \min \sum_k c_k(z_k, u_k) + \phi(z_n) \quad \text{s.t.} \quad x_{k+1} = F_k(z_k, u_k), \;
       g_k(z_k, u_k) \le 0, \; \psi(z_n) = 0, \; \omega(z_n, u_{n-1}) \le 0. $$

    `omega` holds the terminal inequality, and the path constraint at the final time. Rows of `g` at
    the first nodes that no decision can influence (`structure`) are left out.
    Tensors have time first, then one batch dimension, then a vector; `z` is the state extended by
    free constants (`Points`).

    Arguments:
        batch: The problem, its initial states and parameters.
        solver: The steps.

    Attributes:
        n, nx, nz, nu: The number of steps, and the sizes of `x`, `z` and `u`.
        shape: The user's batch dimensions.
        x0: The initial states, shape `(batch, nx)`.
        along, end: The inequalities at each step and at the final state.
        free: Which rows of `g` the decision can influence, shape `(n, rows)`; None for all.
        room: By how much rows that are not bounds are relaxed: there may be no interior else.
        n_psi: The number of terminal constraints.
        scale: What the cost is multiplied with, shape `(batch,)`.
        units: Those of its variables and rows; None for the user's own.
        sizes: The units that a start suggested, or None.
        weight: That of the penalty which stands for the constraints, or None.
        share, hold: What the cost counts besides that penalty, and how it holds the final time.
        anchor: The constants that the penalty holds on to, shape `(batch, nz - nx)`.
        kernel: The problem's functions in machine code, or None.
        invalid: What is wrong with instances that are given with NaN or infinite values, by their
            number in the whole batch; here these are others that are finite.
        way: How torch evaluates the functions at many points.
    """

    invalid: dict[int, str]
    problem: Problem
    n: int
    nx: int
    nz: int
    share: float
    hold: float
    shared: dict[str, Tensor]
    own: dict[str, Tensor]

    def __init__(self, batch: Batch, solver: ExplicitRungeKutta):
        batch, self.invalid = without_invalid(batch)
        check_batch(batch)
        check_integer("The solver's n", solver.n, most=MOST_STEPS)
        problem, x0, target, parameters = batch
        self.problem, self.n = problem, solver.n
        self.points: Points = Points(problem, solver.tableau, (problem.t1 - problem.t0) / solver.n)
        self.shape: torch.Size = problem.batch_shape(x0)
        self.x0: Tensor = x0.reshape(math.prod(self.shape), -1)
        self.nx, self.nz = self.points.nx, self.points.nz
        self.nu: int = math.prod(problem.control_shape or ())
        self.s: Tensor = self.x0.new_tensor(equal_times(problem.t0, problem.t1, self.n))
        self.weight: float | None = None
        self.share, self.hold = 1.0, 0.0
        self.room: float = 0.0
        self.units: Units | None = None
        self.sizes: Units | None = None
        self.kernel: Kernel | None = None
        self.anchor: Tensor = self.x0.new_zeros(len(self.x0), self.nz - self.nx)
        self.scale: Tensor = self.x0.new_ones(len(self.x0))
        self.shared, self.own = self.sorted(parameters)
        self.target: Tensor | None = target
        if target is not None:
            self.target = target.reshape(len(self.x0), *target.shape[len(self.shape) :])
        self.way: Way = "apart"
        self.set_bounds()

    def sorted(self, parameters: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The parameters that all instances share, and those that each has of its own."""
        shared, own = {}, {}
        for name, value in parameters.items():
            shape = own_value(self.problem, name).shape
            if value.shape == shape:
                shared[name] = value
            elif value.shape == self.shape + shape:
                own[name] = value.reshape(len(self.x0), *shape)
            else:
                raise ValueError(
                    f"{name} must have shape {tuple(shape)} or {tuple(self.shape + shape)}, but "
                    f"got {tuple(value.shape)}."
                )
        return shared, own

    u_bounds: tuple[Tensor, Tensor]
    theta_bounds: tuple[Tensor, Tensor]

    def set_bounds(self) -> None:
        """Collects the bounds of controls and constants, and counts the rows of constraints."""
        problem, inf = self.problem, math.inf
        low, high = problem.control_bounds or (-inf, inf)
        shape = problem.control_shape or ()
        low, high = (torch.as_tensor(b).to(self.x0).expand(shape).reshape(-1) for b in (low, high))
        self.u_bounds = low, high
        check_bounds("control_bounds", *self.u_bounds)
        pairs = []
        if problem.final_time_bounds is not None:
            width = problem.t1 - problem.t0
            pairs.append([(t - problem.t0) / width for t in problem.final_time_bounds])
        for name, like in self.points.static.items():
            pairs += [problem.static_parameters[name]] * like.numel()
        low, high = self.x0.new_tensor(pairs).reshape(-1, 2).unbind(-1)
        self.theta_bounds = low, high
        check_bounds("final_time_bounds and static_parameters", *self.theta_bounds)

        free = self.x0.new_full((self.nx,), inf)
        u_low, u_high = self.u_bounds
        g, psi, omega = self.first_rows()
        self.free: Tensor | None = None
        if g.shape[-1] > 0:
            reads = structure.of_stage(self, g.shape[-1])
            rows = structure.influenced(reads, self.n, self.nx)
            self.free = None if bool(rows.all()) else rows
            self.points.last = structure.of_states(reads, self.nz)
        self.n_psi: int = psi.shape[-1]
        theta, any_u = torch.full_like(low, inf), torch.full_like(u_low, inf)
        self.along: Inequalities = Inequalities(
            torch.cat([-free, -theta, u_low]), torch.cat([free, theta, u_high]), g.shape[-1]
        )
        self.end: Inequalities = Inequalities(
            torch.cat([-free, low, -any_u]),
            torch.cat([free, high, any_u]),
            omega.shape[-1] + len(self.points.last),
        )

    def imposed(self, g: Tensor) -> Tensor:
        """The path constraint as it is imposed at all steps: relaxed, and -1 where it is left out.

        `g` has the shape `(n, batch, rows)`.
        """
        g = g - self.rooms()[0]
        return g if self.free is None else torch.where(self.free[:, None], g, -1.0)

    def rooms(self) -> tuple[Tensor | float, Tensor | float]:
        """By how much the rows `g` and `omega` are relaxed, in the units there are.

        That is `room` in the user's unit or in the row's, whichever is less.
        """
        if self.units is not None:
            units = self.units
            return self.room * (1 / units.g).clamp(max=1), self.room * (1 / units.omega).clamp(
                max=1
            )
        if self.sizes is None or self.weight is not None:
            return self.room, self.room
        return self.room * self.sizes.g.clamp(max=1), self.room * self.sizes.omega.clamp(max=1)

    def in_units(self, units: Units) -> "Transcription":
        """The same problem with its variables and rows in other units than the user's."""
        part = copy.copy(self)
        part.units = units
        part.x0 = self.x0 / units.w[:, : self.nx]
        theta, u = units.w[:, self.nx : self.nz], units.w[:, self.nz :]
        part.theta_bounds = self.theta_bounds[0] / theta, self.theta_bounds[1] / theta
        part.u_bounds = self.u_bounds[0] / u, self.u_bounds[1] / u
        part.along, part.end = self.along.in_units(units.w), self.end.in_units(units.w)
        return part

    @torch.no_grad()
    def first_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The constraints' rows `g`, `psi` and `omega` of the first instance, at its start.

        What cannot be evaluated at several times at once is evaluated step by step from now on: a
        time that is read as a number (`float(t)`, a branch, a lookup) would be one for all points.
        """
        first = self.take(torch.arange(1, device=self.x0.device))
        z, u = first.constant_start(2)
        ends = self.s[[0, -1]]
        _, psi, omega = first.ends(z[:1], u[:1])
        try:
            _, _, g = first.stages(z[:2], u, ends)
        # What the user's code does with many times at once can raise anything.
        except Exception as error:
            self.way = first.way = "stepwise"
            try:
                _, _, g = first.stages(z[:2], u, ends)
            except RuntimeError:
                if not self.points.free_time:
                    raise
                name = type(self.problem).__name__
                raise ValueError(
                    f"{name}'s final time is free, so that its functions must compute with t as a "
                    f"tensor, but one of them reads a number: {error}"
                ) from error
        return g, psi, omega

    def share_time(self) -> None:
        """Evaluates all points in one call: to be called if the functions do not read the time.

        That is several times faster than a vmap, but only without parameters that differ.
        """
        if not (self.own or self.shared or self.points.static) and self.target is None:
            self.way = "together"

    def take(self, index: Tensor) -> "Transcription":
        """The same for some of the instances."""
        part = copy.copy(self)
        part.x0, part.scale, part.anchor = (v[index] for v in (self.x0, self.scale, self.anchor))
        part.own = {name: value[index] for name, value in self.own.items()}
        part.target = None if self.target is None else self.target[index]
        part.sizes = None if self.sizes is None else self.sizes.take(index)
        if self.units is not None:
            part.units = self.units.take(index)
            part.theta_bounds = self.theta_bounds[0][index], self.theta_bounds[1][index]
            part.u_bounds = self.u_bounds[0][index], self.u_bounds[1][index]
            part.along, part.end = self.along.take(index), self.end.take(index)
        return part

    def relaxed(
        self, weight: float, anchor: Tensor, share: float = 1.0, hold: float = 0.0
    ) -> "Transcription":
        """The same with all constraints but dynamics and bounds as penalties.

        The cost becomes `share cost + weight/2 (|psi|^2 + |max(omega, 0)|^2 + int |max(g, 0)|^2
        + hold (r - anchor)^2)`, with `r` how much the horizon is stretched: the end may be missed
        by less at once, in less time, so that a free final time must stay to find the way.

        Arguments:
            weight: The weight of the penalty.
            anchor: The constants to hold on to, shape `(batch, nz - nx)`.
            share: What is left of the cost.
            hold: How strongly the final time is held.
        """
        part = copy.copy(self)
        part.weight, part.anchor, part.n_psi = weight, anchor, 0
        part.share, part.hold = share, hold
        part.along, part.end = copy.copy(self.along), copy.copy(self.end)
        part.along.rows = part.end.rows = 0
        part.free = None
        if self.units is not None:
            w, *rows = self.units
            part.units = Units(w, *(row[:, :0] for row in rows))
        part.kernel = None if self.kernel is None else self.kernel.of(part)
        return part

    def penalised(self, cost: Tensor, rows: Sequence[Tensor], share: float) -> Tensor:
        """A cost with the penalty of rows that should be zero."""
        total = torch.cat([row**2 for row in rows], -1).sum(-1, keepdim=True)
        weight = 0.0 if self.weight is None else self.weight
        return self.share * cost + weight / 2 * share * total / self.scale[:, None]

    def constant_start(self, n: int) -> tuple[Tensor, Tensor]:
        """The initial state held, constants as they are, and no control, all between bounds."""
        size = len(self.x0)
        theta = [self.x0.new_ones(1)] if self.points.free_time else []
        theta += [v.detach().reshape(-1).to(self.x0) for v in self.points.static.values()]
        theta = torch.cat([self.x0.new_zeros(0), *theta])
        if self.units is not None:
            theta = theta / self.units.w[:, self.nx : self.nz]
        theta = inside(theta, *self.theta_bounds)
        z = torch.cat([self.x0, theta.expand(size, -1)], -1)
        u = inside(self.x0.new_zeros(size, self.nu), *self.u_bounds)
        return z.expand(n + 1, -1, -1), u.expand(n, -1, -1)

    def stages(self, z: Tensor, u: Tensor, s: Tensor | None = None) -> tuple[Tensor, ...]:
        """`F`, `c` and `g` at points `(*lead, time, batch, .)`; leading dimensions repeat times."""
        if self.units is not None:
            z, u = self.units.own(z, u)
        F, c, g = self.stages_of_problem(z, u, s)
        if self.weight is not None:
            c, g = self.penalised(c, [g.clamp(min=0)], 1 / self.n), g[..., :0]
        if self.units is None:
            return F, c, g
        return F / self.units.w[..., : self.nx], c, g / self.units.g

    def ends(self, z: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """`phi`, `psi` and `omega` at points `(*lead, time, batch, .)`."""
        if self.units is not None:
            z, u = self.units.own(z, u)
        phi, psi, omega = self.ends_of_problem(z, u)
        if self.weight is not None:
            last = self.nx + self.points.free_time
            held = (z[..., self.nx : last] - self.anchor[..., : last - self.nx]) * self.hold**0.5
            phi = self.penalised(phi, [psi, omega.clamp(min=0), held], 1.0)
            psi, omega = psi[..., :0], omega[..., :0]
        if self.units is None:
            return phi, psi, omega
        return phi, psi / self.units.psi, omega / self.units.omega

    def stages_of_problem(self, z: Tensor, u: Tensor, s: Tensor | None) -> tuple[Tensor, ...]:
        """`stages` without penalties."""
        s = self.s[: z.shape[-3]] if s is None else s
        if self.way == "together":
            return self.points.stage(z, u, s[0], None, {})
        if self.way == "apart":
            return self.at_points(self.points.stage, z, u, s.expand(z.shape[:-2]))
        steps = [
            self.at_points(
                lambda z, u, target, own, now=now: self.points.stage(z, u, now, target, own),
                z[..., k, :, :], u[..., k, :, :],
            )
            for k, now in enumerate(s.unbind())
        ]  # fmt: skip
        return tuple(torch.stack(values, -3) for values in zip(*steps, strict=True))

    def ends_of_problem(self, z: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """`ends` without penalties."""
        s = self.s[-1]
        if self.way == "together":
            return self.points.ending(z, u, s, None, {})
        return self.at_points(
            lambda z, u, target, own: self.points.ending(z, u, s, target, own), z, u
        )

    def rollout(self, z: Tensor, u: Tensor) -> Tensor:
        """The extended states that controls `(n, batch, nu)` lead to from `z`, `(n + 1, ...)`."""
        if self.kernel is not None:
            return self.kernel.rollout(self, z.expand(self.n + 1, -1, -1), u)
        path = [z]
        for k in range(self.n):
            x, _, _ = self.stages(z[None], u[k : k + 1], self.s[k : k + 1])
            z = torch.cat([x[0], z[:, self.nx :]], -1)
            path.append(z)
        return torch.stack(path)

    def at_points(self, function: Callable[..., Any], *args: Tensor) -> tuple[Tensor, ...]:
        """`function` at each point by itself, so that each has its time and its parameters."""
        lead, size = args[0].shape[:-2], args[0].shape[-2]
        of_points = [a.dim() - len(lead) for a in args]
        flat = [a.reshape(-1, *a.shape[len(lead) :]) for a in args]

        def one(*point: Tensor, target: Tensor | None = None, **own: Tensor) -> tuple[Tensor, ...]:
            return function(*point, target, {**self.shared, **own})

        over_batch = vmap(
            lambda target, own, *point: one(*point, target=target, **own),
            in_dims=(None if self.target is None else 0, 0, *(0 if d else None for d in of_points)),
        )
        outputs = vmap(lambda *point: over_batch(self.target, self.own, *point))(*flat)
        return tuple(value.reshape(*lead, size, -1) for value in outputs)

    def differentiate(
        self, function: Callable[[Tensor], tuple[Tensor, ...]], w: Tensor, weights: Sequence[Tensor]
    ) -> Derivatives:
        """Values, Jacobians and the Hessian of the weighted sum, at points `w` `(*points, d)`.

        The Lagrangian `L = sum_i weights_i . f_i` is differentiated twice by reverse mode, one
        copy of the points for each direction `e_j`. As its gradient `G` is linear in the weights,
        the same sweep gives the Jacobians: `d(G . e_j) / d weights_i = (f_i)_w e_j`.
        """
        d = w.shape[-1]
        with torch.enable_grad():
            copies = w.detach().expand(d, *w.shape).contiguous().requires_grad_()
            by_row = [v.detach().expand(d, *v.shape).contiguous().requires_grad_() for v in weights]
            values = function(copies)
            total = torch.stack([(a * b).sum() for a, b in zip(by_row, values, strict=True)]).sum()
            inputs = (copies, *by_row)
            (gradient,) = torch.autograd.grad(
                total, copies, create_graph=True, allow_unused=True, materialize_grads=True
            )
            # Where nothing depends on the point there is no graph to differentiate again.
            gradient = gradient + 0 * copies.sum() if not gradient.requires_grad else gradient
            directions = torch.eye(d, dtype=w.dtype, device=w.device)
            directions = directions.reshape(d, *[1] * (w.dim() - 1), d).expand_as(copies)
            hessian, *jacobians = torch.autograd.grad(
                gradient, inputs, directions, allow_unused=True, materialize_grads=True
            )
        return Derivatives(
            tuple(value[0].detach() for value in values),
            tuple(jacobian.movedim(0, -1) for jacobian in jacobians),
            hessian.movedim(0, -1),
        )

    def stage_derivatives(self, z: Tensor, u: Tensor, weights: Sequence[Tensor]) -> Derivatives:
        """The derivatives of `F`, `c` and `g` in `w = (z, u)` at all steps."""
        w = torch.cat([z, u], -1)
        per_chunk = max(1, CHUNK // (w.shape[1] * w.shape[2]))
        parts = [
            self.differentiate(
                lambda w, s=s: self.stages(w[..., : self.nz], w[..., self.nz :], s), part, of_part
            )
            for part, s, *of_part in zip(
                w.split(per_chunk),
                self.s[:-1].split(per_chunk),
                *(v.split(per_chunk) for v in weights),
                strict=True,
            )
        ]
        if len(parts) == 1:
            return parts[0]
        values, jacobians, hessians = zip(*parts, strict=True)
        return Derivatives(
            tuple(map(torch.cat, zip(*values, strict=True))),
            tuple(map(torch.cat, zip(*jacobians, strict=True))),
            torch.cat(hessians),
        )

    def end_derivatives(self, z: Tensor, u: Tensor, weights: Sequence[Tensor]) -> Derivatives:
        """The derivatives of `phi`, `psi` and `omega` in the final state and the last control."""
        nz = self.nz
        ends = lambda w: self.ends(w[..., :nz], w[..., nz:])
        return self.differentiate(ends, torch.cat([z, u], -1), weights)


def inside(value: Tensor, lower: Tensor, upper: Tensor, share: float = 1e-2) -> Tensor:
    """`value` moved between the bounds, away from them by a share of the room or of one.

    Where bounds are large numbers, their size stands for one.
    """
    size = torch.stack([lower, upper]).abs()
    size = torch.where(size.isfinite() & (size > NEAR_ONE), size, 1.0).amax(0)
    room = torch.minimum(share * (upper - lower), share * size)
    return torch.maximum(torch.minimum(value, upper - room), lower + room)
