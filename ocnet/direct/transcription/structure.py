"""What the functions of a step read: which rows of a constraint the decision can influence."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Reads(NamedTuple):
    """What the next state and the path constraint of a step read.

    Attributes:
        F: Whether a component reads an entry of `w = (z, u)` or, last, the time; `(nx, d + 1)`.
        g: The same for the rows of the path constraint, shape `(rows, d + 1)`.
    """

    F: Tensor
    g: Tensor


@torch.no_grad()
def of_stage(
    stages: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    w: Tensor, s: Tensor, nx: int, nz: int, rows: int,
) -> Reads:  # fmt: skip
    """What a step of the first instance reads: too much perhaps, but not too little.

    One entry after the other is set to NaN: whatever is computed from it is NaN too, even its
    product with a zero. A change of the entry shows what a comparison or a rounding hides.

    Arguments:
        stages: `F, c, g` of extended states, controls and times.
        w: The variables of a point, shape `(d,)`.
        s: Its time, shape `(1,)`.
        nx, nz: The sizes of the state and of the extended state.
        rows: How many rows the path constraint has.
    """
    d, some = len(w), 0.1 * (1 + w.abs())
    base = torch.cat([w + some * torch.arange(1, d + 1).to(w).cos(), s])
    changes = [torch.eye(d + 1).to(base) * by for by in (0.37, -1.9)]
    lost = base.repeat(d + 1, 1)
    lost.diagonal().fill_(torch.nan)
    points = torch.cat([base[None], *(base + change for change in changes), lost])
    z, u, s = points.split([nz, d - nz, 1], 1)
    try:
        F, _, g = stages(z[:, None], u[:, None], s[:, 0])
    # The user's functions may refuse numbers like these; then they are taken to read everything.
    except Exception:
        everything = torch.ones(nx + rows, d + 1, dtype=torch.bool, device=base.device)
        return Reads(*everything.split([nx, rows]))
    return Reads(*(differs(value[:, 0], d + 1) for value in (F, g)))


def differs(values: Tensor, entries: int) -> Tensor:
    """Which components differ from those at the first point, by the entry that was changed."""
    changed = values[1:] != values[0]
    return changed.reshape(-1, entries, values.shape[-1]).any(0).mT


def influenced(reads: Reads, n: int, nx: int) -> Tensor:
    """Which rows of the path constraint the decision can influence, shape `(n, rows)`.

    The initial state is given, so that at the first node only controls and constants count. A
    component of the next state can be influenced if it reads what can.

    Arguments:
        reads: What a step reads.
        n: The number of steps.
        nx: The size of the state.
    """
    d = reads.F.shape[1] - 1
    known = torch.zeros(d, dtype=torch.bool, device=reads.F.device)
    known[nx:] = True
    found = []
    for _ in range(min(n, nx + 1)):
        found.append((reads.g[:, :d] & known).any(1))
        known = torch.cat([(reads.F[:, :d] & known).any(1), known[nx:]])
    # After as many nodes as there are states nothing changes any more.
    return torch.stack([*found, *[found[-1]] * (n - len(found))])


def of_states(reads: Reads, nz: int) -> list[int]:
    """The rows of the path constraint that read state, constants or time.

    Of the others, the last step's control has satisfied them already.
    """
    by = torch.cat([reads.g[:, :nz], reads.g[:, -1:]], 1).any(1)
    return by.nonzero()[:, 0].tolist()
