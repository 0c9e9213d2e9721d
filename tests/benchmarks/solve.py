"""`solve` against CasADi with IPOPT: time to a warm solve, to a first answer, and for a batch.

    python -m tests.benchmarks.solve [--batch 4096] [--threads 2] [--device cpu]

Both solve the same problem, forward Euler with 100 steps, in one process and in turns; the least
time of several runs counts. CasADi (`pip install casadi`) is for this comparison only.
"""

import argparse
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import casadi
import torch

from ocnet import Euler, Problem
from ocnet.solve import solve
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
        return float(found["f"])


def least_time(run: Callable[[], object], repeats: int) -> float:
    """The least of several times, in seconds; the first run is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def one_problem(name: str, repeats: int) -> None:
    """Prints the warm time of one solve, for both."""
    reference = Reference(name)
    problem = reference.problem
    x0 = problem.sample(1).x0[0]
    ours = solve(problem.batch(x0), solver=Euler(N))
    theirs = reference(x0.tolist())
    casadi_time = least_time(lambda: reference(x0.tolist()), repeats)
    cold = least_time(lambda: solve(problem.batch(x0), solver=Euler(N)), repeats)
    warm = least_time(lambda: solve(problem.batch(x0), solver=Euler(N), start=ours), repeats)
    print(
        f"{name:16} casadi {1e3 * casadi_time:6.1f} ms, ocnet {1e3 * cold:6.1f} ms "
        f"({cold / casadi_time:.1f} times), started warm {1e3 * warm:6.1f} ms, "
        f"{int(ours.iterations)} iterations, costs {theirs:.8f} {float(ours.cost):.8f}",
        flush=True,
    )


def many_problems(size: int, device: str) -> None:
    """Prints the throughput of a batch in one call against one problem after another."""
    generator = torch.Generator().manual_seed(0)
    x0 = 2 * torch.rand(size, 2, generator=generator) - 1
    reference = Reference("van_der_pol")
    few = x0[:64].tolist()
    reference(few[0])
    start = time.perf_counter()
    costs = [reference(x) for x in few]
    casadi_rate = len(few) / (time.perf_counter() - start)
    start = time.perf_counter()
    solution = solve(BoundedVanDerPol().batch(x0.to(device)), solver=Euler(N))
    seconds = time.perf_counter() - start
    difference = (solution.cost[:64].cpu() - torch.tensor(costs)).abs().max()
    print(
        f"{size} van_der_pol: {seconds:.2f} s, {size / seconds:.0f}/s, casadi {casadi_rate:.0f}/s: "
        f"{size / seconds / casadi_rate:.1f} times; {solution.status}; "
        f"costs differ by {float(difference):.1e}",
        flush=True,
    )


FIRST = {
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


def first_answer(repeats: int) -> None:
    """Prints the time from a cold process to the first answer."""
    times = {}
    for name, code in FIRST.items():
        run = [sys.executable, "-c", code]
        times[name] = least_time(
            lambda run=run: subprocess.run(run, check=True, capture_output=True), repeats
        )
    shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
    print(f"first answer of a cold process: {shown}: {times['ocnet'] / times['casadi']:.1f} times")


def iteration_time(n: int) -> float:
    """Milliseconds of an iteration with `n` steps."""
    problem = BoundedVanDerPol()
    start = time.perf_counter()
    solution = solve(problem, solver=Euler(n))
    return 1e3 * (time.perf_counter() - start) / int(solution.iterations)


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch "
          f"{torch.__version__}, casadi {casadi.__version__}")  # fmt: skip
    for name in PROBLEMS:
        one_problem(name, options.repeats)
    many_problems(options.batch, options.device)
    for n in (100, 1000, 10_000):
        print(f"{n} steps: {iteration_time(n):.1f} ms an iteration", flush=True)
    first_answer(3)


if __name__ == "__main__":
    main()
