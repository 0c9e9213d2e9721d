"""The depth that a certificate advises: found by running networks, not by extrapolation."""

import math

from ..solver import Solver
from .judgement import is_close, judged
from .measured import Gap, Measured
from .terms import Advice, CLOSE


MOST_DEPTHS = 9
"""How many depths are run to find one that is deep enough, including those already known."""

DEEPEST = 64
"""The deepest network that is tried, as a multiple of the one in question."""

DEEP = 4000
"""Networks with up to this many steps may be tried in any case."""


def advised(measured: Measured, solver: Solver, tried: dict[int, Gap], doubt: Gap) -> Advice:
    """The least depth found that gets the verdict "behaves".

    The next depth follows from those tried by interpolation of `log gap` over `log n`, until a
    depth that is close is within 10% of one that is not. Steps end at the control's knots: the
    depth is a multiple of the number of the control's intervals, or less than that number.

    Arguments:
        measured: The problem and its references.
        solver: The network.
        tried: The gaps at depths that were run.
        doubt: How far the references are apart.
    """
    gaps, by_chance = dict(tried), set[int]()
    limit = max(DEEPEST * solver.n, DEEP)

    def run(n: int) -> Gap:
        if n not in gaps:
            gaps[n] = measured.gap(measured.path(solver.with_steps(n)))
        return gaps[n]

    close = lambda n: is_close(gaps[n], doubt) and n not in by_chance
    while True:
        enough = min((n for n in gaps if close(n) and fits(n, measured)), default=None)
        short = max(n for n in gaps if not close(n) and (enough is None or n < enough))
        n = next_depth(gaps, short, enough, solver.order, limit)
        n = on_knots(n, short, enough, measured)
        if n is not None and n not in gaps and len(gaps) < MOST_DEPTHS:
            run(n)
        elif enough is None:
            n = max(gaps)
            return Advice(n, gaps[n].worst, False, measured.missed_knots(n))
        elif judged(gaps[enough], run(2 * enough), doubt, enough)[0] == "behaves":
            return Advice(enough, gaps[enough].worst, True, measured.missed_knots(enough))
        else:
            by_chance.add(enough)


def next_depth(
    gaps: dict[int, Gap], short: int, enough: int | None, order: int, limit: int
) -> int | None:
    """The depth at which the gap should be just small enough; None if that is known within 10%.

    Arguments:
        gaps: What was found at each depth.
        short: The deepest network that is not close.
        enough: The least depth that is close, or None.
        order: The order of the method.
        limit: The deepest network that is tried.
    """
    gap, aim = gaps[short].worst, 0.97 * CLOSE
    if enough is None:
        factor = (gap / aim) ** (1 / order) if math.isfinite(gap) else 8.0
        return min(math.ceil(short * min(max(factor, 1.2), 8.0)), limit)
    if enough <= 1.1 * short:
        return None
    share, other = 0.5, gaps[enough].worst
    if math.isfinite(gap) and 0 < other < aim:
        share = math.log(gap / aim) / math.log(gap / other)
    share = min(max(share, 0.1), 0.95)
    return min(math.ceil(short * (enough / short) ** share), enough - 1)


def fits(n: int, measured: Measured) -> bool:
    """Whether `n` steps end at the control's knots, as far as that is possible."""
    k = measured.control.n_intervals
    return n < k or n % k == 0 or measured.missed_knots(k) > 0


def on_knots(n: int | None, short: int, enough: int | None, measured: Measured) -> int | None:
    """A depth near `n` that fits, deeper than `short` and less deep than `enough`, or None.

    Arguments:
        n: The depth that is wanted, or None.
        short, enough: Depths that are not close, and close; `enough` may be None.
        measured: The problem with its control.
    """
    if n is None or fits(n, measured):
        return n
    k = measured.control.n_intervals
    for rounded in (k * math.ceil(n / k), k * (n // k)):
        if short < rounded and (enough is None or rounded < enough):
            return rounded
    return None
