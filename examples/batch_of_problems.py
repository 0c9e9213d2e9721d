"""Many optimal control problems in one call: the value function of the Van der Pol oscillator.

    python -m examples.batch_of_problems [--quick] [--out runs/batch_of_problems]

Solves the bounded oscillator from every point of a grid of initial states, each to its own
convergence, and draws the optimal cost with its gradient, which is the costate at the start:

    256 problems: 256 converged, 7 to 21 iterations
    largest difference between costate and slope of the cost, relative: 0.14
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from ocnet import RK4, solve
from ocnet.plot import axes
from problems.constrained import BoundedVanDerPol


def main() -> None:
    """Solves the grid and draws the value function."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a coarser grid")
    parser.add_argument("--out", type=Path, default=Path("runs/batch_of_problems"))
    options = parser.parse_args()
    side = 16 if options.quick else 64
    line = torch.linspace(-1, 1, side, dtype=torch.float64)
    x0 = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    solution = solve(BoundedVanDerPol().batch(x0), solver=RK4(40))
    least, most = int(solution.iterations.min()), int(solution.iterations.max())
    print(f"{side**2} problems: {int(solution.converged.sum())} converged, ", end="")
    print(f"{least} to {most} iterations")
    slope = torch.gradient(solution.cost, spacing=float(line[1] - line[0]), dim=1)[0]
    inner = (slope[:, 1:-1] - solution.costates[0, :, 1:-1, 0]).abs().max() / slope.abs().max()
    print(f"largest difference between costate and slope of the cost, relative: {inner:.2f}")

    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    ax = axes(figure)
    levels = ax.contourf(line, line, solution.cost, levels=16, cmap="viridis")
    few = slice(side // 16, None, side // 8)
    p = -solution.costates[0]
    ax.quiver(line[few], line[few], p[few, few, 0], p[few, few, 1], color="white", width=4e-3)
    figure.colorbar(levels, ax=ax, label="optimal cost")
    ax.set_xlabel("$x_1(0)$")
    ax.set_ylabel("$x_2(0)$")
    ax.set_title("Optimal cost; arrows: minus the costate", fontsize=10)
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "value.png", dpi=160)


if __name__ == "__main__":
    main()
