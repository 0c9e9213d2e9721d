"""A problem of one's own: park a cart, written, trained and drawn in thirty lines.

    python -m examples.own_problem [--out DIR]

Writes runs/own_problem/cart.png. Expected output (CPU, about half a minute):

    cost 0.8015 after 50 steps of L-BFGS; the cart stops at 0.007 with speed -0.007
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ocnet import (
    Euler,
    evaluate,
    PiecewiseLinear,
    Problem,
    Quadratic,
    Sample,
    TerminalQuadratic,
    train,
)
from ocnet.plot import states_and_controls


class Cart(Problem):
    """`position'' = force - friction * speed`, from 1 to rest at 0."""

    state_shape = (2,)
    control_shape = (1,)
    t1 = 4.0

    def __init__(self, friction: float = 0.2):
        super().__init__()
        self.friction = friction
        self.stage_cost = Quadratic(Q=torch.eye(2), R=0.5 * torch.eye(1))
        self.terminal_cost = 10 * TerminalQuadratic(torch.eye(2))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        position, speed = x.unbind(-1)
        return torch.stack([speed, u[..., 0] - self.friction * speed], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0]).expand(batch_size, 2))


def main() -> None:
    """Trains the control and draws what the cart does."""
    parser = argparse.ArgumentParser(description="Park a cart.")
    parser.add_argument("--out", type=Path, default=Path("runs/own_problem"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    problem, solver = Cart(), Euler(100)
    control = PiecewiseLinear(problem.t0, problem.t1, 20, 1)
    optimizer = torch.optim.LBFGS(control.parameters(), line_search_fn="strong_wolfe")
    history = train(problem, control, solver, optimizer, n_steps=50)

    with torch.no_grad():
        _, path = evaluate(problem, control, solver, problem.sample(1))
    position, speed = path.states[-1][0].tolist()
    print(
        f"cost {history.cost[-1]:.4f} after {len(history.cost)} steps of L-BFGS; "
        f"the cart stops at {position:.3f} with speed {speed:.3f}"
    )
    states_and_controls(path, ["position", "speed"], ["force"]).savefig(out / "cart.png", dpi=160)


if __name__ == "__main__":
    main()
