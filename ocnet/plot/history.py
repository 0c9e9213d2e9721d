"""Pictures of training: cost, gradient and learning rate at each step, and the validations."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._arguments import check_all
from ..analysis.runs import RunRecord
from .style import axes, legend_below, look, plain_log_ticks


LABELS = {
    "cost": "cost of the batch",
    "grad_norm": "norm of the gradient",
    "lr": "learning rate",
}


def training(runs: Sequence[RunRecord]) -> Figure:
    """What each step measured: the batches in a pale line, their running mean in a strong one."""
    check_all("runs", runs, RunRecord)
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    for i, (column, label) in enumerate(LABELS.items()):
        ax = axes(figure, (1, 3, i + 1))
        if column != "lr":
            scale(ax, [run.metrics[column] for run in runs])
        for k, run in enumerate(runs):
            steps, line = run.metrics["step"], run.metrics[column]
            smooth = line if column == "lr" else running_mean(line, len(line) // 50)
            if smooth != line:
                ax.plot(steps, line, lw=0.5, alpha=0.25, color=look(k)["color"])
            ax.plot(steps, smooth, lw=1.6, label=run.name, **look(k))
        ax.set(xlabel="step", ylabel=label)
    figure.axes[-1].set_ylim(bottom=0)
    if len(runs) > 1:
        legend_below(figure, min(len(runs), 4))
    return figure


def validation(runs: Sequence[RunRecord]) -> Figure | None:
    """Cost and scores on the validation data, the step of the best model marked."""
    check_all("runs", runs, RunRecord)
    names = list(dict.fromkeys(name for run in runs for name in run.validation if name != "step"))
    if not names:
        return None
    figure = Figure(figsize=(1.5 + 3.6 * len(names), 3.4), layout="constrained")
    for i, name in enumerate(names):
        ax = axes(figure, (1, len(names), i + 1))
        for k, run in enumerate(runs):
            if name not in run.validation:
                continue
            steps, line = run.validation["step"], run.validation[name]
            ax.plot(steps, line, lw=1.6, label=run.name, **look(k))
            best = None if run.result is None else run.result["best_step"]
            if best in steps:
                ax.plot(best, line[steps.index(best)], "o", ms=6, color=look(k)["color"])
        ax.set(xlabel="step", ylabel=f"validation {name}")
        if name == "cost":
            scale(ax, cut(ax, [run.validation.get(name, []) for run in runs]))
    if len(runs) > 1:
        legend_below(figure, min(len(runs), 4))
    return figure


def cut(ax: Axes, lines: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Lets lines that start far above the rest leave the axis; returns what stays on it.

    Lines start like this in a deep network with batch norm, whose statistics mean nothing at first.
    """
    later = [value for line in lines for value in line[1:] if math.isfinite(value)]
    first = max((line[0] for line in lines if len(line)), default=0.0)
    if not later or min(later) <= 0 or first < 100 * max(later):
        return lines
    ax.set_ylim(0.9 * min(later), 1.2 * max(later))
    return [later]


def scale(ax: Axes, lines: Sequence[Sequence[float]]) -> None:
    """A logarithmic axis if the lines are positive and span more than a factor of five."""
    values = [value for line in lines for value in line if math.isfinite(value)]
    if not values or min(values) <= 0 or max(values) < 5 * min(values):
        return
    ax.set_yscale("log")
    if max(values) < 100 * min(values):
        plain_log_ticks(ax.yaxis)


def running_mean(values: Sequence[float], width: int) -> Sequence[float]:
    """The mean of each value and up to `width` before it; the values as they are if `width < 2`."""
    if width < 2:
        return values
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    starts = [max(0, k - width) for k in range(len(values))]
    return [(sums[k + 1] - sums[start]) / (k + 1 - start) for k, start in enumerate(starts)]
