"""Pictures of what `ocnet regime` finds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._arguments import check_kind
from ..scaling.diagnosis import Diagnosis
from .style import axes, look, plain_log_ticks


FORWARD = r"$\|h_L - h_0\| \,/\, \|h_0\|$"
BACKWARD = r"$\|p_0 - p_L\| \,/\, \|p_L\|$"
FORWARD_AT = r"$\|h_k - h_0\| \,/\, \|h_0\|$"
BACKWARD_AT = r"$\|p_k - p_L\| \,/\, \|p_L\|$"


def diagnosis(found: Diagnosis) -> Figure:
    """The norms and the ratios along the depth, and against the depth if several were measured."""
    check_kind("found", found, Diagnosis)
    several = len(found.depths) > 1
    figure = Figure(figsize=(12.0 if several else 8.4, 3.6), layout="constrained")
    ax = axes(figure, (1, 2 + several, 1))
    for i, (label, log_norm) in enumerate(
        ((r"state $\|h_k\|$", found.log_state), (r"costate $\|p_k\|$", found.log_costate))
    ):
        size = (log_norm - log_norm[0 if i == 0 else -1]).double().exp().numpy()
        ax.plot(np.arange(len(size)), size, label=label, **look(i + 1))
    ax.set(yscale="log", xlabel="layer $k$", ylabel="norm, relative to where it starts")
    at_least_a_decade(ax)
    ax.legend(frameon=False, fontsize=8)
    ax = axes(figure, (1, 2 + several, 2))
    for i, (label, log_ratio) in enumerate(
        ((FORWARD_AT, found.log_forward), (BACKWARD_AT, found.log_backward))
    ):
        size = log_ratio.double().exp().numpy()
        # Where it starts the ratio is zero, which a logarithmic axis does not show.
        shown = slice(1, None) if i == 0 else slice(None, -1)
        ax.plot(np.arange(len(size))[shown], size[shown], label=label, **look(i + 1))
    ax.set(yscale="log", xlabel="layer $k$")
    ax.legend(frameon=False, fontsize=8)
    if several:
        ax = axes(figure, (1, 3, 3))
        fits = (
            (FORWARD, found.forward, found.exponent),
            (BACKWARD, found.backward, found.backward_exponent),
        )
        for i, (label, ratio, q) in enumerate(fits):
            name = rf"{label} $\sim L^{{{q.value:.2f} \pm {q.error:.2f}}}$"
            ax.plot(found.depths, ratio, marker="o", ms=4, label=name, **look(i + 1))
        ax.set(xscale="log", yscale="log", xlabel="depth $L$")
        plain_log_ticks(ax.xaxis)
        at_least_a_decade(ax)
        ax.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{found.name}: {found.regime}", fontsize=11)
    return figure


def at_least_a_decade(ax: Axes) -> None:
    """Lengthens a vertical axis to a decade: on less, noise looks like a trend."""
    bottom, top = ax.get_ylim()
    middle = (bottom * top) ** 0.5
    ax.set_ylim(min(bottom, middle / 10**0.5), max(top, middle * 10**0.5))
