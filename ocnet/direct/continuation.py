"""From one solution to the next: on finer grids, and along values of a parameter."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._arguments import check_count, check_kind
from ..checks import moving_the_start, refuse
from .answer.solution import Solution
from .solving import solve


def refine(solution: Solution, times: int = 1) -> Solution:
    """The solution on a grid twice as fine, `times` over, each from the one before.

    Arguments:
        solution: What `solve` returned.
        times: How often the number of steps doubles.
    """
    check_kind("solution", solution, Solution)
    check_count("times", times, least=0)
    for _ in range(times):
        finer = solution.solver.with_steps(2 * solution.solver.n)
        solution = solve(solution.batch, solver=finer, start=solution)
    return solution


def continue_in(
    solution: Solution, parameter: str, values: Iterable[Tensor | float]
) -> list[Solution]:
    """The solutions for a sequence of values of a problem's parameter or buffer.

    Each starts from the one before: where a problem is hard, the way to it may be easy.

    Arguments:
        solution: Where to start.
        parameter: The name of the parameter or buffer.
        values: Its values, one after the other.

    Raises:
        ProblemError: If the parameter moves the initial state, which stays as it is here.
    """
    check_kind("solution", solution, Solution)
    check_kind("parameter", parameter, str)
    batch = solution.batch
    refuse(moving_the_start(batch.problem, [parameter]))
    found: list[Solution] = []
    for value in values:
        now = torch.as_tensor(value).to(solution.cost)
        parameters = {**batch.parameters, parameter: now}
        found.append(
            solve(
                batch._replace(parameters=parameters),
                solver=solution.solver,
                start=found[-1] if found else solution,
            )
        )
    return found
