"""One problem, four methods: what second order and successive approximations have to offer.

    python -m examples.solve_methods

Solves the oscillator with quadratic cost, and the brachistochrone, whose final time is free: the
method of successive approximations cannot handle that. The times depend on the machine:

    OscillatorLQR, Euler(100)
    method                   status       iterations    cost above the least    seconds
    InteriorPoint            converged             1                   0e+00        0.0
    LBFGS                    converged             3                   2e-16        1.5
    Adam                     exhausted          4724                   2e-12        7.0
    SuccessiveApproximation  converged            26                   1e-15        0.1
    At 100 steps the optimum found is 11% off that of continuous time: Euler misleads.

    Brachistochrone, RK4(20)
    method         status       iterations    cost above the least    seconds
    InteriorPoint  converged             9                   0e+00        0.0
    LBFGS          converged            11                  -6e-10        0.2
    At 20 steps the optimum found is 0.032% off that of continuous time; Euler's is 0.9% off: \
Euler does not mislead.
"""

import time

import torch
from tabulate import tabulate

from ocnet import certify, Euler, RK4, solve
from ocnet.direct import Adam, InteriorPoint, LBFGS, Method, SuccessiveApproximation
from ocnet.problem import Problem
from ocnet.solver import ExplicitRungeKutta
from problems.free_time import Brachistochrone
from problems.linear_quadratic import OscillatorLQR


def show(problem: Problem, solver: ExplicitRungeKutta, methods: list[Method]) -> None:
    """Prints what each method makes of a problem; the first is taken for the optimum."""
    print(f"{type(problem).__name__}, {solver}")
    rows, best = [], solve(problem, solver=solver)
    for method in methods:
        start = time.perf_counter()
        solution = solve(problem, method=method, solver=solver)
        seconds = time.perf_counter() - start
        above = float(solution.cost / best.cost - 1)
        row = (type(method).__name__, solution.status, int(solution.iterations))
        rows.append((*row, f"{above:.0e}", f"{seconds:.1f}"))
    headers = ("method", "status", "iterations", "cost above the least", "seconds")
    sides = ("left", "left", "right", "right", "right")
    print(tabulate(rows, headers, tablefmt="plain", colalign=sides, disable_numparse=True))
    print(certify(best).verdict, end="\n\n")


def main() -> None:
    """Compares the methods on a problem with fixed time and on one with a free final time."""
    torch.set_default_dtype(torch.float64)
    show(OscillatorLQR(), Euler(100), [InteriorPoint(), LBFGS(), Adam(), SuccessiveApproximation()])
    show(Brachistochrone(), RK4(20), [InteriorPoint(), LBFGS()])


if __name__ == "__main__":
    main()
