"""What the loop and the checkpoints cost: `python -m tests.benchmarks.overhead`.

The same step, of about 10 ms, is taken by a bare loop around the solver, by `training`, and by a
network and loop written out by hand; they take turns, so that a machine's moods hit all of them.
Targets: `training` at most 1.03 of the bare loop; a checkpoint every minute at most 1% of it.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ocnet import Euler, evaluate, training
from ocnet.run import Config, Job, RunFolder
from ocnet.run.loop import Log
from ocnet.train import Batches
from tests.run.blobs import Blobs


STEPS, ROUNDS, DEPTH, BATCH, WIDTH = 10, 40, 20, 256, 64


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
    """The time of a step, of the processor: other programs do not count."""
    start = time.process_time()
    for _ in range(STEPS):
        next(steps)
    return (time.process_time() - start) / STEPS


def checkpoint_seconds() -> list[float]:
    """The times that it takes to save the state of this job."""
    config = Config("", steps=DEPTH, batch_size=BATCH, device="cpu")
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


def main() -> None:
    """Prints the ratios."""
    loops = {"by hand": by_hand(), "bare": bare(), "training": loop()}
    for steps in loops.values():
        seconds(steps)
    times = [{name: seconds(steps) for name, steps in loops.items()} for _ in range(ROUNDS)]
    for name in loops:
        ratios = sorted(round_[name] / round_["bare"] for round_ in times)
        quarter = len(ratios) // 4
        print(f"{name:8}  best {1e3 * min(round_[name] for round_ in times):.2f} ms a step, of the "
              f"bare loop's: median {statistics.median(ratios):.3f}, "
              f"quartiles {ratios[quarter]:.3f} to {ratios[-quarter]:.3f}")  # fmt: skip
    saves = checkpoint_seconds()
    print(f"one checkpoint takes {1e3 * statistics.median(saves):.1f} ms (median of {len(saves)}), "
          f"{statistics.median(saves) / 60:.3%} of a minute")  # fmt: skip


if __name__ == "__main__":
    main()
