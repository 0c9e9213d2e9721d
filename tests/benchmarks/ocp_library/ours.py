"""`ocnet.solve` on a problem of the benchmark, its answer as plain arrays."""

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ocnet import Problem, RK4
from ocnet.direct import Solution, solve

from .formulas import Formulas
from .judge import Answer
from .problems import PROBLEMS


class Solved(NamedTuple):
    """What one call of `solve` gives.

    Attributes:
        answer: Its variables.
        solution: What `solve` returned.
        seconds: The time of the call.
    """

    answer: Answer
    solution: Solution
    seconds: float


def stated(formulas: Formulas) -> Problem:
    """The same problem for ocnet."""
    return PROBLEMS[formulas.name]()


def solved(problem: Problem, formulas: Formulas) -> Solved:
    """Solves a problem from its guess with RK4."""
    begun = time.perf_counter()
    solution = solve(problem, solver=RK4(formulas.n))
    seconds = time.perf_counter() - begun
    return Solved(answer_of(solution, formulas), solution, seconds)


def answer_of(solution: Solution, formulas: Formulas) -> Answer:
    """States, controls, constants and final time of a solution; shifts are added to the states."""

    def array(value: Tensor) -> np.ndarray:
        return value.detach().to(torch.float64).numpy()

    n = formulas.n
    x, u = array(solution.x).reshape(n + 1, -1).T.copy(), array(solution.u).reshape(n, -1).T
    found = {name: float(array(value)) for name, value in solution.parameters.items()}
    for i in formulas.free:
        x[i] += found[f"shift{i}"]
    p = np.array([found[name] for name in formulas.constants])
    return Answer(x, u, p, float(solution.final_time))
