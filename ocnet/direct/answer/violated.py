"""Which constraint is violated most, when, and by how much relative to its scale."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..transcription.backend import Linearisation
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import step_width


ROUNDING = 100
"""A violation of at most this many units of rounding, relative to its scale, does not count."""


class Rows(NamedTuple):
    """The rows of a constraint at some nodes of one instance, each `(nodes, rows)`.

    Attributes:
        name: The function that gives them.
        value: By how much each is violated.
        scale: The size of the terms that each is made of.
        first: The number of the first node.
    """

    name: str
    value: Tensor
    scale: Tensor
    first: int


def worst_violation(
    nlp: Transcription, it: Iterate, lin: Linearisation, i: int, tolerance: float
) -> str:
    """The constraint that is violated most relative to its scale, by how much and when.

    Arguments:
        nlp: The discretised problem.
        it: The variables.
        lin: The linearisation there.
        i: Which instance.
        tolerance: A violation counts if it exceeds this and what rounding explains.
    """
    h, t0 = float(step_width(nlp, it)[i]), float(nlp.problem.t0)
    eps = ROUNDING * torch.finfo(it.z.dtype).eps
    worst, text = 0.0, "all constraints hold"
    for name, value, scale, first in constraints(nlp, it, lin, i):
        share = torch.where(value > torch.clamp(eps * scale, min=tolerance), value / scale, 0.0)
        if share.numel() > 0 and float(share.max()) > worst:
            k, row = divmod(int(share.argmax()), share.shape[-1])
            worst = float(share[k, row])
            text = (
                f"{name}[{row}] is violated by {float(value[k, row]):.3g} at "
                f"t={t0 + h * (first + k):.4g}, {worst:.2g} of its scale"
            )
    return text


def constraints(nlp: Transcription, it: Iterate, lin: Linearisation, i: int) -> list[Rows]:
    r"""All constraints of an instance except the bounds.

    The scale of a row `g` is `|g| + sum_j |dg/dw_j w_j|`: of `x - 3` at `x = 1` it is 3. The scale
    of a step's state is `|x_{k+1}|` plus the amount by which the state is missed.

    Arguments:
        nlp: The discretised problem.
        it: The variables.
        lin: The linearisation there.
        i: Which instance.
    """
    w = torch.cat([it.z[:-1, i], it.u[:, i]], -1).abs()
    w_end = torch.cat([it.z[-1:, i], it.u[-1:, i]], -1).abs()
    terms = lambda jacobian, w: (jacobian[:, i].abs() @ w[..., None])[..., 0]
    last, own = nlp.points.last, nlp.end.rows - len(nlp.points.last)
    defect = lin.defect[:, i].abs()
    room, room_end = (v[i] if isinstance(v, torch.Tensor) else v for v in nlp.rooms())
    rows = lin.rows[:, i, nlp.along.bounded :] + room
    g = Rows("path_constraint", rows, rows.abs() + terms(lin.along.jacobians[2], w), 0)
    psi = lin.end.values[1][:, i].abs()
    omega = lin.rows_end[:, i, nlp.end.bounded :] + room_end
    omega_scale = omega.abs() + terms(lin.end.jacobians[2], w_end)
    at_end, at_end_scale = torch.full_like(rows[:1], -1.0), torch.ones_like(rows[:1])
    at_end[:, last], at_end_scale[:, last] = omega[:, own:], omega_scale[:, own:]
    return [
        Rows("dynamics", defect, defect + it.z[1:, i, : nlp.nx].abs(), 1),
        g,
        Rows("path_constraint", at_end, at_end_scale, nlp.n),
        Rows("terminal_constraint", psi, psi + terms(lin.end.jacobians[1], w_end), nlp.n),
        Rows("terminal_inequality", omega[:, :own], omega_scale[:, :own], nlp.n),
    ]
