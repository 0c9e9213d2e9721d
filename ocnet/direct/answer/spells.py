"""When the constraints of a solution are active, in words."""

from collections.abc import Sequence

from torch import Tensor


ACTIVE = 1e-4
"""A row is active where its multiplier is more than this share of the largest of its constraint."""

MOST = 3
"""The most spells that are listed one by one."""


def active(name: str, multipliers: Tensor, times: Sequence[float], least: float) -> list[str]:
    """A line for each row of a constraint along the path that is active somewhere.

    Arguments:
        name: What the constraint is called.
        multipliers: Those of its rows, shape `(steps, rows)`.
        times: The ends of the steps, one more than there are steps.
        least: The least multiplier that counts.
    """
    most = float(multipliers.max()) if multipliers.numel() else 0.0
    if not most > least:
        return []
    on = multipliers > max(least, ACTIVE * most)
    return [
        f"{name.replace('[]', f'[{row}]')}: {spells(on[:, row].tolist(), times)}"
        for row in range(on.shape[1])
        if bool(on[:, row].any())
    ]


def spells(on: Sequence[bool], times: Sequence[float]) -> str:
    """The spells of time in which something holds, in words.

    Arguments:
        on: Whether it holds in each step.
        times: The ends of the steps, one more than there are steps.
    """
    if all(on):
        return "always"
    edges = [k for k in range(len(on) + 1) if (on[k - 1] if k else False) != (
        on[k] if k < len(on) else False
    )]  # fmt: skip
    pairs = list(zip(edges[::2], edges[1::2], strict=True))
    if len(pairs) > MOST:
        return (
            f"in {sum(on)} of {len(on)} steps between t={times[pairs[0][0]]:.4g} and "
            f"{times[pairs[-1][1]]:.4g}"
        )
    return ", ".join(f"t={times[a]:.4g} to {times[b]:.4g}" for a, b in pairs)
