"""Pictures of a comparison: trajectories, control, and what each solver's accuracy costs."""

import math
from typing import Any

from matplotlib.figure import Figure

from ..analysis.comparison import Comparison
from ..train import History
from .style import axes, COLORS, legend_below, look, plain_log_ticks


def trajectories(comparison: Comparison) -> Figure | None:
    """The first sample's state under every solver; None if no state keeps its shape."""
    curves = [c for c in comparison.curves if c.t]
    if not curves:
        return None
    shown = min(len(curves[0].x[0]), 4)
    columns = min(shown, 2)
    rows = math.ceil(shown / columns)
    figure = Figure(figsize=(4.2 * columns, 2.4 * rows + 0.8), layout="constrained")
    for i in range(shown):
        ax = axes(figure, (rows, columns, i + 1))
        for j, curve in enumerate(curves):
            ax.plot(curve.t, [x[i] for x in curve.x], label=curve.solver, lw=1.6, **look(j))
        ax.set_ylabel(rf"$x_{{{i + 1}}}$")
        ax.set_xlabel("time $t$")
    legend_below(figure)
    return figure


def control(comparison: Comparison) -> Figure | None:
    """The control over time, at most four components; None for layers and policies."""
    t, u = comparison.control
    if not t:
        return None
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    ax = axes(figure)
    for i in range(min(len(u[0]), 4)):
        ax.plot(t, [value[i] for value in u], lw=1.6, label=rf"$u_{{{i + 1}}}$", **look(i))
    ax.set_xlabel("time $t$")
    ax.set_ylabel("control $u$")
    if len(u[0]) > 1:
        ax.legend(frameon=False, ncols=4, fontsize=8)
    return figure


def work_precision(comparison: Comparison) -> Figure:
    """The error of the final state against wall time and against evaluations of the field."""
    rows = [row for row in comparison.rows if row.state_error > 0 and math.isfinite(row.seconds)]
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    works = (
        ("time for cost and gradient (ms)", [1e3 * row.seconds for row in rows]),
        ("evaluations of $f$", [float(row.evaluations) for row in rows]),
    )
    for position, (label, work) in enumerate(works, 1):
        ax = axes(figure, (1, 2, position))
        for i, (row, effort) in enumerate(zip(rows, work, strict=True)):
            style: dict[str, Any] = {"marker": "osD^vPX*"[i % 8], "color": COLORS[i % len(COLORS)]}
            ax.plot(effort, row.state_error, ls="", ms=7, label=row.solver, **style)
        ax.set(xscale="log", yscale="log", xlabel=label)
        ax.margins(0.15)
        plain_log_ticks(ax.xaxis)
    figure.axes[0].set_ylabel(r"$\max\,|x(T) - x_\mathrm{ref}(T)|$")
    legend_below(figure)
    return figure


def history(histories: dict[str, History]) -> Figure:
    """The cost at each step of training, one line a history."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    ax = axes(figure)
    for i, (label, measured) in enumerate(histories.items()):
        ax.plot(measured.cost, lw=1.4, label=label, **look(i))
    ax.set_xlabel("training step")
    ax.set_ylabel("cost $J$")
    if min(min(measured.cost) for measured in histories.values()) > 0:
        ax.set_yscale("log")
    if len(histories) > 1:
        ax.legend(frameon=False, fontsize=8, title="Euler")
    return figure
