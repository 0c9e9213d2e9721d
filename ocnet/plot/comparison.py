"""Pictures of a comparison: trajectories, control, and what each solver's accuracy costs."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._arguments import check_all, check_kind
from ..analysis.comparison import Comparison
from ..certificate import CLOSE
from ..learning import History
from .style import axes, COLORS, legend_below, look, plain_log_ticks


NOISE = 1e-13
"""Anything below this share of a path's range is rounding."""


def trajectories(comparison: Comparison) -> Figure | None:
    """The first sample's state under every solver; None if no state keeps its shape."""
    check_kind("comparison", comparison, Comparison)
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


def controls(comparison: Comparison) -> Figure | None:
    """The control over time, at most four components; None for layers and policies."""
    check_kind("comparison", comparison, Comparison)
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
    """The largest gap on the path against wall time and evaluations, several points a solver."""
    check_kind("comparison", comparison, Comparison)
    points = [p for p in comparison.points if 0 < p.path_gap < 1e3 and math.isfinite(p.seconds)]
    families = list(dict.fromkeys(point.family for point in points))
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    labels = ("time for cost and gradient (ms)", "evaluations of $f$")
    for position, label in enumerate(labels, 1):
        ax = axes(figure, (1, 2, position))
        for i, name in enumerate(families):
            own = [p for p in points if p.family == name]
            effort = [1e3 * p.seconds if position == 1 else p.evaluations for p in own]
            style: dict[str, Any] = {"marker": "osD^vPX*"[i % 8], "ms": 5, "lw": 1.2, **look(i)}
            ax.plot(effort, [p.path_gap for p in own], label=name, **style)
        close_line(ax)
        ax.set(xscale="log", yscale="log", xlabel=label)
        ax.margins(0.1)
        plain_log_ticks(ax.xaxis)
    figure.axes[0].set_ylabel("largest gap / range of the path")
    legend_below(figure, columns=4)
    return figure


def differences(comparison: Comparison) -> Figure | None:
    """The difference to the reference along the path; None if there is no reference.

    The line is the worst sample's, the shade reaches from the median to the 95% quantile.
    """
    check_kind("comparison", comparison, Comparison)
    shown = [d for d in comparison.differences if any(0 < off < math.inf for off in d.worst)]
    if not shown:
        return None
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    ax = axes(figure)
    drawable = lambda values: [v if 0 < v < math.inf else math.nan for v in values]
    doubt = comparison.certificate and comparison.certificate.disagreement
    references = {row.solver for row in comparison.rows if row.is_reference}
    for i, difference in enumerate(shown):
        worst, most, median = map(drawable, (difference.worst, difference.most, difference.median))
        label = difference.solver + " *" * (difference.solver in references)
        ax.plot(difference.t, worst, lw=1.4, label=label, **look(i))
        if worst != median:
            color = COLORS[i % len(COLORS)]
            ax.fill_between(difference.t, median, most, color=color, alpha=0.15, lw=0)
    close_line(ax)
    ax.set(yscale="log", xlabel="time $t$", ylabel="gap / range of the path")
    if doubt and NOISE < doubt < math.inf:
        ax.axhspan(NOISE, doubt, color="0.93", lw=0, label="the references disagree", zorder=0)
    ax.set_ylim(bottom=max(NOISE, ax.get_ylim()[0]))
    legend_below(figure)
    return figure


def close_line(ax: Axes) -> None:
    """The line below which a gap counts as close."""
    ax.axhline(CLOSE, color="0.5", lw=0.9, ls=":")
    ax.annotate(
        f"{CLOSE:.0%}", (1, CLOSE), xycoords=("axes fraction", "data"), xytext=(-2, 2),
        textcoords="offset points", ha="right", fontsize=8, color="0.4",
    )  # fmt: skip


def histories(histories: dict[str, History]) -> Figure:
    """The cost at each step of training, one line a history."""
    check_kind("histories", histories, dict)
    check_all("histories", histories, History)
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    ax = axes(figure)
    for i, (label, measured) in enumerate(histories.items()):
        ax.plot(measured.cost, lw=1.4, label=label, **look(i))
    ax.set_xlabel("training step")
    ax.set_ylabel("cost $J$")
    costs = [cost for measured in histories.values() for cost in measured.cost]
    if costs and min(costs) > 0:
        ax.set_yscale("log")
    if len(histories) > 1:
        ax.legend(frameon=False, fontsize=8, title="Euler")
    return figure
