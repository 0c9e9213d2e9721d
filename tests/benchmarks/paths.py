"""Costs at observation times and a loop written by hand: `python -m tests.benchmarks.paths`."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn, Tensor

import ocnet


D, BATCH, STEPS, ROUNDS = 32, 64, 200, 10
TIMES = torch.linspace(0.013, 0.997, 50, dtype=torch.float64)


class Field(ocnet.Problem):
    """`x' = tanh(W x)`, compared with data at 50 times that are not the ends of steps."""

    state_shape = (D,)

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(D, D, generator=torch.Generator().manual_seed(0)) / 6)
        self.observations = [ocnet.Observation(TIMES, lambda t, x, y: x.square().sum(-1))]

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(x @ self.W)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> ocnet.Sample:
        return ocnet.Sample(torch.ones(batch_size, D))


def by_hand(W: Tensor, x: Tensor) -> Tensor:
    """The mean cost under forward Euler, with straight lines between its steps."""
    h, states = 1 / STEPS, [x]
    for _ in range(STEPS):
        x = x + h * torch.tanh(x @ W)
        states.append(x)
    cost = x.new_zeros(len(x))
    for t in TIMES.tolist():
        k = int(t / h)
        cost = cost + torch.lerp(states[k], states[k + 1], t / h - k).square().sum(-1)
    return cost.mean()


def seconds(run: Callable[[], Tensor], W: Tensor) -> float:
    """How long a gradient takes."""
    start = time.process_time()
    torch.autograd.grad(run(), W)
    return time.process_time() - start


def main() -> None:
    """Prints the median ratio of alternating rounds, and its spread."""
    problem = Field()
    sample = problem.sample(BATCH)
    solver = ocnet.Euler(STEPS)
    mine = lambda: ocnet.evaluate(problem, None, solver, sample)[0].mean()
    loop = lambda: by_hand(problem.W, sample.x0)
    torch.testing.assert_close(mine(), loop(), rtol=1e-4, atol=1e-4)
    ratios = []
    for _ in range(ROUNDS + 2):
        theirs = seconds(loop, problem.W)
        ratios.append(seconds(mine, problem.W) / theirs)
    ratios = sorted(ratios[2:])
    median = statistics.median(ratios)
    print(f"50 observation times, Euler({STEPS}): {median:.2f} of a loop by hand", end=" ")
    print(f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
