"""Time and memory over depth: ocnet against a hand-written loop with the same arithmetic.

    python -m tests.benchmarks.depth [--rounds 30] [--threads 2] [--out runs/depth]

Forward plus backward pass of `x' = tanh(x W(t) + b(t))`, d = 32, batch 64, float32, with stage cost
`w |u|^2 / 2` and a terminal cost. The variants take turns within each round, and a ratio is taken
within its round, so that whatever else the machine does meets all of them.
"""

import argparse
import gc
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from tabulate import tabulate
from torch import Tensor

import ocnet
from ocnet.analysis.memory import LiveMemory
from ocnet.types import Cost, State, Time


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


def variants(n: int, seed: int = 0, of_state: bool = False) -> dict[str, Callable[[], Tensor]]:
    """Functions that give the gradient of the mean cost with respect to the control.

    With `of_state` it is that of the initial states: the gradient of the control takes memory
    that grows with its layers whatever one does, and without it the activations alone are seen.
    """
    generator = torch.Generator().manual_seed(seed)
    problem = Tanh()
    x0, target = torch.randn(2, BATCH, D, generator=generator)
    sample = ocnet.Sample(x0, target)
    control = ocnet.PiecewiseConstant(0.0, 1.0, n, SHAPE)
    with torch.no_grad():
        control.path.normal_(generator=generator).div_(D**0.5)
    control.path.requires_grad_(not of_state)
    x0.requires_grad_(of_state)
    variable = x0 if of_state else control.path

    def by(solver: ocnet.Solver) -> Callable[[], Tensor]:
        return lambda: gradient(ocnet.evaluate(problem, control, solver, sample)[0].mean())

    def gradient(cost: Tensor) -> Tensor:
        return torch.autograd.grad(cost, variable)[0]

    return {
        "loop": lambda: gradient(loop(control.path, x0, target)),
        "Euler": by(ocnet.Euler(n)),
        "Euler, costate": by(ocnet.Euler(n, gradient=ocnet.Costate())),
        "Euler, costate, compiled": by(ocnet.Euler(n, gradient=ocnet.Costate(compile=True))),
        "Euler, checkpoint": by(ocnet.Euler(n, gradient=ocnet.Checkpoint())),
        "torchdiffeq euler": by(ocnet.TorchDiffEq("euler", n=n)),
    }


def seconds(run: Callable[[], Tensor]) -> float:
    """The time of one run; of one thread, its processor time, which other processes leave alone."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    return clock() - start


def ratios(n: int, rounds: int) -> dict[str, dict[str, float]]:
    """The time of each variant over that of the loop: quartiles over rounds, and of the minima.

    With it the seconds of the first run, which compiles what is to be compiled.
    """
    runs = variants(n)
    expected, first = runs["loop"](), {}
    for name, run in runs.items():
        start = time.perf_counter()
        gradient = run()
        first[name] = time.perf_counter() - start
        torch.testing.assert_close(gradient, expected)
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
        table[name]["first run, s"] = first[name]
    return table


def per_layer(few: int, many: int, rounds: int) -> dict[str, dict[str, float]]:
    """The time per layer of a deep network over that of a shallow one, for each variant.

    In each round the shallow one runs as many layers as the deep one, right after it. The loop is
    among them: a deep network's tensors come from memory, a shallow one's from the cache.
    """
    deep, shallow = variants(many), variants(few)
    table = {}
    for name in ("loop", "Euler", "Euler, costate", "Euler, costate, compiled"):
        for run in (deep[name], shallow[name]):
            run()
        quotients = []
        for _ in range(rounds):
            long = seconds(deep[name])
            quotients.append(long / sum(seconds(shallow[name]) for _ in range(many // few)))
        quartiles = torch.tensor(quotients).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        table[name] = dict(zip(("lower", "median", "upper"), quartiles, strict=True))
    return table


def mebibytes(run: Callable[[], Tensor]) -> float:
    """The most that the tensors of one run hold at a time, counted by PyTorch's dispatcher."""
    with LiveMemory() as live:
        run()
    return live.peak / 2**20


def curve(name: str, n: int) -> dict[str, float]:
    """The least time of a variant and its memory, with the control's gradient and without."""
    run = variants(n)[name]
    return {
        "n": n,
        "seconds": min(seconds(run) for _ in range(3)),
        "MiB": mebibytes(run),
        "MiB of activations": mebibytes(variants(n, of_state=True)[name]),
    }


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Memory and time per layer over the number of layers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, points in curves.items():
        n = [point["n"] for point in points]
        left.loglog(n, [point["MiB of activations"] for point in points], "o-", label=name)
        right.semilogx(n, [1e6 * point["seconds"] / point["n"] for point in points], "o-")
    memory = curves["Euler, checkpoint"][-1]["MiB of activations"]
    n = [point["n"] for point in curves["Euler, checkpoint"]]
    left.loglog(n, [memory * (k / n[-1]) ** 0.5 for k in n], ":", color="grey", label="$\\sqrt{n}$")
    left.set(xlabel="layers $n$", ylabel="activations (MiB)")
    right.set(xlabel="layers $n$", ylabel="time per layer (µs)", ylim=(0, None))
    left.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--n", type=int, default=200, help="layers (200)")
    parser.add_argument("--out", type=Path, default=Path("runs/depth"))
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as cache:
        # The first run compiles: nothing that an earlier process compiled shortens it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Prints the tables, and writes them and the picture into the folder."""
    results: dict[str, Any] = {
        "command": "python -m tests.benchmarks.depth " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "threads": torch.get_num_threads(),
        "clock": "processor time" if torch.get_num_threads() == 1 else "wall time",
        "n": options.n,
        "ratios": ratios(options.n, options.rounds),
    }
    # What the process holds so far is not part of a solve, but the collector would walk through all
    # of it whenever a deep network has made many tensors.
    gc.collect()
    gc.freeze()
    results["per_layer_10000_over_100"] = per_layer(100, 10_000, max(2, options.rounds // 3))
    gc.unfreeze()
    rows = [{"variant": name, **row} for name, row in results["ratios"].items()]
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    rows = [{"variant": name, **row} for name, row in results["per_layer_10000_over_100"].items()]
    print("\nTime per layer at n = 10,000 over n = 100:")
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    names = ("loop", "Euler", "Euler, costate", "Euler, checkpoint")
    depths = (100, 400, 1600, 6400)
    results["curves"] = {name: [curve(name, n) for n in depths] for name in names}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "depth.json").write_text(json.dumps(results, indent=2) + "\n")
    draw(results["curves"], options.out / "depth.png")
    for name, points in results["curves"].items():
        print(
            name, [(p["n"], round(p["MiB"], 1), round(p["MiB of activations"], 1)) for p in points]
        )


if __name__ == "__main__":
    main()
