"""Time and memory over depth: ocnet against a hand-written loop with the same arithmetic.

    python -m tests.benchmarks.depth [--rounds 30] [--out runs/depth]

Forward plus backward pass of `x' = tanh(x W(t) + b(t))`, d = 32, batch 64, float32, with stage cost
`w |u|^2 / 2` and a terminal cost. The variants take turns within each round, and a ratio is taken
within its round, so that whatever else the machine does meets all of them.
"""

import argparse
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

import ocnet
from ocnet._types import Cost, State, Time


D, BATCH, WEIGHT = 32, 64, 1e-3


SHAPE = (D + 1, D)


class Tanh(ocnet.Problem):
    """`x' = tanh(x W(t) + b(t))`, with `W` and `b` side by side in the control."""

    state_shape = (D,)
    control_shape = SHAPE

    def dynamics(self, t: Time, x: State, u: Tensor) -> State:
        W, b = u.split((D, 1))
        return torch.tanh(x @ W + b)

    def stage_cost(self, t: Time, x: State, u: Tensor, target: Tensor | None) -> Cost:
        return WEIGHT / 2 * u.square().sum()

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        assert target is not None
        return (x - target).square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> ocnet.Sample:
        x0, target = torch.randn(2, batch_size, D, generator=generator)
        return ocnet.Sample(x0, target)


def loop(path: Tensor, x: Tensor, target: Tensor) -> Tensor:
    """The mean cost, written out by hand."""
    cost = 0.0
    h = 1 / len(path)
    for u in path.unbind():
        W, b = u.split((D, 1))
        cost = cost + h * (WEIGHT / 2 * u.square().sum())
        x = x + h * torch.tanh(x @ W + b)
    return (cost + (x - target).square().sum(-1)).mean()


def variants(n: int, seed: int = 0) -> dict[str, Callable[[], Tensor]]:
    """Functions that give the gradient of the mean cost with respect to the control."""
    generator = torch.Generator().manual_seed(seed)
    problem = Tanh()
    x0, target = torch.randn(2, BATCH, D, generator=generator)
    sample = ocnet.Sample(x0, target)
    control = ocnet.PiecewiseConstant(0.0, 1.0, n, SHAPE)
    with torch.no_grad():
        control.path.normal_(generator=generator).div_(D**0.5)

    def by(solver: ocnet.Solver) -> Callable[[], Tensor]:
        return lambda: gradient(ocnet.evaluate(problem, control, solver, sample)[0].mean())

    def gradient(cost: Tensor) -> Tensor:
        return torch.autograd.grad(cost, control.path)[0]

    return {
        "loop": lambda: gradient(loop(control.path, x0, target)),
        "Euler": by(ocnet.Euler(n)),
        "Euler, costate": by(ocnet.Euler(n, gradient="costate")),
        "Euler, checkpoint": by(ocnet.Euler(n, gradient="checkpoint")),
        "torchdiffeq euler": by(ocnet.TorchDiffEq("euler", n=n)),
    }


def seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(n: int, rounds: int) -> dict[str, dict[str, float]]:
    """The time of each variant over that of the loop: quartiles over rounds, and of the minima."""
    runs = variants(n)
    expected = runs["loop"]()
    for run in runs.values():
        torch.testing.assert_close(run(), expected)
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    base = torch.tensor(times["loop"])
    table = {}
    for name, of_name in times.items():
        of_name = torch.tensor(of_name)
        quartiles = (of_name / base).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        table[name] = dict(zip(("lower", "median", "upper"), quartiles, strict=True))
        table[name]["minima"] = float(of_name.min() / base.min())
        table[name]["milliseconds"] = 1e3 * float(of_name.min())
    return table


def peak(name: str, n: int) -> float:
    """How many MiB a variant adds to the resident memory, at most, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.depth", "--peak-of", name, "--n", str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak(name: str, n: int) -> float:
    variants(3)[name]()
    run = variants(n)[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--n", type=int, default=200, help="layers (200)")
    parser.add_argument("--out", type=Path, default=Path("runs/depth"))
    parser.add_argument("--peak-of", help="print the peak memory of one variant, in MiB")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peak_of:
        print(own_peak(options.peak_of, options.n))
        return
    results = {
        "command": " ".join(sys.argv),
        "machine": f"{platform.machine()}, torch {torch.__version__}, 2 threads",
        "n": options.n,
        "ratios": ratios(options.n, options.rounds),
    }
    rows = [{"variant": name, **row} for name, row in results["ratios"].items()]
    print(tabulate(rows, headers="keys", floatfmt=".2f"))


if __name__ == "__main__":
    main()
