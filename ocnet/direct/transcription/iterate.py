"""The discretised problem linearised at its variables, and its residuals there."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..constants import UNITS_MATTER, USUAL_MULTIPLIER
from .backend import Linearisation
from .transcription import Transcription
from .variables import Iterate


class Residuals(NamedTuple):
    """How far an iterate is from optimal, the largest entry for each instance, `(batch,)`.

    Stationarity is per unit of the number of steps, so that it means the same on every grid.

    Attributes:
        stationarity: The slope of the Lagrangian in states, controls and constants.
        feasibility: The violation of dynamics, terminal constraints and inequalities with slack.
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
    along, end = nlp.backend.derivatives(nlp, it)
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
    """Slacks equal to the room of the inequalities, at least `least` where they are not bounds."""
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
