"""Random problems through the compiled code under AddressSanitizer and UBSan:

    python -m tests.sanitize [--problems 30] [--seed 0]

The kernels are built with `-fsanitize=address,undefined` in a process of its own, into which
the compiler's run-time library is loaded first. Sizes, constraints, settings, threads and
starts are drawn at random, some instances hold values that are not finite, and each answer is
compared with that of torch. What a sanitizer finds, or a difference, ends the process.
"""

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ocnet import Euler, Heun, Problem, RK4, Sample
from ocnet.direct import InteriorPoint, LBFGS, solve, SuccessiveApproximation
from ocnet.direct.compiled import build


SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

FLAGS = ("-std=c11", "-O1", "-g", "-fno-omit-frame-pointer", "-fPIC", "-shared", *SANITIZERS)


class Drawn(Problem):
    """A stable system of random size with random constraints.

    Arguments:
        draw: What the sizes and matrices are drawn with.
    """

    A: Tensor
    B: Tensor
    C: Tensor
    E: Tensor
    G: Tensor

    def __init__(self, draw: random.Random):
        super().__init__()
        nx, nu = draw.randint(1, 6), draw.randint(1, 4)
        self.state_shape, self.control_shape = (nx,), (nu,)
        self.t1 = draw.choice([0.5, 1.0, 3.0])
        if draw.random() < 0.6:
            low = torch.full((nu,), -draw.choice([0.3, 2.0]))
            low[draw.randrange(nu)] = -math.inf
            self.control_bounds = (low, draw.choice([1.0, math.inf]))
        if draw.random() < 0.3:
            self.final_time_bounds = (0.5 * self.t1, 2 * self.t1)
        normal = lambda *shape: torch.tensor(
            [draw.gauss(0, 1) for _ in range(math.prod(shape))]
        ).reshape(shape)
        self.register_buffer("A", 0.3 * normal(nx, nx) - torch.eye(nx))
        self.register_buffer("B", normal(nx, nu))
        self.register_buffer("C", normal(draw.randint(0, 3), nx))
        self.register_buffer("E", normal(draw.randint(0, min(2, nu)), nx))
        self.register_buffer("G", normal(draw.randint(0, 2), nx))
        self.gain = torch.nn.Parameter(torch.tensor(1.0), requires_grad=False)
        if draw.random() < 0.3:
            self.static_parameters = {"gain": (0.5, 2.0)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x.tanh() @ self.A.mT + self.gain * u @ self.B.mT

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + 0.1 * (u**2).sum(-1) + 0.1 + (self.gain - 1) ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.C.mT - 4

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x @ self.E.mT

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x @ self.G.mT - 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.rand(batch_size, *self.state_shape, generator=generator))


def one(draw: random.Random) -> str:
    """Solves a problem with random settings in machine code; what it was and how it ended."""
    problem = Drawn(draw)
    size, n = draw.choice([1, 1, 2, 5, 9]), draw.choice([1, 2, 3, 7, 20, 50])
    generator = torch.Generator().manual_seed(draw.randrange(10**6))
    x0 = problem.sample(size, generator).x0
    if draw.random() < 0.3:
        x0[draw.randrange(size), 0] = draw.choice([math.nan, math.inf, 1e300])
    torch.set_num_threads(draw.choice([1, 2, 3]))
    tolerance = draw.choice([None, 1e-15, 1e-6, 0.1])
    method = InteriorPoint(draw.choice([None, tolerance]), draw.choice([1, 2, 5, 40, 1000]))
    solver = draw.choice([Euler, Heun, RK4])(n)
    found = solve(problem.batch(x0), method=method, solver=solver, compile=True)
    again = solve(
        found.batch, method=method, solver=type(solver)(draw.choice([1, n, 2 * n])), start=found
    )
    plain = solve(problem.batch(x0), method=method, solver=solver, compile=False)
    for i, (a, b) in enumerate(zip(found.statuses, plain.statuses, strict=True)):
        if a == b == "converged" and method.tolerance is None:
            torch.testing.assert_close(found.cost[i], plain.cost[i], rtol=1e-5, atol=1e-7)
    return f"{problem.state_shape} {n} steps, {method}: {found.status}; again {again.status}"


def first_order() -> None:
    """What other methods ask of the compiled code: rollout, adjoint and derivatives."""
    from problems.linear_quadratic import ScalarLQR

    for method in (LBFGS(max_iterations=5), SuccessiveApproximation(max_iterations=3)):
        solve(ScalarLQR(), method=method, solver=Euler(9), compile=True)


def supported() -> str:
    """Why this cannot be run here; empty if it can."""
    command = build.compiler()
    if command is None:
        return "there is no C compiler"
    missing = [name for name in preloaded(command) if not Path(name).is_file()]
    if missing:
        return f"{command} has no {missing[0]}"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "empty.c"
        source.write_text("int nothing(int a) { return a + 1; }\n")
        made = subprocess.run(
            [command, *FLAGS, str(source), "-o", f"{source}.so"], capture_output=True, text=True
        )
    return "" if made.returncode == 0 else f"{command} has no sanitizers: {made.stderr[:200]}"


def preloaded(command: str) -> list[str]:
    """The run-time library of AddressSanitizer, and that of C++, whose exceptions it must know."""
    return [
        subprocess.run(
            [command, f"-print-file-name={name}"], capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]


def run(problems: int, seed: int, source: str = "") -> subprocess.CompletedProcess[str]:
    """Runs random problems in a process of its own.

    Arguments:
        problems: How many.
        seed: That of the first.
        source: C that is appended to every kernel: what the sanitizers should find, in a test.
    """
    command = build.compiler()
    assert command is not None
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(preloaded(command)),
            "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
            "OCNET_CACHE": cache,
            "OCNET_SANITIZED_SOURCE": source,
        }
        words = [sys.executable, "-m", "tests.sanitize", "--inside"]
        return subprocess.run(
            [*words, "--problems", str(problems), "--seed", str(seed)],
            env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip


def inside(problems: int, seed: int) -> None:
    """What the process of its own does."""
    build.FLAGS = FLAGS
    source, made = os.environ.pop("OCNET_SANITIZED_SOURCE"), build.built
    del os.environ["LD_PRELOAD"]  # the compiler needs none
    build.built = lambda command, text: made(command, text + source)
    torch.set_default_dtype(torch.float64)
    first_order()
    for k in range(seed, seed + problems):
        print(k, one(random.Random(k)), flush=True)
    print("clean")


def main() -> None:
    """Reads the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options.problems, options.seed)
    reason = supported()
    if reason:
        sys.exit(f"Nothing was run: {reason}.")
    done = run(options.problems, options.seed)
    print(done.stdout + done.stderr[-8000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
