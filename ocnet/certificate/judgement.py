"""From gaps to a verdict in a word, and to an order where there is one."""

import math

from .measured import Gap
from .terms import CLOSE, Order, told


def judged(gap: Gap, finer: Gap, doubt: Gap, n: int) -> tuple[str, str]:
    """The verdict in a word, and the reason where nothing definite can be said.

    The truth lies between the gap less the references' disagreement and the gap plus it.
    """
    if (gap.either - doubt.either.nan_to_num(posinf=1e300)).max() > CLOSE:
        return "does not", ""
    if not is_close(gap, doubt):
        return "could not be estimated", (
            f"the two references disagree by {told(doubt.worst)}: something may be narrower "
            "than their steps (name its times in Problem.jumps), or too stiff for them"
        )
    if finer.worst > max(CLOSE, 2 * gap.worst):
        return "not asymptotic yet", (
            f"{n} steps are off by {told(gap.worst)} but {2 * n} by {told(finer.worst)}, so "
            "they agree by chance"
        )
    return "behaves", ""


def is_close(gap: Gap, doubt: Gap) -> bool:
    """Whether every sample is close to the truth, wherever that is between the references."""
    return bool((gap.either + doubt.either).max() <= CLOSE)


def order_of(gap: float, finer: float, doubt: float, nominal: int) -> Order:
    """The observed order, where the gap is well above the references' own errors."""
    resolved = max(20 * doubt, 1e-8)
    if not (math.isfinite(gap) and math.isfinite(finer)):
        return Order(None, nominal, "could not be estimated: the states overflow")
    if finer <= resolved:
        return Order(
            None, nominal, "could not be estimated: the gap is as small as the references'"
        )
    value = math.log2(gap / finer) if gap > 0 else -math.inf
    if not 0.6 * nominal <= value <= nominal + 0.6:
        return Order(None, nominal, f"not asymptotic yet: {told(gap)}, then {told(finer)} at 2n")
    return Order(value, nominal, "")
