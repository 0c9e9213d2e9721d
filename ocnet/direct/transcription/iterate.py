"""The variables of the discretised problem, its linearisation there, and its residuals."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..constants import UNITS_MATTER, USUAL_MULTIPLIER
from .transcription import Derivatives, Transcription


class Iterate(NamedTuple):
    """Primal and dual variables; time first, then the batch, then a vector.

    Attributes:
        z, u: Extended states `(n + 1, batch, nz)` and controls `(n, batch, nu)`.
        costate: The multipliers of the dynamics, `(n + 1, batch, nz)`.
        nu: The multipliers of the terminal constraint, `(1, batch, rows)`.
        s, y: Slacks and multipliers of the inequalities at each step, `(n, batch, rows)`.
        s_end, y_end: Those of the inequalities at the final state, `(1, batch, rows)`.
    """

    z: Tensor
    u: Tensor
    costate: Tensor
    nu: Tensor
    s: Tensor
    y: Tensor
    s_end: Tensor
    y_end: Tensor

    @property
    def end(self) -> Tensor:
        """The final state and the last control, shape `(1, batch, d)`."""
        return torch.cat([self.z[-1:], self.u[-1:]], -1)

    @classmethod
    def without_multipliers(cls, nlp: Transcription, z: Tensor, u: Tensor) -> "Iterate":
        """States and controls; slacks and multipliers are zero."""
        size = len(nlp.x0)
        nu = z.new_zeros(1, size, nlp.n_psi)
        y, y_end = z.new_zeros(nlp.n, size, len(nlp.along)), z.new_zeros(1, size, len(nlp.end))
        return cls(z, u, torch.zeros_like(z), nu, y, y, y_end, y_end)

    def take(self, index: Tensor) -> "Iterate":
        """The variables of some of the instances."""
        return type(self)(*(value[:, index] for value in self))

    def moved(self, step: "Iterate", primal: Tensor, dual: Tensor) -> "Iterate":
        """`self + alpha step`, with one `alpha` per instance; `dual` is that of `y`."""
        primal, dual = primal[:, None], dual[:, None]
        lengths = (primal, primal, primal, primal, primal, dual, primal, dual)
        return type(self)(*(a + alpha * b for a, b, alpha in zip(self, step, lengths, strict=True)))

    def weighed(self, ratio: Tensor) -> "Iterate":
        """The same for a cost that is multiplied by a ratio of each instance."""
        ratio = ratio[:, None]
        return self._replace(
            costate=ratio * self.costate, nu=ratio * self.nu, y=ratio * self.y,
            y_end=ratio * self.y_end,
        )  # fmt: skip

    def where(self, mask: Tensor, other: "Iterate") -> "Iterate":
        """The instances of `self` where `mask` holds, and those of `other` elsewhere."""
        mask = mask[:, None]
        return type(self)(*(torch.where(mask, a, b) for a, b in zip(self, other, strict=True)))


class Linearisation(NamedTuple):
    """Values and derivatives at an iterate.

    Attributes:
        along, end: Derivatives of `F, c, g` at each step and of `phi, psi, omega` at the end.
        defect: `F(z_k, u_k) - x_{k+1}`, shape `(n, batch, nx)`.
        rows, rows_end: The inequalities' values as they are imposed.
    """

    along: Derivatives
    end: Derivatives
    defect: Tensor
    rows: Tensor
    rows_end: Tensor

    def take(self, index: Tensor) -> "Linearisation":
        """Those of some of the instances."""
        values = (value[:, index] for value in (self.defect, self.rows, self.rows_end))
        return type(self)(self.along.take(index), self.end.take(index), *values)


class Residuals(NamedTuple):
    """How far an iterate is from optimal, the largest entry for each instance, `(batch,)`.

    Stationarity is per unit of the number of steps, so that it means the same on every grid.

    Attributes:
        stationarity: Of the Lagrangian in states, controls and constants.
        feasibility: Of dynamics, terminal constraints and inequalities with slack.
        complementarity: `max |s y - mu w|`, per unit of the weight `w` of a row.
        size: The mean size of the multipliers, at least one.
    """

    stationarity: Tensor
    feasibility: Tensor
    complementarity: Tensor
    size: Tensor

    @property
    def error(self) -> Tensor:
        """The largest of the three, relative to the size of the multipliers."""
        dual = torch.maximum(self.stationarity, self.complementarity) / self.size
        return torch.maximum(dual, self.feasibility)


def linearise(nlp: Transcription, it: Iterate) -> Linearisation:
    """Values and derivatives at an iterate; the Hessian is that of the Lagrangian."""
    if nlp.kernel is not None:
        along, end = nlp.kernel.derivatives(nlp, it)
        return of_derivatives(nlp, it, along, end)
    ones, y = nlp.scale[:, None], it.y[..., nlp.along.bounded :]
    y = y if nlp.free is None else y * nlp.free[:, None]
    along = nlp.stage_derivatives(
        it.z[:-1], it.u, [it.costate[1:, :, : nlp.nx], ones.expand(nlp.n, -1, 1), y]
    )
    y_end = it.y_end[..., nlp.end.bounded :]
    end = nlp.end_derivatives(it.z[-1:], it.u[-1:], [ones[None], it.nu, y_end])
    return of_derivatives(nlp, it, along, end)


def of_derivatives(
    nlp: Transcription, it: Iterate, along: Derivatives, end: Derivatives
) -> Linearisation:
    """The linearisation that derivatives amount to."""
    if nlp.free is not None:
        F_w, c_w, g_w = along.jacobians
        along = along._replace(jacobians=(F_w, c_w, g_w * nlp.free[:, None, :, None]))
    return Linearisation(
        along,
        end,
        along.values[0] - it.z[1:, :, : nlp.nx],
        nlp.along.values(torch.cat([it.z[:-1], it.u], -1), nlp.imposed(along.values[2])),
        nlp.end.values(it.end, end.values[2] - nlp.rooms()[1]),
    )


def slacks(nlp: Transcription, lin: Linearisation, least: float) -> tuple[Tensor, Tensor]:
    """Slacks that are the inequalities' room, at least `least` where they are not bounds."""
    bounds, others = (-lin.rows).tensor_split([nlp.along.bounded], -1)
    bounds_end, others_end = (-lin.rows_end).tensor_split([nlp.end.bounded], -1)
    return (
        torch.cat([bounds, others.clamp(min=least)], -1),
        torch.cat([bounds_end, others_end.clamp(min=least)], -1),
    )


