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


CHANGES = 0.37, -1.9, 12.0, -130.0
"""By how much entries are changed, relative to one."""

MOST_TIMES = 1000
"""The largest number of times that are looked at, including the first and the last."""


@torch.no_grad()
def of_stage(
    stages: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    w: Tensor, s: Tensor, nx: int, nz: int, rows: int,
) -> Reads:  # fmt: skip
    """What the steps of the first instance read at any of their times, as far as values tell.

    One entry after the other is set to NaN: whatever is computed from it is NaN too, even its
    product with a zero. A change of the entry shows what a comparison or a rounding hides. Only
    formulas tell what is read at other values alone (`where(x > 1e6, ...)`).

    Arguments:
        stages: `F, c, g` of extended states, controls and times, of `probes(d)` instances.
        w: The variables of a point, shape `(d,)`.
        s: The times, shape `(n,)`.
        nx, nz: The sizes of the state and of the extended state.
        rows: How many rows the path constraint has.
    """
    d, some = len(w), 0.1 * (1 + w.abs())
    s = s[torch.linspace(0, len(s) - 1, min(len(s), MOST_TIMES)).long()]
    base = w + some * torch.arange(1, d + 1).to(w).cos()
    lost = base.repeat(d, 1)
    lost.diagonal().fill_(torch.nan)
    changes = [base + by * torch.eye(d).to(base) for by in CHANGES]
    z, u = torch.cat([base[None], *changes, lost]).expand(len(s), -1, -1).split([nz, d - nz], 2)
    try:
        F, _, g = stages(z, u, s)
    # The user's functions may refuse numbers like these; then they are taken to read everything.
    except Exception:
        everything = torch.ones(nx + rows, d + 1, dtype=torch.bool, device=base.device)
        return Reads(*everything.split([nx, rows]))
    return Reads(*(differs(value, d) for value in (F, g)))


def probes(d: int) -> int:
    """The number of points that `of_stage` evaluates at each time, for `d` variables."""
    return 1 + (1 + len(CHANGES)) * d


def differs(values: Tensor, entries: int) -> Tensor:
    """Which components differ from those at the first point, by the entry that was changed.

    The last entry stands for the time: whether values differ from those at the first time.
    """
    changed = (values[:, 1:] != values[:, :1]).unflatten(1, (-1, entries)).any(1).any(0)
    by_time = (values[1:, 0] != values[:1, 0]).any(0)
    return torch.cat([changed, by_time[None]]).mT


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

    The last step's control has satisfied the other rows already.
    """
    by = torch.cat([reads.g[:, :nz], reads.g[:, -1:]], 1).any(1)
    return by.nonzero()[:, 0].tolist()
