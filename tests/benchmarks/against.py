"""The time of a piece of work against another checkout of ocnet, such as an older one.

    python -m tests.benchmarks.against /path/to/other [--work training] [--rounds 40] [--n 200]

The work is the forward plus backward pass of `x' = tanh(x W(t) + b(t))`, d = 32, batch 64, with
stage cost (euler); a step of `training` on it (training); `solve` of a pendulum by 60 steps of Adam
(first-order); or an epoch of four networks that are trained side by side (side-by-side). It is
written with the public names alone. Each checkout has a process of its own; the two take turns, in
an order that changes every round, and a ratio is taken within its round, so that whatever else the
machine does meets both. One thread and its processor time, which other processes leave alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path


COMMON = """
import sys, time
import torch, ocnet

n, dtype = int(sys.argv[1]), getattr(torch, sys.argv[2])
torch.set_num_threads(1)
torch.set_default_dtype(dtype)
"""

TANH = """
class Tanh(ocnet.Problem):
    state_shape, control_shape = (32,), (33, 32)
    def dynamics(self, t, x, u):
        W, b = u.split((32, 1))
        return torch.tanh(x @ W + b)
    def stage_cost(self, t, x, u, target):
        return 5e-4 * u.square().sum()
    def terminal_cost(self, x, target):
        return (x - target).square().sum(-1)
    def sample(self, batch_size, generator=None):
        return ocnet.Sample(*torch.randn(2, batch_size, 32, generator=generator))

problem, solver = Tanh(), ocnet.Euler(n)
sample = problem.sample(64, torch.Generator().manual_seed(0))
control = ocnet.PiecewiseConstant(0.0, 1.0, n, (33, 32))
with torch.no_grad():
    control.path.normal_(generator=torch.Generator().manual_seed(1)).div_(6)
"""

EULER = """
def run():
    cost, _ = ocnet.evaluate(problem, control, solver, sample)
    return torch.autograd.grad(cost.mean(), control.path)[0].abs().sum()
"""

TRAINING = """
import itertools
optimizer = torch.optim.SGD([control.path], lr=0.0)
steps = ocnet.training(problem, control, solver, optimizer, itertools.repeat(sample))

def run():
    return next(steps).cost
"""

FIRST_ORDER = """
import warnings
try:
    from ocnet.direct import Adam
    method = Adam(max_iterations=60, steps_per_round=60)
except ImportError:  # The names of older checkouts.
    from ocnet.solve.first_order import Adam
    method = Adam(n_steps=60, rounds=1)
warnings.simplefilter("ignore")

class Pendulum(ocnet.Problem):
    state_shape, control_shape, t1 = (2,), (1,), 3.0
    control_bounds = (-2.0, 2.0)
    def dynamics(self, t, x, u):
        angle, speed = x.unbind(-1)
        return torch.stack((speed, torch.sin(angle) + u[..., 0]), -1)
    def stage_cost(self, t, x, u, target):
        return x.square().sum(-1) + 0.1 * u.square().sum(-1)
    def terminal_constraint(self, x, target):
        return x[..., :1]
    def sample(self, batch_size, generator=None):
        return ocnet.Sample(torch.tensor([[1.0, 0.0]]).expand(batch_size, -1))

problem = Pendulum()

def run():
    found = ocnet.solve(problem, method=method, solver=ocnet.Euler(n), compile=False)
    return found.cost.sum()
"""

SIDE_BY_SIDE = """
from ocnet import init
try:
    from ocnet import scaling
except ImportError:  # The name of older checkouts.
    from ocnet.analysis import scaling
    from ocnet.analysis.scaling import images, training
    scaling.Images, scaling.SideBySide = images.Images, training.SideBySide
    scaling.train_side_by_side = training.train_side_by_side
rows = torch.randn(1300, 64, generator=torch.Generator().manual_seed(0))
part = lambda a, b: ocnet.Sample(rows[a:b], (rows[a:b, 0] > 0).long())
data = scaling.Images(part(0, 1280), part(1280, 1290), part(1290, 1300))
kinds = [init.FractionalNoise(0.3), init.FractionalNoise(0.7)] * 2

def run():
    problem = scaling.SideBySide(n, (0.3, 0.5, 0.7, 0.9), kinds, n_in=64)
    control = problem.initial_control(n)
    order = torch.Generator().manual_seed(0)
    found = scaling.train_side_by_side(problem, control, data, 0.01, epochs=1, generator=order)
    return found.loss.sum()
"""

LOOP = """
first = run()
print(float(first), ocnet.__file__, flush=True)
for line in sys.stdin:
    start = time.process_time()
    for _ in range(int(line)):
        run()
    print(time.process_time() - start, flush=True)
"""

WORK = {
    "euler": TANH + EULER,
    "training": TANH + TRAINING,
    "first-order": FIRST_ORDER,
    "side-by-side": SIDE_BY_SIDE,
}


class Worker:
    """A process that takes steps with one checkout.

    Arguments:
        root: The checkout.
        options: The options of the benchmark.
    """

    def __init__(self, root: Path, options: argparse.Namespace):
        program = COMMON + WORK[options.work] + LOOP
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(options.n), options.dtype],
            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        total, file = self.answer().split(maxsplit=1)
        assert Path(file.strip()).is_relative_to(root.resolve()), f"{file} is not of {root}"
        self.result = float(total)

    def answer(self) -> str:
        """A line that the process printed."""
        assert self.process.stdout is not None, "it is a pipe"
        return self.process.stdout.readline()

    def seconds(self, times: int) -> float:
        """The processor time of so many steps."""
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return float(self.answer())

    def end(self) -> None:
        """Ends the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--work", choices=WORK, default="euler")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=5, help="steps of a turn (5)")
    parser.add_argument("--n", type=int, default=200, help="layers (200)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    options = parser.parse_args()
    workers = [Worker(root.resolve(), options) for root in (Path.cwd(), options.other)]
    try:
        mine, others = workers
        assert abs(mine.result / others.result - 1) < 1e-5, "the results must be the same"
        for worker in workers:
            worker.seconds(options.steps)
        ratios, times = [], []
        for k in range(options.rounds):
            order = workers if k % 2 else workers[::-1]
            taken = {id(worker): worker.seconds(options.steps) for worker in order}
            ratios.append(taken[id(mine)] / taken[id(others)])
            times.append([1e3 * taken[id(worker)] / options.steps for worker in workers])
    finally:
        for worker in workers:
            worker.end()
    lower, median, upper = statistics.quantiles(ratios, n=4)
    least = [min(column) for column in zip(*times, strict=True)]
    result = {
        "work": options.work, "n": options.n, "dtype": options.dtype, "rounds": options.rounds,
        "lower": lower, "median": median, "upper": upper, "of minima": least[0] / least[1],
        "ms here": least[0], "ms there": least[1],
    }  # fmt: skip
    print(json.dumps(result))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
