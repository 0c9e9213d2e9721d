"""Pictures of networks along their depth: outputs, their changes, weights, the turnpike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._arguments import check_all
from ..analysis.depth import DepthProfile
from .style import axes, legend_below, look, plain_log_ticks


DEPTH = "depth $k$ (blocks)"


def depth_outputs(profiles: Mapping[str, DepthProfile]) -> Figure:
    """Loss and accuracy of every intermediate output, one line a network."""
    check_all("profiles", profiles, DepthProfile)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    loss, accuracy = (axes(figure, (1, 2, i)) for i in (1, 2))
    for i, (name, profile) in enumerate(profiles.items()):
        k = np.arange(profile.depth + 1)
        loss.plot(k, profile.loss, label=name, lw=1.6, **look(i), **dots(k))
        accuracy.plot(k, 100 * profile.accuracy, lw=1.6, **look(i), **dots(k))
    loss.set(xlabel=DEPTH, ylabel=r"loss $L(\hat y_k)$", yscale="log")
    plain_log_ticks(loss.yaxis)
    accuracy.set(xlabel=DEPTH, ylabel=r"accuracy of $\hat y_k$ (%)")
    finish(figure)
    return figure


def depth_changes(profiles: Mapping[str, DepthProfile]) -> Figure:
    """What each block changes in the output, and the norm of its weights."""
    check_all("profiles", profiles, DepthProfile)
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    change, weights = (axes(figure, (1, 2, i)) for i in (1, 2))
    for i, (name, profile) in enumerate(profiles.items()):
        k = np.arange(profile.depth)
        change.plot(k, profile.change, label=name, lw=1.6, **look(i), **dots(k))
        weights.plot(k, profile.weights, lw=1.6, **look(i), **dots(k))
    change.set(xlabel=DEPTH, ylabel=r"$|\hat y_{k+1} - \hat y_k|$", yscale="log")
    plain_log_ticks(change.yaxis)
    weights.set(xlabel=DEPTH, ylabel=r"$|w_{F,k}|$")
    weights.set_ylim(bottom=0)
    finish(figure)
    return figure


def turnpike(profiles: Mapping[str, DepthProfile]) -> Figure:
    """The distance to the steady state, with the fitted exponential (thin) where there is one."""
    check_all("profiles", profiles, DepthProfile)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = axes(figure)
    for i, (name, profile) in enumerate(profiles.items()):
        k = np.arange(profile.depth)
        fit = profile.turnpike
        label = name if fit is None else f"{name} (thin: fitted rate {fit.rate:.3g})"
        ax.plot(k, profile.distance[:-1], label=label, lw=1.6, **look(i), **dots(k))
        if fit is not None:
            ax.plot(k, fit.factor * np.exp(-fit.rate * k), lw=0.8, color=look(i)["color"])
    ax.set(xlabel=DEPTH, ylabel="distance to $x_N$, relative", yscale="log")
    plain_log_ticks(ax.yaxis)
    finish(figure)
    return figure


def dots(k: np.ndarray) -> dict[str, Any]:
    """A dot for each block of a shallow network, whose line may be a single point."""
    return {"marker": "o", "ms": 3.5} if len(k) < 10 else {}


def finish(figure: Figure) -> None:
    """Whole numbers on the depth axis, and one legend below."""
    for ax in figure.axes:
        whole(ax)
    legend_below(figure)


def whole(ax: Axes) -> None:
    """Ticks at whole numbers only, one at a single point."""
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # pyright: ignore
