"""Why an instance did not converge: its largest residuals, and rows that depend on each other."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor

from ..transcription.backend import Linearisation
from ..transcription.iterate import stationarity
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import step_width
from .names import rows_of, variable_name
from .violated import constraints


SHOWN = 8
"""The most residuals that a table holds."""

NODES = 25
"""The largest number of nodes at which rows of the path constraint are looked at."""

NOTHING, DEPENDENT = 1e-12, 1e-7
"""A gradient counts as zero, or as dependent on others, if less than this share of it is left."""


class Missed(NamedTuple):
    """By how much one condition is missed, where it is missed most.

    Attributes:
        name: The name of the condition.
        value: By how much it is missed, in the user's units; for conditions along the path, per
            unit of time.
        scale: The size of the terms whose sum it is.
        time: When it is missed most.
    """

    name: str
    value: float
    scale: float
    time: float


class Stall(NamedTuple):
    """The state that an instance was left in.

    Attributes:
        residuals: The conditions that are missed by most of their scale, the worst first.
        dependent: Rows that no decision changes, or whose gradients depend on each other.
    """

    residuals: tuple[Missed, ...]
    dependent: tuple[str, ...]

    def text(self) -> str:
        """The table in lines of text."""
        rows = [(r.name, f"{r.value:.2e}", f"{r.scale:.2e}", f"{r.time:.4g}") for r in self[0]]
        heads = ("largest residuals", "value", "scale", "time")
        table = tabulate(rows, heads, tablefmt="plain", disable_numparse=True)
        return "\n".join([table, *self.dependent])


def stall(
    nlp: Transcription, it: Iterate, lin: Linearisation, i: int, feasible: bool = True
) -> Stall:
    """What keeps an instance from being optimal.

    Arguments:
        nlp: The discretised problem, in the user's units.
        it: Where it ended.
        lin: The linearisation there.
        i: Which instance.
        feasible: Whether the cost was being lowered; if only the violation was, the slope of the
            Lagrangian says nothing.
    """
    found = [*missed(nlp, it, lin, i), *(slopes(nlp, it, lin, i) if feasible else ())]
    eps = 1e3 * torch.finfo(it.z.dtype).eps
    found = [r for r in found if r.value > eps * max(1.0, r.scale)]
    found.sort(key=lambda r: -r.value / max(r.scale, 1e-300))
    return Stall(tuple(found[:SHOWN]), tuple(dependent_rows(nlp, it, lin, i)))


def missed(nlp: Transcription, it: Iterate, lin: Linearisation, i: int) -> Iterator[Missed]:
    """The constraints, each where it is violated most. Arguments: those of `stall`."""
    h = float(step_width(nlp, it)[i])
    for name, value, scale, first in constraints(nlp, it, lin, i):
        value = value.nan_to_num(nan=torch.inf).clamp(min=0)
        for row in range(value.shape[-1]):
            k = int(value[:, row].argmax())
            time = nlp.problem.t0 + h * (first + k)
            yield Missed(f"{name}[{row}]", float(value[k, row]), float(scale[k, row]), time)


def slopes(nlp: Transcription, it: Iterate, lin: Linearisation, i: int) -> Iterator[Missed]:
    """The derivatives of the Lagrangian in each variable. Arguments: those of `stall`."""
    nz, per_time = nlp.nz, 1 / float(step_width(nlp, it)[i] * nlp.scale[i])
    L_z, L_u, L_end = (v[:, i].abs().nan_to_num(nan=torch.inf) for v in stationarity(nlp, it, lin))
    F_w, c_w, g_w = (jacobian[:, i].abs() for jacobian in lin.along.jacobians)
    p, y = it.costate[1:, i, : nlp.nx].abs(), it.y[:, i].abs()
    terms = nlp.scale[i] * c_w[:, 0] + nlp.along.pull_back(g_w, y).abs()
    terms = terms + (F_w * p[..., None]).sum(1)
    terms[:, :nz] += it.costate[:-1, i].abs()
    h = float(step_width(nlp, it)[i])
    for j, (value, first) in enumerate(
        [(L_z[1:, j], 1) for j in range(nlp.nx)] + [(v, 0) for v in L_u.unbind(-1)]
    ):
        if len(value) == 0:
            continue
        j = j if j < nlp.nx else j - nlp.nx + nz
        k = int(value.argmax())
        scale = float(terms[k + first, j]) * per_time
        time = nlp.problem.t0 + h * (k + first)
        name = f"slope of the Lagrangian in {variable_name(nlp, j)}"
        yield Missed(name, float(value[k]) * per_time, scale, time)
    theta = it.costate[0, i, nlp.nx :].abs()
    largest = it.costate[:, i, nlp.nx :].abs().amax(0)
    for j in range(nz - nlp.nx):
        name = f"slope of the Lagrangian in {variable_name(nlp, nlp.nx + j)}"
        scale = float(torch.maximum(largest[j], nlp.scale[i]) / nlp.scale[i])
        yield Missed(name, float(theta[j] / nlp.scale[i]), scale, nlp.problem.t0)


def dependent_rows(nlp: Transcription, it: Iterate, lin: Linearisation, i: int) -> Iterator[str]:
    """Lines on active rows whose gradients do not have full rank.

    Rows of the end are examined as functions of all controls and constants, with the states in
    between eliminated. Rows of the path are examined node by node, with the active bounds there.

    Arguments:
        nlp: The discretised problem, in the user's units.
        it: Where it ended.
        lin: The linearisation there.
        i: Which instance.
    """
    psi_w, omega_w = (jacobian[0, i] for jacobian in lin.end.jacobians[1:])
    at_end = lin.rows_end[0, i, nlp.end.bounded :] > -1e-6
    rows = torch.cat([psi_w, omega_w[at_end]])
    names = [shown for name, shown in rows_of(nlp, along=False) if name != "terminal_cost"]
    active = [True] * nlp.n_psi + at_end.tolist()
    names = [name for name, is_active in zip(names, active, strict=True) if is_active]
    yield from relations(reduced(nlp, lin, rows, i), names, "at the final time")
    g_w = lin.along.jacobians[2][:, i]
    names = [shown for name, shown in rows_of(nlp, along=True) if name == "path_constraint"]
    seen: set[str] = set()
    h = float(step_width(nlp, it)[i])
    for k in range(0, nlp.n, max(1, nlp.n // NODES)):
        at = lin.rows[k, i, nlp.along.bounded :] > -1e-6
        if nlp.free is not None:
            at = at & nlp.free[k]
        some = [name for name, is_active in zip(names, at.tolist(), strict=True) if is_active]
        for line in relations(g_w[k][at], some, f"at t={nlp.problem.t0 + h * k:.4g}"):
            if line.split(" at t=")[0] not in seen:
                seen.add(line.split(" at t=")[0])
                yield line


def reduced(nlp: Transcription, lin: Linearisation, rows: Tensor, i: int) -> Tensor:
    """Gradients in `(z_n, u_{n-1})`, turned into those in all decisions, `(rows, decisions)`.

    The decisions are the controls and the constants.

    Arguments:
        nlp: The discretised problem.
        lin: The linearisation.
        rows: The gradients, shape `(rows, d)`.
        i: Which instance.
    """
    nx, nz = nlp.nx, nlp.nz
    p, theta, parts = rows[:, :nx], rows[:, nx:nz], []
    for A in reversed(lin.along.jacobians[0][:, i].unbind()):
        back = p @ A
        parts.append(back[:, nz:])
        p, theta = back[:, :nx], theta + back[:, nx:nz]
    parts[0] = parts[0] + rows[:, nz:]
    return torch.cat([theta, *parts], 1)


def relations(gradients: Tensor, names: Sequence[str], when: str) -> Iterator[str]:
    """A line for each gradient that is zero or depends on those before it.

    Arguments:
        gradients: The gradients, shape `(rows, d)`.
        names: What the rows are called.
        when: Where they were taken, in words.
    """
    basis: list[Tensor] = []
    used: list[str] = []
    if not bool(gradients.isfinite().all()):
        return
    for gradient, name in zip(gradients.unbind(), names, strict=True):
        size = float(gradient.norm())
        if size <= NOTHING:
            yield f"{name} has the derivative zero in all decisions {when}: nothing changes it"
            continue
        left = gradient / size
        for _ in range(2):  # Twice is enough against rounding.
            for direction in basis:
                left = left - (left @ direction) * direction
        if float(left.norm()) <= DEPENDENT:
            others = ", ".join(used)
            yield f"{name} depends on {others} {when}: their gradients do not have full rank"
            continue
        basis.append(left / left.norm())
        used.append(name)
