"""By how much the constraints of a discretised problem are violated."""

import torch
from torch import Tensor

from .backend import Linearisation
from .iterate import largest
from .transcription import Transcription
from .variables import Iterate


def step_width(nlp: Transcription, it: Iterate) -> Tensor:
    """The width of a step of each instance, in true time."""
    h = torch.full_like(nlp.scale, nlp.points.h)
    return h * it.z[0, :, nlp.nx] if nlp.points.free_time else h


def violations(nlp: Transcription, lin: Linearisation) -> Tensor:
    """The largest violation of what a decision can influence, without any relaxation.

    It is in the user's units.
    """
    rows = [(v[..., :b], v[..., b:] + room) for v, b, room in zip(
        (lin.rows, lin.rows_end), (nlp.along.bounded, nlp.end.bounded), nlp.rooms(), strict=True
    )]  # fmt: skip
    inequalities = [torch.cat(pair, -1).clamp(min=0) for pair in rows]
    parts = [lin.defect, lin.end.values[1], *inequalities]
    if nlp.units is not None:
        of_rows = nlp.units.w[:, : nlp.nx], nlp.units.psi, *nlp.units.of_rows(nlp)
        parts = [v * f for v, f in zip(parts, of_rows, strict=True)]
    return torch.stack([largest(v) for v in parts]).amax(0)


def given_violations(nlp: Transcription, lin: Linearisation) -> Tensor:
    """How much the path constraint is violated where no decision can change it, by node and row.

    That is where the given initial state violates it; shape `(n, batch, rows)`.
    """
    g = lin.along.values[2].clamp(min=0)
    return torch.zeros_like(g) if nlp.free is None else g * ~nlp.free[:, None]
