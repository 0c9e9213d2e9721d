"""Pictures of a solution: states, control, costates, and the Hamiltonian along the path."""

import math
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .._arguments import check_count, check_kind
from ..direct import Solution
from .style import axes, look


SHOWN = 4
"""How many components of a state or control one picture shows."""


def solution(found: Solution, instance: int = 0) -> Figure:
    """States, control with its bounds, costates and Hamiltonian of one instance of a batch."""
    check_kind("found", found, Solution)
    check_count("instance", instance, least=0)
    size = max(1, found.cost.numel())
    n = found.solver.n
    t = found.trajectory.t.detach().cpu()
    x, u, p = (
        value.detach().cpu().reshape(len(value), size, -1)[:, instance].clone()
        for value in (found.x, found.u, found.costates)
    )
    angles = [i for i, unit in enumerate(found.batch.problem.control_units) if unit == "rad"]
    u[:, angles] = unwrapped(u[:, angles])
    H = found.hamiltonian.detach().cpu().reshape(n, size)[:, instance]
    figure = Figure(figsize=(9, 5.6), layout="constrained")

    ax = axes(figure, (2, 2, 1))
    draw_components(ax, t, x, "x")
    ax.set_ylabel("state $x$")

    ax = axes(figure, (2, 2, 2))
    for i in range(min(SHOWN, u.shape[1])):
        ax.stairs(u[:, i], t, baseline=None, label=rf"$u_{{{i + 1}}}$", lw=1.6, **stairs(i))
    bounds = found.batch.problem.control_bounds
    for bound in bounds or ():
        if isinstance(bound, (int, float)) and abs(bound) != float("inf"):
            ax.axhline(bound, color="0.6", lw=1, ls=":", zorder=0)
    ax.set_ylabel("control $u$" + (", bounds dotted" if bounds else ""))
    if u.shape[1] > 1:
        ax.legend(frameon=False, ncols=SHOWN, fontsize=9)

    ax = axes(figure, (2, 2, 3))
    draw_components(ax, t, p, "p")
    ax.set_ylabel("costate $p$")

    ax = axes(figure, (2, 2, 4))
    ax.plot((t[1:] + t[:-1]) / 2, H, lw=1.6, **look(0))
    ax.set_ylabel(r"Hamiltonian $l + p \cdot f$")
    # Rounding must not look like a change: the axis spans at least a thousandth of the values.
    middle, least = float(H.mean()), 1e-3 * max(1e-6, float(H.abs().max()), float(p.abs().max()))
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, middle - least), max(high, middle + least))
    ax.ticklabel_format(axis="y", useOffset=False)
    for ax in figure.axes[2:]:
        ax.set_xlabel("time $t$")
    return figure


def draw_components(ax: Axes, t: Tensor, z: Tensor, letter: str) -> None:
    """Draws the first components of a vector over time, with a legend.

    Arguments:
        ax: Where to draw.
        t: The times, shape `(time,)`.
        z: The vectors, shape `(time, size)`.
        letter: What the vector is called.
    """
    for i in range(min(SHOWN, z.shape[1])):
        ax.plot(t, z[:, i], label=rf"${letter}_{{{i + 1}}}$", lw=1.6, **look(i))
    ax.legend(frameon=False, ncols=SHOWN, fontsize=9)


def unwrapped(angle: Tensor) -> Tensor:
    """Angles over time without jumps by whole turns, most of them between -pi and pi."""
    turn = 2 * math.pi
    turns = (angle.diff(dim=0) / turn).round().cumsum(0)
    angle = torch.cat([angle[:1], angle[1:] - turn * turns])
    return angle - turn * (angle.median(0).values / turn).round()


def stairs(index: int) -> dict[str, Any]:
    """The look of a line, in the words that steps understand."""
    style = look(index)
    return {"edgecolor": style["color"], "linestyle": style["linestyle"]}
