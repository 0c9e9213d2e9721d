"""What the loop and the checkpoints cost.

    python -m tests.benchmarks.overhead [--repeats 10] [--threads 1]

The same step, of about 10 ms, is taken by a bare loop around the solver, by `training`, and by a
network and loop written out by hand. They take turns of a few steps in an order that rotates, so
that a machine's moods and the garbage collector, which runs as usual, hit all of them alike; a
round gives one ratio. Where tensors happen to lie in memory makes a step faster or slower by some
percent, so all loops are made anew several times, and a second bare loop shows what such luck
comes to. One thread: what is measured is work that the step's kernels cannot share.
Targets: `training` at most 1.03 of the bare loop; a checkpoint every minute at most 1% of it.
"""

import argparse
import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ocnet import Euler, evaluate, training
from ocnet.learning import Batches
from ocnet.run import Config, Job, RunFolder
from ocnet.run.loop import Log
from tests.support.blobs import Blobs


ROUNDS, STEPS, DEPTH, BATCH, WIDTH = 15, 5, 20, 384, 64


def problem() -> Blobs:
    """The network whose step is timed."""
    torch.manual_seed(0)
    net = Blobs(n=4 * BATCH, width=WIDTH, dropout=0.0, noise=0.0)
    # A step of width one, as in the network that is written out.
    net.t1 = float(DEPTH)
    return net


def by_hand() -> Iterator[float]:
    """The costs of steps of a network and a loop that are written out."""
    net = problem()
    layers = nn.ModuleList(net.initial_control(DEPTH).layers)  # pyright: ignore
    optimizer = torch.optim.Adam([*layers.parameters(), *net.parameters()], lr=1e-3)
    for x0, target in Batches(net, BATCH, torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        x = net.embedding(x0)
        for layer in layers:
            x = x + layer(x)
        cost = cross_entropy(net.head(x), target)  # pyright: ignore[reportArgumentType]
        cost.backward()
        optimizer.step()
        yield cost.item()


def bare() -> Iterator[float]:
    """The costs of steps of a loop that is written out around the same solver."""
    net = problem()
    control = net.initial_control(DEPTH)
    optimizer = torch.optim.Adam([*control.parameters(), *net.parameters()], lr=1e-3)
    for sample in Batches(net, BATCH, torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        cost = evaluate(net, control, Euler(DEPTH), sample)[0].mean()
        cost.backward()
        optimizer.step()
        yield cost.item()


def loop() -> Iterator[float]:
    """The costs of steps of `training`, which also guards against a cost that is not finite."""
    net = problem()
    control = net.initial_control(DEPTH)
    optimizer = torch.optim.Adam([*control.parameters(), *net.parameters()], lr=1e-3)
    batches = Batches(net, BATCH, torch.Generator().manual_seed(0))
    for record in training(net, control, Euler(DEPTH), optimizer, batches):
        yield record.cost


def seconds(steps: Iterator[float]) -> float:
    """The time of a step; of one thread, its processor time, which other programs leave alone."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(STEPS):
        next(steps)
    return (clock() - start) / STEPS


LOOPS = {"bare": bare, "bare again": bare, "training": loop, "by hand": by_hand}


def rounds(repeats: int) -> dict[str, list[float]]:
    """The times of a step of each loop, round by round."""
    names = list(LOOPS)
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(repeats):
        loops = {name: LOOPS[name]() for name in rotated(names, i)}
        for steps in loops.values():
            seconds(steps)
        # What it took to make them is not their garbage.
        gc.collect()
        gc.freeze()
        for j in range(ROUNDS):
            for name in rotated(names, j):
                times[name].append(seconds(loops[name]))
        gc.unfreeze()
    return times


def rotated(names: list[str], i: int) -> list[str]:
    """The same names, beginning with the `i`-th."""
    i %= len(names)
    return names[i:] + names[:i]


def summary(times: list[float], base: list[float]) -> str:
    """The ratio to the base, its quartiles, and a 95% interval of the median, free of any law."""
    ratios = sorted(time / of_base for time, of_base in zip(times, base, strict=True))
    n = len(ratios)
    # The number of ratios below the true median is binomial, of n and 1/2.
    low = max(math.floor(n / 2 - 0.98 * math.sqrt(n)), 0)
    return (
        f"median {statistics.median(ratios):.3f} (95%: {ratios[low]:.3f} to "
        f"{ratios[n - 1 - low]:.3f}), quartiles {ratios[n // 4]:.3f} to {ratios[-1 - n // 4]:.3f}"
    )


def checkpoint_seconds() -> list[float]:
    """The times that it takes to save the state of this job."""
    config = Config.of("", steps=DEPTH, batch_size=BATCH, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Job(config, problem()), RunFolder(Path(folder)), None)
        times = [timed(log.save) for _ in range(10)]
        log.close()
    return times


def timed(action: Callable[[], None]) -> float:
    """The time of an action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description="What the training loop costs.")
    parser.add_argument("--repeats", type=int, default=10, help="how often loops are made (10)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    times = rounds(options.repeats)
    n = len(times["bare"])
    print(f"threads: {options.threads}; {n} rounds of {STEPS} steps; ratios to the bare loop")
    for name, of_name in times.items():
        middle = 1e3 * statistics.median(of_name)
        print(f"{name:10}  {middle:.2f} ms a step, {summary(of_name, times['bare'])}")
    saves = checkpoint_seconds()
    print(f"one checkpoint takes {1e3 * statistics.median(saves):.1f} ms (median of {len(saves)}), "
          f"{statistics.median(saves) / 60:.3%} of a minute")  # fmt: skip


if __name__ == "__main__":
    main()
