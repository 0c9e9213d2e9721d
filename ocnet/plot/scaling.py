"""Pictures of what `ocnet regime` finds."""

import numpy as np
from matplotlib.figure import Figure

from .._arguments import check_kind
from ..scaling.diagnosis import Diagnosis
from .style import axes, look, plain_log_ticks


FORWARD = r"$\|h_L - h_0\| \,/\, \|h_0\|$"
BACKWARD = r"$\|p_0 - p_L\| \,/\, \|p_L\|$"


def diagnosis(found: Diagnosis) -> Figure:
    """The norms along the depth, and the ratios against the depth if several were measured."""
    check_kind("found", found, Diagnosis)
    several = len(found.depths) > 1
    figure = Figure(figsize=(8.4 if several else 4.6, 3.4), layout="constrained")
    ax = axes(figure, (1, 1 + several, 1))
    for i, (label, log_norm) in enumerate(
        ((r"state $\|h_k\|$", found.log_state), (r"costate $\|p_k\|$", found.log_costate))
    ):
        size = log_norm.double().exp().numpy()
        ax.plot(np.arange(len(size)), size / size[0 if i == 0 else -1], label=label, **look(i + 1))
    ax.set(yscale="log", xlabel="layer $k$", ylabel="norm, relative to where it starts")
    ax.legend(frameon=False, fontsize=8)
    if several:
        ax = axes(figure, (1, 2, 2))
        for i, (label, ratio) in enumerate(((FORWARD, found.forward), (BACKWARD, found.backward))):
            ax.plot(found.depths, ratio, marker="o", ms=4, label=label, **look(i + 1))
        ax.set(xscale="log", yscale="log", xlabel="layers $L$")
        plain_log_ticks(ax.xaxis)
        ax.legend(frameon=False, fontsize=8)
    figure.suptitle(f"regime: {found.regime}", fontsize=11)
    return figure
