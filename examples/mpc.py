"""Model predictive control in closed loop against a neural feedback policy, in one picture.

    python -m examples.mpc [--quick] [--out runs/mpc]

The Van der Pol oscillator with `|u| <= .5` and a disturbance that neither controller knows. The
predictive controller solves the remaining horizon at every step, from the solution before. The
policy is a small network trained on the same cost from random states; the plan is the open-loop
optimum without disturbance. Costs, without and with disturbance (quick; they depend on the torch
build in the last digits, the policy's on its training):

    plan      9.4160   6.3537
    mpc       9.4160   2.8254
    policy    9.8693   2.4835
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn, Tensor

from ocnet import Euler, Feedback, Problem, RK4, Sample, Solution, solve, train
from ocnet.plot import axes, legend_below, look


BOUND = 0.5
HORIZON = 5.0

Controller = Callable[[int, Tensor], Tensor]
"""The control of step `k` in a measured state."""


class Oscillator(Problem):
    """`x1' = (1 - x2^2) x1 - x2 + u, x2' = x1`, minimise `int |x|^2 + u^2` over the rest of time.

    Arguments:
        start: The time at which the rest begins.
    """

    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-BOUND, BOUND)
    t1 = HORIZON

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.t0 = start

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        return torch.stack([(1 - x2**2) * x1 - x2 + u[..., 0], x1], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(2 * torch.rand(batch_size, 2, generator=generator) - 1)


class Policy(nn.Module):
    """`u = bound tanh(net(t, x))`."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        time = t.to(x).expand(*x.shape[:-1], 1) / HORIZON
        return BOUND * torch.tanh(self.net(torch.cat([time, x], -1)))


def closed_loop(
    controller: Controller, n: int, push: float
) -> tuple[list[Tensor], list[Tensor], float]:
    """States, controls and cost under a controller, with a push that it does not know of."""
    problem, h = Oscillator(), HORIZON / n
    x, cost = torch.tensor([0.0, 1.0]), 0.0
    states, controls = [x], []
    for k in range(n):
        u = controller(k, x)
        shove = push if n // 4 <= k < n // 2 else 0.0
        t = torch.tensor(k * h)
        cost += h * float(problem.stage_cost(t, x, u, None))
        x = x + h * problem.dynamics(t, x, u + shove)
        states.append(x)
        controls.append(u)
    return states, controls, cost


def predictive(n: int) -> Controller:
    """Solves the remaining horizon at every step, with a warm start from the previous step."""
    last: list[Solution] = []

    def control(k: int, x: Tensor) -> Tensor:
        problem = Oscillator(k * HORIZON / n)
        start = last[-1] if last and n - k > 1 else None
        last.append(solve(problem.batch(x), solver=Euler(n - k), start=start))
        return last[-1].u[0]

    return control


def trained_policy(n: int, n_steps: int) -> Controller:
    """A feedback policy trained on the expected cost from random initial states."""
    torch.manual_seed(0)
    policy = Policy()
    generator = torch.Generator().manual_seed(0)
    train(
        Oscillator(),
        Feedback(0.0, HORIZON, policy),
        RK4(n // 2),
        torch.optim.Adam(policy.parameters(), lr=1e-2),
        n_steps=n_steps,
        batch_size=64,
        generator=generator,
        constraints="ignore",  # the policy keeps the bounds by itself
    )
    with torch.no_grad():
        policy.requires_grad_(False)
    return lambda k, x: policy(x.new_tensor(k * HORIZON / n), x)


def picture(runs: dict[str, tuple[list[Tensor], list[Tensor], float]]) -> Figure:
    """State and control of all controllers under the push."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = axes(figure, (2, 1, 1)), axes(figure, (2, 1, 2))
    for i, (name, (states, controls, cost)) in enumerate(runs.items()):
        n, style = len(controls), look(i)
        t = torch.linspace(0, HORIZON, n + 1)
        top.plot(t, torch.stack(states)[:, 1], lw=1.6, label=f"{name}: cost {cost:.3f}", **style)
        bottom.plot(t[:-1], torch.stack(controls)[:, 0], lw=1.6, drawstyle="steps-post", **style)
    for ax in (top, bottom):
        ax.axvspan(HORIZON / 4, HORIZON / 2, color="0.93", zorder=0)
    for bound in (-BOUND, BOUND):
        bottom.axhline(bound, color="0.6", lw=1, ls=":")
    bottom.sharex(top)
    top.set_ylabel("state $x_2$, pushed in grey")
    bottom.set_ylabel("control $u$, bounds dotted")
    bottom.set_xlabel("time $t$")
    legend_below(figure, 3)
    return figure


def main() -> None:
    """Runs all controllers with and without the push."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps and less training")
    parser.add_argument("--out", type=Path, default=Path("runs/mpc"))
    options = parser.parse_args()
    n, n_steps = (20, 150) if options.quick else (100, 1000)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        plan = solve(Oscillator().batch(torch.tensor([0.0, 1.0])), solver=Euler(n)).u
        controllers = {
            "plan": lambda k, x: plan[k],
            "mpc": predictive(n),
            "policy": trained_policy(n, n_steps),
        }
        calm = {name: closed_loop(run, n, 0.0)[2] for name, run in controllers.items()}
        pushed = {name: closed_loop(run, n, 1.0) for name, run in controllers.items()}
    finally:
        torch.set_default_dtype(before)
    for name, cost in calm.items():
        print(f"{name:8} {cost:7.4f}  {pushed[name][2]:7.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    picture(pushed).savefig(options.out / "mpc.png", dpi=160)


if __name__ == "__main__":
    main()
