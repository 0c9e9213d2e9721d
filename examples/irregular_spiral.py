"""A Neural ODE learns a spiral from a few noisy looks at it, each curve at times of its own.

python -m examples.irregular_spiral [--out FOLDER] [--quick]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn, Tensor

import ocnet


LOOKS = 12
"""How often a curve is seen at most; the times of each are drawn."""


class Spiral(ocnet.Problem):
    """`x' = N(x)`, a network whose weights are parameters of the problem; nothing controls it.

    A target holds a row for each look: its time, whether it counts, and the place that was seen.
    """

    state_shape, t1 = (2,), 1.5

    def __init__(self):
        super().__init__()
        self.field = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
        self.observations = [
            ocnet.Observation(lambda y: y[..., 0], squared_error, mask=lambda y: y[..., 1] > 0)
        ]

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.field(x.pow(3))

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> ocnet.Sample:
        angle = 2 * torch.pi * torch.rand(batch_size, generator=generator)
        radius = 0.9 + 0.7 * torch.rand(batch_size, generator=generator)
        x0 = radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
        t = (self.t1 * torch.rand(batch_size, LOOKS, generator=generator)).sort(-1).values
        counts = torch.rand(batch_size, LOOKS, generator=generator) < 0.7
        seen = true_states(x0, t) + 0.02 * torch.randn(*t.shape, 2, generator=generator)
        return ocnet.Sample(x0, torch.cat([t[..., None], counts[..., None], seen], -1))


def squared_error(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`|x(t_j) - y_j|^2`, shape `(eval, batch)`."""
    return (x - y[..., 2:].movedim(1, 0)).square().sum(-1)


class Truth(Spiral):
    """The system itself, `x' = A x^3` (the example of torchdiffeq)."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x.pow(3) @ torch.tensor([[-0.1, -2.0], [2.0, -0.1]])


@torch.no_grad()
def true_states(x0: Tensor, times: Tensor) -> Tensor:
    """Where the true curves are, each at times of its own, shape `(batch, eval, 2)`."""
    solver = ocnet.TorchDiffEq("dopri5", rtol=1e-6, atol=1e-8)
    return solver.solve(Truth(), None, x0, t_eval=times).x_eval.movedim(0, 1)


def main() -> None:
    """Trains the network, and draws three curves that it has not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--quick", action="store_true", help="fewer steps of training")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    problem = Spiral()
    solver, batch = ocnet.RK4(20), [problem.sample(64, generator)]
    optimizer = torch.optim.Adam(problem.parameters(), lr=0.01)
    history = ocnet.train(
        problem, None, solver, optimizer, n_steps=20 if options.quick else 600, data=batch
    )
    print(f"cost of the looks: {history.cost[0]:.3g} at first, {history.cost[-1]:.3g} at last")

    new, times = problem.sample(3, generator), torch.linspace(0, problem.t1, 200)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    with torch.no_grad():
        found = solver.solve(problem, None, new.x0, t_eval=times).x_eval
    truth = true_states(new.x0, times.expand(3, -1))
    assert new.target is not None
    for i, axes in enumerate(figure.subplots(1, 3)):
        exact, y = truth[i], new.target[i]
        y = y[y[:, 1] > 0]
        axes.plot(*exact.T, color="0.7", lw=4, label="truth")
        axes.plot(*found[:, i].T, lw=1.6, label="Neural ODE")
        axes.plot(*y[:, 2:].T, "o", ms=4, color="k", label="looks")
        axes.set_aspect("equal")
        print(f"curve {i}: largest error {float((found[:, i] - exact).norm(dim=-1).max()):.3f}")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(options.out / "irregular_spiral.png", dpi=160)


if __name__ == "__main__":
    main()
