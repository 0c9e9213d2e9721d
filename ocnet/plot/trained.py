"""The picture of what training did to the weights over depth."""

import numpy as np
from matplotlib.figure import Figure

from .._arguments import check_kind
from ..scaling import TrainingEffect
from .scaling import at_least_a_decade
from .style import axes, legend_below, look, plain_log_ticks


def training_effect(effect: TrainingEffect) -> Figure:
    """Sizes and increments against the layer, before and after; against the depth if several."""
    check_kind("effect", effect, TrainingEffect)
    exponents = effect.exponents()
    columns = 2 + bool(exponents)
    figure = Figure(figsize=(4.0 * columns, 3.8), layout="constrained")
    deepest = int(np.argmax(effect.depths))
    panels = (("sizes", r"rms of $V_k$"), ("increments", r"rms of $V_{k+1} - V_k$"))
    for column, (name, label) in enumerate(panels):
        ax = axes(figure, (1, columns, column + 1))
        for i, when in enumerate(("before", "after")):
            values = getattr(getattr(effect, when)[deepest], name).numpy()
            k = np.arange(1, len(values) + 1)
            ax.plot(k, values, lw=1.0, label=f"{when} training", **look(i + 1))
        ax.set(xlabel="layer $k$", ylabel=label)
        ax.set_ylim(bottom=0)
    if exponents:
        ax = axes(figure, (1, columns, 3))
        for i, name in enumerate(("smooth", "noise")):
            values = [getattr(p, name) for p in effect.after]
            q = exponents[name][1]
            label = rf"{name}, after: $L^{{{q.value:.2f} \pm {q.error:.2f}}}$"
            ax.plot(effect.depths, values, marker="o", ms=4, label=label, **look(i + 3))
        ax.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="rms of the part")
        plain_log_ticks(ax.xaxis)
        at_least_a_decade(ax)
        ax.legend(frameon=False, fontsize=8)
    legend_below(figure)
    before, after = effect.before[deepest], effect.after[deepest]
    figure.suptitle(
        f"depth {effect.depths[deepest]}: Hurst index {before.hurst} before, {after.hurst} after",
        fontsize=10,
    )
    return figure
