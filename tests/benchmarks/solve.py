"""`solve` against CasADi with IPOPT, side by side: single problems, a batch, first answers.

    python -m tests.benchmarks.solve [--batch 4096] [--threads 2] [--rounds 9]

Both solve the same problem, forward Euler with 100 steps, in one process and in turns; every ratio
is the median over rounds, with the least and the largest in brackets. Then what an iteration costs
with 100 to 10,000 steps, in machine code, by the sequential sweep of torch and by its scan.
CasADi (`pip install casadi`) is for this comparison only.
"""

import argparse
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import casadi
import torch

from ocnet import Euler, Problem
from ocnet.direct import InteriorPoint, solve
from problems.constrained import BoundedVanDerPol
from problems.free_time import Brachistochrone, OrbitRaising


N = 100
QUIET = {"ipopt.print_level": 0, "print_time": False, "ipopt.sb": "yes"}

Dynamics = Callable[[float, casadi.MX, casadi.MX], casadi.MX]


def transcribed(
    nx: int, dynamics: Dynamics, stage: Callable | None, final: Callable, t1: float, free: bool
) -> tuple[dict, Callable]:
    """A multiple shooting problem with Euler steps, as arrays of variables and constraints."""
    x, u, T = casadi.SX.sym("x", nx, N + 1), casadi.SX.sym("u", 1, N), casadi.SX.sym("T")  # pyright: ignore
    h = (T if free else t1) / N
    cost, rows = 0, []
    for k in range(N):
        cost += 0 if stage is None else h * stage(x[:, k], u[:, k])
        rows.append(x[:, k] + h * dynamics(k * h, x[:, k], u[:, k]) - x[:, k + 1])
    phi, psi = final(x[:, N], T)
    w = casadi.vertcat(casadi.vec(x), casadi.vec(u), T)
    return {"x": w, "f": cost + phi, "g": casadi.vertcat(*rows, psi)}, lambda x0: x0


def van_der_pol() -> tuple[dict, list[float], list[float]]:
    """The bounded oscillator: program, lower and upper bounds of the controls."""
    program, _ = transcribed(
        2,
        lambda t, x, u: casadi.vertcat((1 - x[1] ** 2) * x[0] - x[1] + u, x[0]),
        lambda x, u: casadi.sumsqr(x) + u**2,
        lambda x, T: (0, casadi.SX(0, 1)),
        5.0,
        False,
    )
    return program, [-0.3], [1.0]


def brachistochrone() -> tuple[dict, list[float], list[float]]:
    """The curve of quickest descent."""
    program, _ = transcribed(
        3,
        lambda t, x, u: casadi.vertcat(
            x[2] * casadi.sin(u), -x[2] * casadi.cos(u), 9.80665 * casadi.cos(u)
        ),
        None,
        lambda x, T: (T, x[:2] - casadi.DM([10, 5])),
        1.0,
        True,
    )
    return program, [-math.inf], [math.inf]


def orbit_raising() -> tuple[dict, list[float], list[float]]:
    """The transfer between circular orbits."""

    def dynamics(t: float, x: casadi.MX, u: casadi.MX) -> casadi.MX:
        r, w, v = x[0], x[1], x[2]
        a = 0.1405 / (1 - 0.0749 * t)
        return casadi.vertcat(
            w, v**2 / r - 1 / r**2 + a * casadi.sin(u), -w * v / r + a * casadi.cos(u)
        )

    program, _ = transcribed(
        3, dynamics, None, lambda x, T: (-x[0], casadi.vertcat(x[1], x[2] - x[0] ** -0.5)), 3.32,
        False,
    )  # fmt: skip
    return program, [-math.inf], [math.inf]


PROBLEMS: dict[str, tuple[Callable, type[Problem]]] = {
    "van_der_pol": (van_der_pol, BoundedVanDerPol),
    "brachistochrone": (brachistochrone, Brachistochrone),
    "orbit_raising": (orbit_raising, OrbitRaising),
}


