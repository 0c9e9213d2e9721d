"""What an answer costs and violates, by plain numpy: neither ocnet nor CasADi has a say."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .formulas import Bounds, Formulas, rk4


LAST_NODE = True
"""Whether bounds of states and path rows hold at the final time too, as `solve` imposes them."""


class Answer(NamedTuple):
    """The variables of a discretised problem.

    Attributes:
        x: The states, shape `(states, n + 1)`.
        u: The controls, shape `(controls, n)`.
        p: The free constants.
        T: The final time.
    """

    x: np.ndarray
    u: np.ndarray
    p: np.ndarray
    T: float


class Verdict(NamedTuple):
    """What an answer is worth.

    Attributes:
        cost: Its cost.
        violation: The largest violation of any step, bound, row or end condition.
        where: Which one that is.
        drift: How far the states are from one roll-out of the controls.
    """

    cost: float
    violation: float
    where: str
    drift: float


def guess(problem: Formulas) -> Answer:
    """The start: the guesses, else where the guessed controls lead, else the state held."""
    n = problem.n
    u = np.array([problem.start(k / n) for k in range(n)]).T
    for row, (low, high) in zip(u, problem.u_bounds, strict=True):
        np.clip(row, low, high, out=row)
    p = np.array([triple[0] for triple in problem.constants.values()])
    path = [problem.path(k / n) for k in range(n + 1)]
    given = [x for x in path if x is not None]
    x = np.array(given).T if given else rollout(problem, np.array(problem.x0), u, p, problem.T)
    if not (np.abs(x) < 1e6).all():
        x = np.repeat(np.array([problem.x0]).T, n + 1, 1)
    x[:, 0] = problem.x0
    return Answer(x, u, p, problem.T)


def rollout(
    problem: Formulas, x0: np.ndarray, u: np.ndarray, p: np.ndarray, T: float
) -> np.ndarray:
    """The states that the controls lead to, shape `(states, n + 1)`.

    Arguments:
        problem: The formulas.
        x0: The initial state.
        u: The controls, shape `(controls, n)`.
        p: The free constants.
        T: The final time.
    """
    h, path = T / problem.n, [list(x0)]
    with np.errstate(all="ignore"):
        for k in range(problem.n):
            path.append(rk4(problem, np, k * h, h, path[-1], list(u[:, k]), list(p))[0])
    return np.array(path, dtype=float).T


def judge(problem: Formulas, answer: Answer) -> Verdict:
    """The cost of an answer and its largest violation."""
    x, u, p, T = answer
    n, h = problem.n, answer.T / problem.n
    t, p = np.arange(n) * h, list(p)
    with np.errstate(all="ignore"):
        after, running = rk4(problem, np, t, h, list(x[:, :-1]), list(u), p)
        cost = float(np.sum(running * np.ones(n)) + problem.final(np, list(x[:, -1]), p))
        rows = problem.rows(np, t, list(x[:, :-1]), list(u), p)
        last = problem.rows(np, T, list(x[:, -1]), list(u[:, -1]), p) if LAST_NODE else ()
        drift = np.abs(rollout(problem, x[:, 0], u, np.array(p), T) - x).max()
    nodes = n + LAST_NODE
    fixed = [i for i in range(len(x)) if i not in problem.free]
    parts = {
        "dynamics": np.abs(np.array(after) - x[:, 1:]),
        "initial state": [abs(x[i, 0] - problem.x0[i]) for i in fixed],
        "end": [abs(v) for v in problem.end(np, list(x[:, -1]), p)],
        "rows": [*rows, *last],
        "free initial state": outside(x[list(problem.free), 0], problem.free.values()),
        "state bounds": outside(x[list(problem.boxes), :nodes], problem.boxes.values()),
        "control bounds": outside(u, problem.u_bounds),
        "constants": outside(p, [c[1:] for c in problem.constants.values()]),
        "final time": outside([T], [problem.T_bounds]) if problem.T_bounds else [],
    }
    most = {name: largest(rows) for name, rows in parts.items()}
    where = max(most, key=lambda name: most[name])
    finite = all(np.isfinite(np.asarray(v, dtype=float)).all() for v in (x, u, p, T, cost))
    return Verdict(cost, most[where] if finite else np.inf, where, float(drift))


def largest(rows: Sequence) -> float:
    """The largest positive entry; infinite if one is not a number."""
    values = [0.0, *(float(np.max(row)) for row in rows)]
    return np.inf if np.isnan(values).any() else max(values)


def outside(values: Iterable, bounds: Iterable[Bounds]) -> list:
    """By how much each value is below and above its bounds."""
    found = []
    for value, (low, high) in zip(values, bounds, strict=True):
        found += [low - value, value - high]
    return found
