"""What proving and checking costs `solve`: this checkout and an older one, alternating in one run.

    python -m tests.benchmarks.solve_checks OTHER_CHECKOUT [--rounds 25]

Each checkout has a process of its own, which solves the problem that it is told, one thread each;
the order is reversed every other round. What is printed are medians over rounds of ratios within a
round: the whole, and the whole without tracing and the independent pass (`Solution.seconds`), whose
least times are given next to them.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch


CASES = ("BoundedVanDerPol", "Brachistochrone", "OrbitRaising", "batch of 256")


def work() -> None:
    """Solves the problem that each line names; prints seconds: in all, of tracing and checking."""
    from ocnet import Batch, Euler, Problem
    from problems.constrained import BoundedVanDerPol
    from problems.free_time import Brachistochrone, OrbitRaising

    # Older checkouts have it elsewhere.
    try:
        from ocnet.direct import solve
    except ImportError:
        from ocnet.solve import solve  # pyright: ignore

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    x0 = 2 * torch.rand(256, 2, generator=torch.Generator().manual_seed(0)) - 1
    single: list[Problem | Batch] = [BoundedVanDerPol(), Brachistochrone(), OrbitRaising()]
    single.append(BoundedVanDerPol().batch(x0))
    problems: dict[str, Problem | Batch] = dict(zip(CASES, single, strict=True))
    for line in sys.stdin:
        start = time.perf_counter()
        solution = solve(problems[line.strip()], solver=Euler(100))
        whole = time.perf_counter() - start
        tracing, _, checking = getattr(solution, "seconds", (0.0, 0.0, 0.0))
        print(whole, tracing, checking, flush=True)


class Checkout:
    """A process that solves with the code of a checkout."""

    def __init__(self, path: Path):
        environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, cwd=path, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def solve(self, case: str) -> list[float]:
        """Seconds: in all, of tracing, of checking."""
        pipes = self.process.stdin, self.process.stdout
        assert pipes[0] is not None and pipes[1] is not None
        pipes[0].write(f"{case}\n")
        pipes[0].flush()
        return [float(value) for value in pipes[1].readline().split()]


def main() -> None:
    """Prints one row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="the older checkout")
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    both = [Checkout(args.other.resolve()), Checkout(Path(__file__).resolve().parents[2])]
    print(
        "| case | old, least ms | new / old | without both | tracing, least ms | pass, least ms |"
    )
    print("|---|---|---|---|---|---|")
    for case in CASES:
        for checkout in both:
            checkout.solve(case)
        rounds = []
        for k in range(args.rounds if "batch" not in case else max(3, args.rounds // 3)):
            found = {i: both[i].solve(case) for i in ((0, 1) if k % 2 else (1, 0))}
            rounds.append((found[0], found[1]))
        whole = median(new[0] / old[0] for old, new in rounds)
        rest = median((new[0] - new[1] - new[2]) / old[0] for old, new in rounds)
        least = [1e3 * min(row) for row in (
            [old[0] for old, _ in rounds], [new[1] for _, new in rounds],
            [new[2] for _, new in rounds],
        )]  # fmt: skip
        row = [f"{least[0]:.1f}", f"{whole:.2f}", f"{rest:.2f}", *(f"{v:.1f}" for v in least[1:])]
        print(f"| {' | '.join([case, *row])} |")
    for checkout in both:
        checkout.process.terminate()


if __name__ == "__main__":
    main() if len(sys.argv) > 1 else work()
