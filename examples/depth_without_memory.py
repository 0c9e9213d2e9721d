"""The memory of a deep network's gradient: states are kept, computed again, or traced backwards.

    python -m examples.depth_without_memory

Prints the peak memory of the forward and backward pass of a Neural ODE, and how far the gradient is
from the ODE's. The reversible scheme is another discretisation of the same order: it follows its
own states backwards, so its gradient is exact for itself, and its error falls with the number of
layers like that of Euler. Expected output (CPU, some seconds):

    layers    backprop  checkpoint  reversible   error of Euler   of reversible
       100      3.36 MB     0.79 MB     0.25 MB          2.2e-02         1.3e-03
       400     13.19 MB     1.61 MB     0.25 MB          5.4e-03         2.1e-03
      1600     52.52 MB     3.24 MB     0.25 MB          1.4e-03         4.6e-04
"""

import torch
from torch import nn, Tensor

import ocnet
from ocnet.analysis import LiveMemory


WIDTH, BATCH = 16, 256


class Network(ocnet.Problem):
    """`x' = u(t, x)`, to end at a target; the control is a small network."""

    state_shape = (WIDTH,)
    control_shape = (WIDTH,)
    t1 = 4.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x - target).square().mean(-1)  # pyright: ignore[reportOperatorIssue]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> ocnet.Sample:
        return ocnet.Sample(*torch.randn(2, batch_size, WIDTH, generator=generator))


class Policy(nn.Module):
    """`tanh(W x + b cos t)`."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH, bias=False)
        self.b = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x) + self.b * t.cos())


def gradient(
    control: ocnet.Feedback, solver: ocnet.Solver, sample: ocnet.Sample
) -> tuple[Tensor, float]:
    """The gradient of the mean cost, and the megabytes that it took."""
    with LiveMemory() as live:
        cost, _ = ocnet.evaluate(Network(), control, solver, sample)
        found = torch.autograd.grad(cost.mean(), list(control.parameters()))
    return torch.cat([g.flatten() for g in found]), live.peak / 1e6


def main() -> None:
    """Prints the table."""
    torch.manual_seed(0)
    control = ocnet.Feedback(0.0, Network.t1, Policy())
    sample = Network().sample(BATCH, torch.Generator().manual_seed(0))
    exact, _ = gradient(control, ocnet.RK4(200), sample)
    ways = {
        "backprop": ocnet.Euler,
        "checkpoint": lambda n: ocnet.Euler(n, gradient=ocnet.Checkpoint()),
        "reversible": lambda n: ocnet.Reversible(ocnet.Euler(n)),
    }
    print("layers " + "".join(f"{name:>12}" for name in ways) + "   error of Euler   of reversible")
    for n in (100, 400, 1600):
        line, errors = f"{n:6} ", {}
        for name, solver in ways.items():
            found, megabytes = gradient(control, solver(n), sample)
            errors[name] = float((found - exact).norm() / exact.norm())
            line += f"{megabytes:9.2f} MB"
        print(line + f"{errors['backprop']:17.1e}{errors['reversible']:16.1e}")


if __name__ == "__main__":
    main()
