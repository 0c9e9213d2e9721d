"""The same transcription in CasADi, solved by IPOPT."""

import time
from typing import Any, NamedTuple

import casadi
import numpy as np

from .formulas import Formulas, rk4
from .judge import Answer, guess, LAST_NODE


QUIET = {"ipopt.print_level": 0, "print_time": False, "ipopt.sb": "yes", "error_on_fail": False}
MOST = {"ipopt.max_iter": 1000, "ipopt.max_cpu_time": 60.0}


class Found(NamedTuple):
    """What one call of IPOPT gives.

    Attributes:
        answer: Its variables.
        status: Its own word for how it ended.
        success: Whether that word means that it converged.
        iterations: How many it took.
        seconds: The time of the call.
    """

    answer: Answer
    status: str
    success: bool
    iterations: int
    seconds: float


class Ipopt:
    """IPOPT for one problem, built once: multiple shooting, RK4, the control constant over a step.

    States that are given at the start are numbers, bounds of states and controls are bounds of
    variables, and rows without a variable are left out: the form that suits IPOPT best.
    """

    def __init__(self, problem: Formulas):
        self.problem, n, nx = problem, problem.n, len(problem.x0)
        started = time.perf_counter()
        first = [casadi.SX.sym(f"x0_{i}") for i in problem.free]
        later = casadi.SX.sym("x", nx, n)  # pyright: ignore
        u = casadi.SX.sym("u", len(problem.u_bounds), n)  # pyright: ignore
        p = [casadi.SX.sym(name) for name in problem.constants]
        T = casadi.SX.sym("T") if problem.T_bounds else problem.T
        x0 = [casadi.SX(v) for v in problem.x0]
        for i, symbol in zip(problem.free, first, strict=True):
            x0[i] = symbol
        x = [x0, *([later[i, k] for i in range(nx)] for k in range(n))]
        cost, defects, rows = 0, [], []
        for k in range(n):
            v = [u[i, k] for i in range(len(problem.u_bounds))]
            t, h = k * T / n, T / n
            after, running = rk4(problem, casadi, t, h, x[k], v, p)
            cost += running
            defects += [a - b for a, b in zip(after, x[k + 1], strict=True)]
            rows += problem.rows(casadi, t, x[k], v, p)
        if LAST_NODE:
            rows += problem.rows(casadi, T, x[n], v, p)
        cost += problem.final(casadi, x[n], p)
        equal = casadi.vertcat(*defects, *problem.end(casadi, x[n], p))
        rows = [row for row in rows if casadi.symvar(casadi.SX(row))]
        free_T = [T] if problem.T_bounds else []
        w = casadi.vertcat(*first, casadi.vec(later), casadi.vec(u), *p, *free_T)
        program = {"x": w, "f": cost, "g": casadi.vertcat(equal, *rows)}
        self.solver = casadi.nlpsol("solver", "ipopt", program, {**QUIET, **MOST})
        self.low_g = [0.0] * equal.numel() + [-np.inf] * len(rows)
        self.low, self.high = self.bounds()
        self.seconds = time.perf_counter() - started

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of the variables."""
        problem, n = self.problem, self.problem.n
        found = []
        for side in (0, 1):
            none = -np.inf if side == 0 else np.inf
            narrow = max if side == 0 else min
            boxes = {i: problem.boxes.get(i, (-np.inf, np.inf))[side] for i in problem.free}
            first = [narrow(problem.free[i][side], boxes[i]) for i in problem.free]
            box = [
                problem.boxes[i][side] if i in problem.boxes else none
                for i in range(len(problem.x0))
            ]
            last = box if LAST_NODE else [none] * len(box)
            u = [pair[side] for pair in problem.u_bounds]
            p = [triple[1 + side] for triple in problem.constants.values()]
            T = [problem.T_bounds[side]] if problem.T_bounds else []
            found.append(np.array([*first, *(box * (n - 1)), *last, *(u * n), *p, *T]))
        return found[0], found[1]

    def packed(self, answer: Answer) -> np.ndarray:
        """An answer as one vector of variables."""
        T = [answer.T] if self.problem.T_bounds else []
        first = [answer.x[i, 0] for i in self.problem.free]
        later, u = answer.x[:, 1:].T.ravel(), answer.u.T.ravel()
        return np.concatenate([first, later, u, answer.p, T])

    def unpacked(self, w: np.ndarray) -> Answer:
        """The vector of variables as an answer."""
        problem, n, nx = self.problem, self.problem.n, len(self.problem.x0)
        sizes = [len(problem.free), nx * n, len(problem.u_bounds) * n, len(problem.constants)]
        first, later, u, p, T = np.split(w, np.cumsum(sizes))
        x0 = np.array(problem.x0)
        x0[list(problem.free)] = first
        return Answer(
            np.column_stack([x0, later.reshape(n, nx).T]),
            u.reshape(n, -1).T,
            p,
            float(T[0]) if problem.T_bounds else problem.T,
        )

    def __call__(self, start: Answer | None = None) -> Found:
        """Solves from a start, or from the problem's guess."""
        w = self.packed(guess(self.problem) if start is None else start)
        begun = time.perf_counter()
        found: Any = self.solver(x0=w, lbx=self.low, ubx=self.high, lbg=self.low_g, ubg=0.0)
        seconds = time.perf_counter() - begun
        stats = self.solver.stats()
        answer = self.unpacked(np.array(found["x"]).ravel())
        return Found(answer, stats["return_status"], stats["success"], stats["iter_count"], seconds)
