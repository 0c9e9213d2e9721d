"""One problem solved by both, and whether each solved it."""

from collections.abc import Callable
from statistics import median

import numpy as np

from ocnet import Problem

from .formulas import Formulas
from .ipopt import Found, Ipopt
from .judge import Answer, guess, judge, Verdict
from .ours import solved, stated
from .result import Part, Row


CLOSE, FEASIBLE = 1e-6, 1e-8
"""How close, relatively, a cost must be to the least, and how large a violation may be."""

RELAXED = 1e-7
"""The violation that IPOPT may have: it relaxes bounds by 1e-8 of their size."""

SLOW = 5.0
"""A call that takes longer, in seconds, is not repeated."""


def row_of(formulas: Formulas, rounds: int) -> Row:
    """Solves a problem by both, several times in turns, and judges."""
    problem, ipopt = stated(formulas), Ipopt(formulas)
    found = ipopt()
    verdict = judge(formulas, found.answer)
    reference = least(formulas, ipopt, found, verdict)
    good, minimum = told(formulas, ipopt, found.answer, verdict, reference)
    theirs = Part(
        found.status, found.status, good and found.success and verdict.violation < RELAXED,
        minimum, found.iterations, *verdict, first=ipopt.seconds + found.seconds,
        second=found.seconds,
    )  # fmt: skip
    ours = ours_of(problem, formulas, ipopt, reference)
    again = ours.first < SLOW * 20 and ours.status != "error"
    own = lambda: solved(problem, formulas).seconds
    times = in_turns(own if again else None, lambda: ipopt().seconds, theirs.second, rounds)
    if times:
        ours.second, theirs.second = (median(column) for column in zip(*times, strict=True))
    ratio = median(a / b for a, b in times) if times else float("nan")
    return Row(formulas.name, reference, ours, theirs, ratio)


def in_turns(
    own: Callable[[], float] | None, other: Callable[[], float], known: float, rounds: int
) -> list[tuple[float, float]]:
    """The times of two calls, round by round, the order reversed every other round.

    Arguments:
        own: The first call; None if it cannot be repeated.
        other: The second one.
        known: The time that the second one took; it is not repeated if that is long.
        rounds: How many rounds.
    """
    times: list[tuple[float, float]] = []
    if own is None:
        return []
    for k in range(rounds):
        if known > SLOW:
            times.append((own(), known))
        elif k % 2:
            times.append((own(), other()))
        else:
            b = other()
            times.append((own(), b))
        if max(times[-1]) > SLOW:
            break
    return times


def ours_of(problem: Problem, formulas: Formulas, ipopt: Ipopt, reference: float) -> Part:
    """The first answer of `solve`, judged.

    Arguments:
        problem: The problem, as ocnet takes it.
        formulas: The same for the judge.
        ipopt: IPOPT for it, which confirms local minima.
        reference: The least cost.
    """
    try:
        found = solved(problem, formulas)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        return Part("error", f"{type(error).__name__}: {error}")
    verdict = judge(formulas, found.answer)
    good, minimum = told(formulas, ipopt, found.answer, verdict, reference)
    status = found.solution.status
    good &= status == "converged" and verdict.violation < FEASIBLE
    iterations = int(found.solution.iterations)
    return Part(
        status, found.solution.reason, good, minimum, iterations, *verdict, first=found.seconds
    )


def least(formulas: Formulas, ipopt: Ipopt, found: Found, verdict: Verdict) -> float:
    """IPOPT's best cost: from the guess, or from a better start where there is one."""
    costs = [verdict.cost] if found.success and verdict.violation < RELAXED else []
    controls = [formulas.better(k / formulas.n) for k in range(formulas.n)]
    given = [u for u in controls if u is not None]
    if given:
        again = ipopt(guess(formulas)._replace(u=np.array(given).T))
        costs += [judge(formulas, again.answer).cost] if again.success else []
    known = formulas.known[0]
    near = [c for c in costs if c < known + formulas.digits * abs(known)]
    return min(near, default=known)


def told(
    formulas: Formulas, ipopt: Ipopt, answer: Answer, verdict: Verdict, reference: float
) -> tuple[bool, str]:
    """Whether an answer is as good as the least, and which minimum it is.

    Where a problem has several local minima, an answer counts that is no worse than IPOPT's from
    the same guess, or at which IPOPT stays if it starts there.

    Arguments:
        formulas: The problem.
        ipopt: IPOPT for it.
        answer: The answer.
        verdict: What it is worth.
        reference: The least cost.
    """
    if not verdict.violation < RELAXED:
        return False, "infeasible point"
    cost = verdict.cost
    if cost <= reference + CLOSE * abs(reference):
        better = cost < reference - CLOSE * abs(reference)
        return True, "better" if better else "the least"
    if formulas.several:
        cold, stays = ipopt(), ipopt(answer)
        no_worse = cost <= (own := judge(formulas, cold.answer).cost) + CLOSE * abs(own)
        same = abs(judge(formulas, stays.answer).cost - cost) <= CLOSE * abs(cost)
        if (cold.success and no_worse) or (stays.success and same):
            near = any(abs(cost - v) <= formulas.digits * abs(v) for v in formulas.known)
            return True, f"local minimum {cost:.7g}, {'listed' if near else 'not listed'}"
    return False, f"feasible, {(cost - reference) / abs(reference):.1e} above the least"