def stationarity(nlp: Transcription, it: Iterate, lin: Linearisation) -> tuple[Tensor, ...]:
    """The gradient of the Lagrangian in `z[k]`, `u[k]` and `z[n]`."""
    F_w, c_w, g_w = lin.along.jacobians
    phi_w, psi_w, omega_w = lin.end.jacobians
    scale = nlp.scale[:, None]
    L_end = scale * phi_w[..., 0, :] + nlp.end.pull_back(omega_w, it.y_end)
    L_end += apply(psi_w.mT, it.nu)
    L_w = scale * c_w[..., 0, :] + nlp.along.pull_back(g_w, it.y)
    L_w += apply(F_w.mT, it.costate[1:, :, : nlp.nx])
    L_w[..., nlp.nx : nlp.nz] += it.costate[1:, :, nlp.nx :]
    L_w[-1:, :, nlp.nz :] += L_end[..., nlp.nz :]
    at_end = L_end[..., : nlp.nz] - it.costate[-1:]
    return L_w[..., : nlp.nz] - it.costate[:-1], L_w[..., nlp.nz :], at_end


def residuals(nlp: Transcription, it: Iterate, lin: Linearisation) -> Residuals:
    """The residuals of the optimality conditions, with `s y = 0` for complementarity."""
    L_z, L_u, L_end = stationarity(nlp, it, lin)
    along = torch.maximum(largest(L_z), largest(L_u)) * nlp.n
    feasibility = [
        lin.defect, lin.end.values[1], lin.rows + it.s, lin.rows_end + it.s_end,
    ]  # fmt: skip
    if nlp.units is not None:
        # A violation counts in the user's units, as far as rounding lets it be small there.
        of_rows = nlp.units.w[:, : nlp.nx], nlp.units.psi, *nlp.units.of_rows(nlp)
        feasibility = [
            v * f.clamp(1, UNITS_MATTER) for v, f in zip(feasibility, of_rows, strict=True)
        ]
    multipliers = [it.costate, it.nu, nlp.n * it.y, it.y_end]
    total = over(torch.abs, *multipliers)
    count = sum(v.shape[0] * v.shape[2] for v in multipliers)
    return Residuals(
        torch.maximum(along, largest(L_end)),
        torch.stack([largest(v) for v in feasibility]).amax(0),
        complementarity(nlp, it, torch.zeros_like(total)),
        (total / count / USUAL_MULTIPLIER).clamp(min=1),
    )


def complementarity(nlp: Transcription, it: Iterate, mu: Tensor) -> Tensor:
    """`max |s y - mu w|`, per unit of the weight `w` of a row."""
    mu = mu[:, None]
    return torch.maximum(largest(nlp.n * it.s * it.y - mu), largest(it.s_end * it.y_end - mu))


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """`matrix @ vector` at each point."""
    # Products of many small matrices are slower one by one than as sums of many entries.
    return (matrix * vector.unsqueeze(-2)).sum(-1)


def largest(value: Tensor) -> Tensor:
    """The largest absolute entry for each instance, zero if there are none."""
    if value.numel() == 0:
        return value.new_zeros(value.shape[1])
    # One axis after the other: the batch lies between them, and both at once is slow.
    return value.abs().amax(2).amax(0)


def over(function: Callable[[Tensor], Tensor], *values: Tensor) -> Tensor:
    """The sum over values, times and entries of `function`, for each instance."""
    return torch.stack([function(v).sum(2).sum(0) for v in values]).sum(0)
