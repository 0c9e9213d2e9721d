"""Pictures of a solution: states, control, costates, and the Hamiltonian along the path."""

import math
from collections.abc import Sequence
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
    """States, control with its bounds, costates and Hamiltonian of one instance of a batch.

    Lines have the names and units that the problem gives. What lies outside the control's bounds is
    grey, and so are the times at which a path constraint acts; the title tells the status.

    Arguments:
        found: The solution.
        instance: Its number in the flattened batch.
    """
    check_kind("found", found, Solution)
    check_count("instance", instance, least=0)
    size = max(1, found.cost.numel())
    if instance >= size:
        raise ValueError(f"instance must be below {size}, but got {instance}.")
    problem = found.batch.problem
    n = found.solver.n
    t = found.trajectory.t.detach().cpu()
    x, u, p = (
        value.detach().cpu().reshape(len(value), size, -1)[:, instance].clone()
        for value in (found.x, found.u, found.costates)
    )
    angles = [i for i, unit in enumerate(problem.control_units) if unit == "rad"]
    u[:, angles] = unwrapped(u[:, angles])
    H = found.hamiltonian.detach().cpu().reshape(n, size)[:, instance]
    figure = Figure(figsize=(9, 5.6), layout="constrained")

    which = f", instance {instance}" if size > 1 else ""
    figure.suptitle(f"{type(problem).__name__}{which}: {found.statuses[instance]}", fontsize=11)

    ax = axes(figure, (2, 2, 1))
    draw_components(ax, t, x, labels("x", x.shape[1], problem.state_names, problem.state_units))
    shade_where_active(ax, found, instance)
    ax.set_ylabel("state $x$")

    ax = axes(figure, (2, 2, 2))
    names = labels("u", u.shape[1], problem.control_names, problem.control_units)
    for i in range(min(SHOWN, u.shape[1])):
        ax.stairs(u[:, i], t, baseline=None, label=names[i], lw=1.6, **stairs(i))
    bounds = problem.control_bounds
    draw_bounds(ax, bounds, tuple(problem.control_shape or ()))
    ax.set_ylabel("control $u$" + (", bounds dotted" if bounds else ""))
    if u.shape[1] > 1 or problem.control_names:
        ax.legend(frameon=False, ncols=SHOWN, fontsize=9)

    ax = axes(figure, (2, 2, 3))
    draw_components(ax, t, p, labels("p", p.shape[1], problem.state_names, ()))
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


def labels(letter: str, size: int, names: Sequence[str], units: Sequence[str]) -> list[str]:
    """What the components of a vector are called, with their units.

    Arguments:
        letter: The letter of a component without a name.
        size: How many components there are.
        names: The names that the problem gives, or none.
        units: The units that the problem gives, or none.
    """
    found = [names[i] if i < len(names) else rf"${letter}_{{{i + 1}}}$" for i in range(size)]
    known = [units[i] if i < len(units) else "" for i in range(size)]
    return [
        f"{name} [{unit}]" if unit and names else name
        for name, unit in zip(found, known, strict=True)
    ]


def draw_components(ax: Axes, t: Tensor, z: Tensor, names: Sequence[str]) -> None:
    """Draws the first components of a vector over time, with a legend.

    Arguments:
        ax: Where to draw.
        t: The times, shape `(time,)`.
        z: The vectors, shape `(time, size)`.
        names: What the components are called.
    """
    for i in range(min(SHOWN, z.shape[1])):
        ax.plot(t, z[:, i], label=names[i], lw=1.6, **look(i))
    ax.legend(frameon=False, ncols=SHOWN, fontsize=9)


def draw_bounds(ax: Axes, bounds: tuple[Any, Any] | None, shape: tuple[int, ...]) -> None:
    """Draws finite bounds of the first components as dotted lines, and what is outside them grey.

    Grey is what lies outside the bounds of all components that are shown.

    Arguments:
        ax: Where to draw.
        bounds: The lower and the upper bounds, numbers or tensors, or None.
        shape: The shape of what they bound.
    """
    if bounds is None:
        return
    low, high = (
        torch.as_tensor(bound).detach().cpu().double().expand(shape).reshape(-1)[:SHOWN]
        for bound in bounds
    )
    for value in sorted({*low.tolist(), *high.tolist()}):
        if math.isfinite(value):
            ax.axhline(value, color="0.6", lw=1, ls=":", zorder=0)
    bottom, top = ax.get_ylim()
    least, most = float(low.min()), float(high.max())
    if math.isfinite(least):
        ax.axhspan(min(bottom, least) - 1e-9, least, color="0.93", lw=0, zorder=-1)
    if math.isfinite(most):
        ax.axhspan(most, max(top, most) + 1e-9, color="0.93", lw=0, zorder=-1)


def shade_where_active(ax: Axes, found: Solution, instance: int) -> None:
    """Colours the steps in which a path constraint acts in grey.

    Arguments:
        ax: Where to draw.
        found: The solution.
        instance: Which instance.
    """
    eta = found.multipliers.path.detach().cpu()
    eta = eta.reshape(len(eta), max(1, found.cost.numel()), -1)[:, instance]
    if eta.numel() == 0 or not float(eta.max()) > 1e-6:
        return
    on = (eta > 1e-4 * eta.max()).any(1)
    t = found.trajectory.t.detach().cpu()
    for k in on.nonzero()[:, 0].tolist():
        ax.axvspan(float(t[k]), float(t[k + 1]), color="0.93", lw=0, zorder=-1)


def unwrapped(angle: Tensor) -> Tensor:
    """Angles over time without jumps by whole turns, most of them between -pi and pi."""
    turn = 2 * math.pi
    turns = (angle.diff(dim=0) / turn).round().cumsum(0)
    angle = torch.cat([angle[:1], angle[1:] - turn * turns])
    return angle - turn * (angle.median(0).values / turn).round()


def stairs(index: int) -> dict[str, Any]:
    """The look of a line, as the arguments that matplotlib's `stairs` takes."""
    style = look(index)
    return {"edgecolor": style["color"], "linestyle": style["linestyle"]}