class Reference:
    """CasADi's solver of one problem, built once; a call solves from a cold start."""

    def __init__(self, name: str):
        build, problem = PROBLEMS[name]
        program, low, high = build()
        self.problem = problem()
        self.solver = casadi.nlpsol("solver", "ipopt", program, QUIET)
        nx = self.problem.state_shape[0]
        self.free = [-math.inf] * (nx * N)
        self.u, self.T = (low * N, high * N), self.problem.final_time_bounds or (0, 20)
        self.start = self.problem.t1

    def __call__(self, x0: list[float]) -> float:
        """The optimal cost from `x0`: states held, controls zero, the horizon as guessed."""
        lower = [*x0, *self.free, *self.u[0], self.T[0]]
        upper = [*x0, *(-v for v in self.free), *self.u[1], self.T[1]]
        guess = [*(x0 * (N + 1)), *([0.0] * N), self.start]
        found = self.solver(x0=guess, lbx=lower, ubx=upper, lbg=0, ubg=0)
        self.iterations = self.solver.stats()["iter_count"]
        return float(found["f"])


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class Comparison(NamedTuple):
    """The times of several things, one row for each round."""

    times: list[list[float]]

    @classmethod
    def of(cls, runs: list[Callable[[], object]], rounds: int) -> "Comparison":
        """Runs all once unmeasured, then in turns, the order reversed every other round."""
        for run in runs:
            run()
        times = []
        for k in range(rounds):
            order = range(len(runs)) if k % 2 else reversed(range(len(runs)))
            found = {i: seconds(runs[i]) for i in order}
            times.append([found[i] for i in range(len(runs))])
        return cls(times)

    def median(self, i: int) -> float:
        """The median time of one thing."""
        return median(row[i] for row in self.times)

    def ratio(self, i: int, j: int, factor: float = 1.0) -> str:
        """`factor` times the time of one over that of another: median, least and largest."""
        ratios = [factor * row[i] / row[j] for row in self.times]
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def one_problem(name: str, rounds: int) -> None:
    """Prints the time of one solve from a cold start, solvers built, for both."""
    reference = Reference(name)
    problem = reference.problem
    x0 = problem.sample(1).x0[0]
    start = time.perf_counter()
    ours = solve(problem.batch(x0), solver=Euler(N))
    first = time.perf_counter() - start
    theirs = reference(x0.tolist())
    found = Comparison.of(
        [
            lambda: reference(x0.tolist()),
            lambda: solve(problem.batch(x0), solver=Euler(N)),
            lambda: solve(problem.batch(x0), solver=Euler(N), start=ours),
            lambda: solve(problem.batch(x0), solver=Euler(N), compile=False),
        ],
        rounds,
    )
    print(
        f"{name}: casadi {1e3 * found.median(0):.1f} ms in {reference.iterations} iterations, "
        f"ocnet {1e3 * found.median(1):.1f} ms in {int(ours.iterations)}: {found.ratio(1, 0)} "
        f"times; from a solution {found.ratio(2, 0)}; by torch {found.ratio(3, 0)}; first call "
        f"{first:.2f} s; costs {theirs:.8f} {float(ours.cost):.8f}",
        flush=True,
    )


def many_problems(size: int, rounds: int) -> None:
    """Prints the throughput of a batch in one call against one problem after another."""
    generator = torch.Generator().manual_seed(0)
    x0 = 2 * torch.rand(size, 2, generator=generator) - 1
    reference, few = Reference("van_der_pol"), min(256, size)
    some = x0[:few].tolist()
    solution = solve(BoundedVanDerPol().batch(x0), solver=Euler(N))
    costs = torch.tensor([reference(x) for x in some])
    found = Comparison.of(
        [
            lambda: [reference(x) for x in some],
            lambda: solve(BoundedVanDerPol().batch(x0), solver=Euler(N)),
        ],
        rounds,
    )
    print(
        f"{size} van_der_pol: ocnet {found.median(1):.2f} s, casadi one after another "
        f"{found.median(0) * size / few:.1f} s: {found.ratio(0, 1, size / few)} times its "
        f"throughput; {solution.status}, {float(solution.iterations.double().mean()):.1f} "
        f"iterations; costs differ by {float((solution.cost[:few] - costs).abs().max()):.1e}",
        flush=True,
    )


