"""Pictures of pruning and of loss bounds, over the depth that is kept."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from .._arguments import check_all, check_kind
from ..analysis.bounds import Bounds
from ..analysis.pruning import Pruning
from ..analysis.removal import Removal
from .depth import whole
from .style import axes, legend_below, look, plain_log_ticks


def pruning_depths(pruning: Pruning) -> Figure:
    """The validation accuracy of every depth, the tolerance, and the depth that is kept."""
    check_kind("pruning", pruning, Pruning)
    accuracy = 100 * pruning.validation.accuracy
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    ax = axes(figure)
    ax.plot(accuracy, lw=1.6, marker="o", ms=3.5, label="SubResNet-$M$", **look(0))
    least = accuracy[-1] - pruning.tolerance
    ax.axhline(least, lw=1.2, label=f"within {pruning.tolerance:g} points", **look(1))
    ax.axvline(pruning.m, lw=1.2, label=f"kept: $M = {pruning.m}$", **look(2))
    ax.set(xlabel="depth $M$ (blocks)", ylabel="validation accuracy (%)")
    whole(ax)
    legend_below(figure, columns=3)
    return figure


def removals(found: Mapping[str, Removal]) -> Figure:
    """The accuracy while blocks go, one line for each way to choose them."""
    check_all("found", found, Removal)
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    ax = axes(figure)
    for i, (name, removal) in enumerate(found.items()):
        measured = removal.accuracy if removal.test is None else removal.test
        ax.plot(100 * measured, lw=1.6, marker="o", ms=3.5, label=name, **look(i))
    ax.set(xlabel="removed blocks", ylabel="accuracy (%)")
    whole(ax)
    legend_below(figure, columns=3)
    return figure


def removal_table(found: Mapping[str, Removal], tablefmt: str = "simple") -> str:
    """One row for each number of removed blocks: the accuracy, on test data if there are any."""
    check_all("found", found, Removal)
    measured = [r.accuracy if r.test is None else r.test for r in found.values()]
    rows = [(count, *row) for count, row in enumerate(100 * np.transpose(measured))]
    return tabulate(rows, ["removed", *found], tablefmt=tablefmt, floatfmt=".2f")


def bounds(found: Bounds) -> Figure:
    """Both bounds over the depth of the shallow network, next to what they bound."""
    check_kind("found", found, Bounds)
    m = [row.m for row in found.rows]
    pairs = [("objective $J_N$", [row.objective for row in found.rows], found.objective)]
    averages = [row.average for row in found.rows if row.average is not None]
    if averages:
        pairs.append(("mean loss of all outputs", averages, found.average))
    figure = Figure(figsize=(4.2 * len(pairs), 3.4), layout="constrained")
    for i, (label, values, bounded) in enumerate(pairs, 1):
        ax = axes(figure, (1, len(pairs), i))
        ax.plot(m, values, lw=1.6, marker="o", ms=3.5, label="bound from $M$ blocks", **look(0))
        ax.axhline(bounded, lw=1.4, label="deep network", **look(1))
        ax.set(xlabel="depth $M$ (blocks)", ylabel=label, yscale="log")
        plain_log_ticks(ax.yaxis)
        whole(ax)
    legend_below(figure)
    return figure
