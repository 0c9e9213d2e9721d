"""What the stage cost costs: time and memory of a training step against plain training.

    python -m tests.benchmarks.stage_cost [--depth 54] [--widths 16 32 64] [--size 32]
        [--batch 32] [--rounds 15] [--device cpu]

Forward plus backward of one batch: plain training, the stage cost as ocnet computes it, and the
obvious implementation (every state through every later skip, a head of its own, autograd keeping
all). The variants take turns, and a variant's ratio in a round is to plain training in the same
round, so that a busy machine slows both alike: median and quartiles over the rounds. Memory is
what one step allocates at its peak beyond what lives before it. On a GPU (--device cuda) the steps
are eager; nothing was measured there.
"""

import argparse
import gc
import time
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor

from ocnet import evaluate, Sample
from ocnet.analysis.effort import peak_bytes
from ocnet.networks import ResNet, resnet
from ocnet.networks.chained import ChainedReadOuts


def obvious(network: ResNet, own: bool = False) -> ResNet:
    """The same network with the plain definition of the read-outs."""
    problem = network.problem
    problem.readouts = ChainedReadOuts(network.depth, problem.backbone, own)
    return network


def step_of(network: ResNet, sample: Sample) -> Callable[[], None]:
    """Forward and backward of one batch."""

    def step() -> None:
        network.zero_grad()
        costs, _ = evaluate(network.problem, network.control, network.solver, sample)
        costs.mean().backward()

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """How long a step takes."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=54)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)

    def network(gamma: float, **how: str) -> ResNet:
        generator = torch.Generator().manual_seed(0)
        size, widths = options.size, options.widths
        return resnet(options.depth, widths, size=size, gamma=gamma, generator=generator, **how)  # pyright: ignore

    networks = {
        "plain": network(0.0),
        "stage cost, WS": network(0.02),
        "stage cost, full": network(0.02, heads="full"),
        "obvious, WS": obvious(network(0.02)),
        "obvious, full": obvious(network(0.02), own=True),
    }
    images: Tensor = torch.randn(options.batch, 3, options.size, options.size)
    sample = Sample(images.to(device), torch.randint(10, (options.batch,)).to(device))
    steps = {name: step_of(net.to(device), sample) for name, net in networks.items()}
    for step in steps.values():
        step()
    memory = {}
    for name, step in steps.items():
        gc.collect()
        memory[name] = peak_bytes(step, device.type == "cuda")
    times = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, device))
    plain = torch.tensor(times["plain"])
    rows = []
    for name, t in times.items():
        ratio = (torch.tensor(t) / plain).quantile(torch.tensor([0.5, 0.25, 0.75])).tolist()
        size = memory[name] / 2**20, memory[name] / memory["plain"]
        fastest = min(t) / min(times["plain"])
        rows.append((name, sorted(t)[len(t) // 2], *ratio, fastest, *size))
    headers = ("step", "median s", "ratio", "lower", "upper", "fastest", "peak MiB", "memory ratio")
    print(tabulate(rows, headers, floatfmt=".3f"))


if __name__ == "__main__":
    main()
