"""A training step of a ResNet-54 on 32x32 images: `python -m tests.benchmarks.resnet54_step`.

`ocnet`'s loop in eager, compiled and captured form against the same blocks in a loop written out,
in the same three forms, which take turns. Batch 128, bf16, channels last. Target on a GPU: each
form at most 1.05 of the best of those written out, and a captured GPU busy 90% of the time.

Shares of the ceilings: the step's floating point operations, counted by PyTorch, and the bytes that
its operators read and write, one after the other as in eager form, over its time; divided by what
a large matrix product and a large copy reach on the same machine.

On a machine without a GPU it runs at a small size, to see that it runs; the figures then say
nothing about a GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ocnet import Sample, training
from ocnet.learning import Engine
from ocnet.learning.capture import CudaGraphs, on_device
from ocnet.networks import ResNet, resnet


FORMS = ("eager", "compiled", "captured")


class Size(NamedTuple):
    """What is run: blocks, images in a batch, pixels a side, steps in a round, rounds."""

    depth: int
    batch: int
    pixels: int
    steps: int
    rounds: int


FULL = Size(depth=54, batch=128, pixels=32, steps=20, rounds=15)
SMALL = Size(depth=6, batch=8, pixels=16, steps=1, rounds=2)


def network(size: Size, device: torch.device) -> tuple[ResNet, torch.optim.Optimizer]:
    """The network with channels last, and its optimiser."""
    net = resnet(size.depth, size=size.pixels, generator=torch.Generator().manual_seed(0))
    net.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    fused = True if device.type == "cuda" else None
    return net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=fused)


def batch(size: Size, device: torch.device) -> Sample:
    """A batch that stays on the device."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size.batch, 3, size.pixels, size.pixels, generator=generator)
    labels = torch.randint(10, (size.batch,), generator=generator)
    return Sample(images.to(device, memory_format=torch.channels_last), labels.to(device))


def by_hand(form: str, size: Size, device: torch.device) -> Iterator[float]:
    """The costs of steps of the network's blocks in a loop that is written out."""
    net, optimizer = network(size, device)
    blocks, skips = net.control.layers, net.problem.backbone.skips
    if form == "compiled":
        for block in blocks:
            block.compile()
    images, labels = batch(size, device)

    def gradient() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            x = net.problem.embedding(images)
            for k, block in enumerate(blocks):
                x = (skips[k](x) if k in skips else x) + block(x)
            cost = cross_entropy(net.problem.head(x), labels)  # pyright: ignore
        cost.backward()
        return cost.detach()

    def step() -> Tensor:
        cost = gradient()
        optimizer.step()
        return cost

    if form == "captured":
        on_device(optimizer, device)
        graphs = CudaGraphs(device)
        for _ in range(3):
            graphs.warm_up(step)
        replay, cost = graphs.record(step)
        while True:
            replay()
            yield cost.item()
    while True:
        yield step().item()


def by_ocnet(form: str, size: Size, device: torch.device) -> Iterator[float]:
    """The costs of steps of `training`, with all that it looks after."""
    net, optimizer = network(size, device)
    engine = Engine(
        device, precision="bf16", compile=form == "compiled", capture=form == "captured",
        channels_last=True,
    )  # fmt: skip
    same = batch(size, device)
    batches = iter(lambda: same, None)
    steps = training(net.problem, net.control, net.solver, optimizer, batches, engine=engine)
    for record in steps:
        yield record.cost


def seconds(steps: Iterator[float], n: int, device: torch.device) -> float:
    """The time of a step, of `n` in a row."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(n):
        next(steps)
    synchronise(device)
    return (time.perf_counter() - start) / n


def synchronise(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write, views aside."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, result))
            self.bytes += sum(z.nbytes for z in leaves if isinstance(z, Tensor))
        return result


def work(size: Size, device: torch.device) -> tuple[int, int]:
    """The floating point operations and the bytes of a step in eager form."""
    steps = by_hand("eager", size, device)
    next(steps)
    with FlopCounterMode(display=False) as flops:
        next(steps)
    with Traffic() as traffic:
        next(steps)
    return flops.get_total_flops(), traffic.bytes


def best_time(action: Callable[[], object], device: torch.device) -> float:
    """The shortest of ten times of an action."""
    times = []
    for _ in range(10):
        synchronise(device)
        start = time.perf_counter()
        action()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)


def ceilings(device: torch.device) -> tuple[float, float]:
    """Operations and bytes per second of a large matrix product in bf16 and of a large copy."""
    n, m = (8192, 2**30) if device.type == "cuda" else (512, 2**24)
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    source = torch.zeros(m, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = best_time(lambda: a @ a, device)
    copy = best_time(lambda: target.copy_(source), device)
    return 2 * n**3 / product, 2 * m / copy


def busy(steps: Iterator[float], n: int) -> float:
    """The share of the time of `n` steps in which the GPU ran at least one kernel."""
    from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
    from torch.profiler import profile, ProfilerActivity

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(n):
            next(steps)
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()  # pyright: ignore[reportOptionalIterable]
        if event.device_type == DeviceType.CUDA
    )
    return covered(spans)


def covered(spans: list[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end that some span covers."""
    total, reached = 0.0, spans[0][0]
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / (reached - spans[0][0])


def compare(size: Size, forms: list[str], device: torch.device) -> None:
    """Measures all forms and prints what came out."""
    on_gpu = device.type == "cuda"
    possible = [form for form in forms if on_gpu or form != "captured"]
    made = {"hand": by_hand, "ocnet": by_ocnet}
    loops = {(who, form): made[who](form, size, device) for form in possible for who in made}
    for steps in loops.values():
        seconds(steps, 5 if on_gpu else 1, device)
    rounds = [
        {name: seconds(steps, size.steps, device) for name, steps in loops.items()}
        for _ in range(size.rounds)
    ]
    medians = {name: statistics.median(round_[name] for round_ in rounds) for name in loops}
    best = min((name for name in loops if name[0] == "hand"), key=medians.__getitem__)
    flops, nbytes = work(size, device)
    matrix, bandwidth = ceilings(device)
    print(f"ceilings: {matrix / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.3g} GB/s; "
          f"a step: {flops / 1e9:.3g} GFLOP, {nbytes / 1e9:.3g} GB")  # fmt: skip
    for name, steps in loops.items():
        ratios = sorted(round_[name] / round_[best] for round_ in rounds)
        quarter = len(ratios) // 4
        t = medians[name]
        share = f", GPU busy {busy(steps, 10):.0%}" if on_gpu else ""
        print(
            f"{' '.join(name):15} {size.batch / t:8.0f} images/s, {statistics.median(ratios):.3f} "
            f"({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}) of {' '.join(best)}, "
            f"{flops / t / matrix:.1%} of the matrix ceiling, "
            f"{nbytes / t / bandwidth:.1%} of the bandwidth{share}"
        )
    if not on_gpu:
        print("Not measured here: GPU figures, the captured form and the busy share need a GPU.")


def main(arguments: list[str] | None = None) -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    size = FULL if device.type == "cuda" else SMALL
    print(f"{name}, torch {torch.__version__}, {size}")
    compare(size, options.forms, device)


if __name__ == "__main__":
    main()