FIRST = {
    "torch": "import torch",
    "ocnet": "import torch; torch.set_default_dtype(torch.float64); import ocnet; "
    "from problems.constrained import BoundedVanDerPol as P; "
    "print(float(ocnet.solve(P(), solver=ocnet.Euler(100)).cost))",
    "casadi": "import casadi as c; o = c.Opti(); x = o.variable(2, 101); u = o.variable(1, 100); "
    "h = 0.05\nf = lambda x, u: c.vertcat((1 - x[1]**2) * x[0] - x[1] + u, x[0])\n"
    "for k in range(100): o.subject_to(x[:, k + 1] == x[:, k] + h * f(x[:, k], u[:, k]))\n"
    "o.subject_to(x[:, 0] == c.DM([0, 1])); o.subject_to(o.bounded(-.3, c.vec(u), 1))\n"
    "o.minimize(h * (c.sumsqr(x[:, :100]) + c.sumsqr(u))); o.set_initial(x, c.repmat("
    "c.DM([0, 1]), 1, 101)); o.solver('ipopt', {'print_time': False}, {'print_level': 0}); "
    "print(o.solve().value(o.f))",
}


def first_answer(rounds: int) -> None:
    """Prints the time from a cold process to the first answer."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as empty:

        def process(name: str, cache: str) -> None:
            environment = {**os.environ, "OCNET_CACHE": cache}
            run = [sys.executable, "-c", FIRST[name]]
            subprocess.run(run, check=True, capture_output=True, env=environment)

        def anew() -> None:
            shutil.rmtree(empty)
            process("ocnet", empty)

        found = Comparison.of(
            [
                lambda: process("casadi", kept), lambda: process("ocnet", kept), anew,
                lambda: process("torch", kept),
            ],
            rounds,
        )  # fmt: skip
        Path(empty).mkdir(exist_ok=True)
    print(
        f"first answer of a cold process: casadi {found.median(0):.2f} s, ocnet "
        f"{found.median(1):.2f} s: {found.ratio(1, 0)} times; never compiled before "
        f"{found.ratio(2, 0)}; `import torch` alone {found.ratio(3, 0)}",
        flush=True,
    )


def iteration_times() -> None:
    """Prints what an iteration costs with more and more steps."""
    ways = {
        "compiled": {"compile": True},
        "sequential": {"method": InteriorPoint(sweep="sequential"), "compile": False},
        "scan": {"method": InteriorPoint(sweep="scan"), "compile": False},
    }
    before = dict.fromkeys(ways, math.nan)
    for n in (100, 1000, 10_000):
        parts = []
        for name, options in ways.items():
            run = lambda n=n, options=options: solve(BoundedVanDerPol(), solver=Euler(n), **options)
            count = int(run().iterations)
            cost = seconds(run) / count
            growth = "" if math.isnan(before[name]) else f" ({cost / before[name]:.1f} times)"
            parts.append(f"{name} {1e3 * cost:.2f} ms{growth}")
            before[name] = cost
        print(f"an iteration with {n} steps: {', '.join(parts)}", flush=True)


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch "
          f"{torch.__version__}, casadi {casadi.__version__}")  # fmt: skip
    for name in PROBLEMS:
        one_problem(name, options.rounds)
    many_problems(options.batch, min(3, options.rounds))
    iteration_times()
    first_answer(min(2, options.rounds))


if __name__ == "__main__":
    main()
