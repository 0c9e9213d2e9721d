"""An optimal control problem cut into steps: the nonlinear program, and its derivatives."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..._arguments import check_integer
from ...control.base import equal_times
from ...problem import Batch, Problem
from ...solver import ExplicitRungeKutta
from . import bounds, structure
from .backend import Backend
from .bounds import inside
from .check import check_batch
from .given import ends_at, Given, stages_at, Way
from .inequality import Inequalities
from .invalid import without_invalid
from .points import Points
from .structure import Reads
from .units import Units


MOST_STEPS = 1_000_000
"""The most steps that a problem is cut into."""


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
        backend: What differentiates it and goes through its stages.
        reads_of: Finds from formulas what a step reads, where there are formulas; without it,
            values are used.

    Attributes:
        n, nx, nz, nu: The number of steps, and the sizes of `x`, `z` and `u`.
        shape: The user's batch dimensions.
        x0: The initial states, shape `(batch, nx)`.
        along, end: The inequalities at each step and at the final state.
        free: Which rows of `g` the decision can influence, shape `(n, rows)`; None for all.
        room: By how much rows other than bounds are relaxed, as there may be no interior otherwise.
        n_psi: The number of terminal constraints.
        scale: The factor that multiplies the cost, shape `(batch,)`.
        units: The units of its variables and rows; None for the user's own.
        sizes: The units that a start suggested, or None.
        weight: The weight of the penalty that stands for the constraints, or None.
        share, hold: How much the cost counts besides that penalty, and how strongly the penalty
            holds the final time.
        anchor: The constants that the penalty holds on to, shape `(batch, nz - nx)`.
        given: The parameters and targets of the instances.
        backend: What differentiates it and goes through its stages.
        invalid: What is wrong with instances that are given with NaN or infinite values, by their
            number in the whole batch; here, finite instances take their place.
        way: How torch evaluates the functions at many points.
    """

    invalid: dict[int, str]
    problem: Problem
    n: int
    nx: int
    nz: int
    share: float
    hold: float

    def __init__(
        self,
        batch: Batch,
        solver: ExplicitRungeKutta,
        backend: "Backend[Transcription]",
        reads_of: "ReadsOf | None" = None,
    ):
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
        self.backend: Backend[Transcription] = backend
        self.anchor: Tensor = self.x0.new_zeros(len(self.x0), self.nz - self.nx)
        self.scale: Tensor = self.x0.new_ones(len(self.x0))
        self.given: Given = Given.of(batch)
        self.way: Way = "apart"
        self.set_bounds(reads_of)

    u_bounds: tuple[Tensor, Tensor]
    theta_bounds: tuple[Tensor, Tensor]

    def set_bounds(self, reads_of: "ReadsOf | None") -> None:
        """Collects the bounds of controls and constants, and counts the rows of constraints."""
        self.u_bounds = bounds.of_controls(self.points, self.x0)
        self.theta_bounds = bounds.of_constants(self.points, self.x0)
        inf, (low, high) = math.inf, self.theta_bounds
        free = self.x0.new_full((self.nx,), inf)
        u_low, u_high = self.u_bounds
        g, psi, omega = self.first_rows()
        self.n_psi: int = psi.shape[-1]
        self.free: Tensor | None = None
        if g.shape[-1] > 0:
            found = None if reads_of is None else reads_of(self)
            reads = self.reads(g.shape[-1]) if found is None else found
            rows = structure.influenced(reads, self.n, self.nx)
            self.free = None if bool(rows.all()) else rows
            self.points.last = structure.of_states(reads, self.nz)
        theta, any_u = torch.full_like(low, inf), torch.full_like(u_low, inf)
        self.along: Inequalities = Inequalities(
            torch.cat([-free, -theta, u_low]), torch.cat([free, theta, u_high]), g.shape[-1]
        )
        self.end: Inequalities = Inequalities(
            torch.cat([-free, low, -any_u]),
            torch.cat([free, high, any_u]),
            omega.shape[-1] + len(self.points.last),
        )

    def reads(self, rows: int) -> Reads:
        """What a step reads, as far as values tell; the path constraint has `rows` rows."""
        d = self.nz + self.nu
        first = torch.zeros(structure.probes(d), dtype=torch.long, device=self.x0.device)
        many = self.take(first)
        z, u = many.constant_start(1)
        w = torch.cat([z[0, 0], u[0, 0]])
        return structure.of_stage(many.stages, w, self.s, self.nx, self.nz, rows)

    def imposed(self, g: Tensor) -> Tensor:
        """The path constraint as it is imposed at all steps: relaxed, and -1 where it is left out.

        `g` has the shape `(n, batch, rows)`.
        """
        g = g - self.rooms()[0]
        return g if self.free is None else torch.where(self.free[:, None], g, -1.0)

    def rooms(self) -> tuple[Tensor | float, Tensor | float]:
        """By how much the rows `g` and `omega` are relaxed, in the current units.

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

        Functions that cannot be evaluated at several times at once are evaluated step by step from
        now on: a time read as a number (`float(t)`, a branch, a lookup) would be the same for all
        points.
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
        shared, own, target = self.given
        if not (own or shared or self.points.static) and target is None:
            self.way = "together"

    def take(self, index: Tensor) -> "Transcription":
        """The same for some of the instances."""
        part = copy.copy(self)
        part.x0, part.scale, part.anchor = (v[index] for v in (self.x0, self.scale, self.anchor))
        part.given = self.given.take(index)
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
        + hold (r - anchor)^2)`, where `r` is the stretch of the horizon. A shorter time may at once
        miss the end by less, so a free final time must be held to find the way.

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
        part.backend = self.backend.of(part)
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
        """`F`, `c` and `g` at points `(*lead, time, batch, .)`; all `lead` have the same times."""
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
        return stages_at(self.points, self.given, self.way, z, u, s)

    def ends_of_problem(self, z: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        """`ends` without penalties."""
        return ends_at(self.points, self.given, self.way, z, u, self.s[-1])

    def rollout(self, z: Tensor, u: Tensor) -> Tensor:
        """The extended states that controls `(n, batch, nu)` lead to from `z`, `(n + 1, ...)`."""
        return self.backend.rollout(self, z, u)


ReadsOf = Callable[[Transcription], Reads | None]
"""A function that finds what a step of a problem reads; None if it cannot."""
