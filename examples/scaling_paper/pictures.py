"""Pictures of the studies."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from ocnet.plot import axes, BACKWARD, COLORS, FORWARD, legend_below, look
from ocnet.scaling import displacement_limit, LimitComparison, log_norm_limit


Arrays = Mapping[str, np.ndarray]

DATA_NAMES = {"digits": "the digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}
MAP_LIMIT = 3
"""Colours of the regime map end at ratios of `10**-3` and `10**3`."""


def depth_ratios(arrays: Arrays, direction: str) -> Figure:
    """A ratio against the depth, a panel for each scaling.

    Arguments:
        arrays: Those of a `DepthStudy`.
        direction: Which ratio, "forward" or "backward".
    """
    depths, betas = arrays["depths"], arrays["betas"]
    figure = Figure(figsize=(3.0 * len(betas) + 0.4, 3.4), layout="constrained")
    for j, beta in enumerate(betas):
        ax = axes(figure, (1, len(betas), j + 1))
        log_ratio = arrays[f"log10_{direction}"][:, :, j]
        low, median, high = 10 ** np.quantile(log_ratio, [0.05, 0.5, 0.95], axis=1)
        rms = np.sqrt(np.mean(10 ** (2 * log_ratio), axis=1))
        ax.fill_between(depths, low, high, color=COLORS[1], alpha=0.2, lw=0, label="5% to 95%")
        ax.plot(depths, median, lw=1.6, label="median", color=COLORS[1])
        ax.plot(depths, rms, ls="", marker="o", ms=3.5, label="root mean square", color=COLORS[2])
        theory = arrays[f"predicted_{direction}"][:, j]
        ax.plot(depths, theory, label="theory of the root mean square", lw=1.2, **look(0))
        if np.isnan(theory).all():
            where = {"x": 0.05, "y": 0.9, "transform": ax.transAxes}
            ax.text(**where, s="no theory: not first order", fontsize=8, color="0.4")
        ax.set(xscale="log", yscale="log", xlabel="depth $L$", title=rf"$\beta = {beta:g}$")
        # Without it an axis of a fraction of a decade makes noise look like a trend.
        middle = math.sqrt(math.prod(ax.get_ylim()))
        bottom, top = ax.get_ylim()
        ax.set_ylim(min(bottom, middle / 10), max(top, middle * 10))
    figure.axes[0].set_ylabel(FORWARD if direction == "forward" else BACKWARD)
    figure.suptitle(str(arrays["title"]), fontsize=10)
    legend_below(figure, columns=4)
    return figure


def histograms(arrays: Arrays) -> Figure:
    """The laws of the norm ratios at `beta = 1/2`, with the limit law of the forward one.

    Arguments:
        arrays: Those of a `HistogramStudy`.
    """
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    d, depth = int(arrays["d"]), int(arrays["depth"])
    panels = (
        ("log_growth", r"$\|h_L\| \,/\, \|h_0\|$"),
        ("log_backward_growth", r"$\|p_0\| \,/\, \|p_L\|$"),
    )
    for position, (name, label) in enumerate(panels, 1):
        ax = axes(figure, (1, 2, position))
        ratio = np.exp(arrays[name].astype(float))
        ax.hist(ratio, bins=60, density=True, color=COLORS[6], label=f"{len(ratio):,} networks")
        if name == "log_growth":
            mean, variance = log_norm_limit(d)
            r = np.linspace(ratio.min(), ratio.max(), 400)
            # The density of r where log r^2 is normal.
            z = (2 * np.log(r) - mean) / math.sqrt(variance)
            density = 2 / r * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi * variance)
            ax.plot(r, density, lw=1.4, label=r"limit law, $L \to \infty$", **look(0))
        rms = math.sqrt(np.mean(ratio**2))
        ax.axvline(rms, lw=1.2, label=f"root mean square {rms:.3f}", **look(2))
        ax.set_xlabel(label)
        ax.legend(frameon=False, fontsize=8)
    one_range(figure.axes)
    figure.axes[0].set_ylabel("density")
    limit = math.sqrt(1 + displacement_limit(depth, 0.5))
    figure.suptitle(
        f"{arrays['title']}\n" rf"root mean square as $L \to \infty$: {limit:.3f}", fontsize=10
    )
    return figure


def paths(arrays: Arrays) -> Figure:
    """Fractional Brownian motion and its increments, a column for each Hurst index.

    Arguments:
        arrays: Those of a `PathStudy`.
    """
    count = len(arrays["hurst"])
    figure = Figure(figsize=(2.9 * count + 0.4, 4.2), layout="constrained")
    for j, H in enumerate(arrays["hurst"]):
        motion, noise = arrays["motion"][j], arrays["noise"][j]
        t = np.arange(1, len(motion) + 1) / len(motion)
        top, bottom = axes(figure, (2, count, j + 1)), axes(figure, (2, count, count + j + 1))
        top.plot(np.r_[0, t], np.r_[0, motion], lw=1.0, color=COLORS[1])
        top.set_title(rf"$H = {H:g}$")
        bottom.plot(t, noise, lw=0.5, color=COLORS[0])
        bottom.set(xlabel="layer $k / L$")
    one_range(figure.axes[::2])
    one_range(figure.axes[1::2])
    figure.axes[0].set_ylabel("motion $B^H$")
    figure.axes[1].set_ylabel("increments, variance 1")
    figure.suptitle(str(arrays["title"]), fontsize=10)
    return figure


def regime_map(arrays: Arrays) -> Figure:
    """The mean of `log10` of both ratios over Hurst index and scaling, with the critical lines.

    Arguments:
        arrays: Those of a `MapStudy`.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    H, betas = arrays["hurst"], arrays["betas"]
    images = []
    panels = (
        ("log10_forward", FORWARD, lambda h: h, r"limit $L \to \infty$: $\beta = \max(1/2, H)$"),
        (
            "log10_backward",
            BACKWARD,
            lambda h: 2 * h - 1,
            r"limit $L \to \infty$: $\beta = \max(1/2, 2H - 1)$",
        ),
    )
    # Finer than the map, so that the corner looks like one.
    fine = np.linspace(H[0], H[-1], 1000)
    for position, (name, label, critical, formula) in enumerate(panels, 1):
        ax = figure.add_subplot(1, 2, position)
        images.append(heat(ax, betas, H, arrays[name]))
        lines = ax.contour(
            betas, H, arrays[name], levels=[-1, 0, 1], colors="0.3", linewidths=0.8, linestyles=":"
        )
        ax.clabel(lines, fmt="%d", fontsize=8)
        ax.plot(np.maximum(0.5, critical(fine)), fine, lw=1.6, label=formula, **look(0))
        ax.set(title=label, xlabel=r"scaling $\beta$", xlim=(betas[0], betas[-1]))
        ax.legend(fontsize=8, loc="upper left")
    figure.axes[0].set_ylabel("Hurst index $H$")
    figure.suptitle(str(arrays["title"]), fontsize=10)
    figure.colorbar(
        images[0], ax=figure.axes, extend="both", label=r"mean $\log_{10}$ of the ratio"
    )
    return figure


def one_range(some: Sequence[Axes]) -> None:
    """The same range on both axes of panels that are compared."""
    for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        ends = [getattr(ax, get)() for ax in some]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        for ax in some:
            getattr(ax, put)(low, high)


def heat(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> QuadMesh:
    """A map of ratios: white where the state changes as much as it is large, colour-blind safe."""
    ends = Normalize(-MAP_LIMIT, MAP_LIMIT)
    return ax.pcolormesh(x, y, values, cmap="RdBu_r", shading="nearest", norm=ends)


def trained_weights(arrays: Arrays, data: str) -> Figure:
    """One entry of the weights against the depth, before and after training.

    Arguments:
        arrays: Those of a `WeightStudy`.
        data: The name of the data set.
    """
    labels = arrays["labels"]
    figure = Figure(figsize=(3.0 * len(labels) + 0.4, 3.2), layout="constrained")
    for j, label in enumerate(labels):
        ax = axes(figure, (1, len(labels), j + 1))
        before, after = arrays["before"][j], arrays["after"][j]
        k = np.arange(1, len(before) + 1)
        ax.plot(k, before, lw=0.8, color=COLORS[6], label="before training")
        ax.plot(k, after, lw=0.8, color=COLORS[2], label="after training")
        accuracy = f"test accuracy {arrays['accuracy'][j]:.1%} on {DATA_NAMES[data]}"
        ax.set(title=f"{label}\n{accuracy}", xlabel="layer $k$")
        ax.title.set_fontsize(9)
    one_range(figure.axes)
    figure.axes[0].set_ylabel("an entry of $V_k$")
    figure.suptitle(str(arrays["title"]), fontsize=10)
    legend_below(figure)
    return figure


def accuracy_map(arrays: Arrays, data: str) -> Figure:
    """Test accuracy over scaling and Hurst index, the learning rate chosen on a validation split.

    Arguments:
        arrays: Those of a `GridStudy`, after `chosen`.
        data: The name of the data set.
    """
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    ax = figure.add_subplot()
    H, betas = arrays["hurst"], arrays["betas"]
    image = ax.pcolormesh(
        betas, H, arrays["accuracy"], cmap="viridis", shading="nearest", vmin=0, vmax=1
    )
    lines = (
        ("contour", r"theory: $\|h_L - h_0\| = \|h_0\|$ at this depth"),
        ("limit", r"limit $L \to \infty$: $\beta = \max(1/4, H)$"),
    )
    for i, (name, label) in enumerate(lines):
        (line,) = ax.plot(arrays[name], H, lw=1.4, label=label, **look(i))
        # Seen on the dark end of the colours too.
        line.set_path_effects([withStroke(linewidth=3, foreground="white")])
    for row, h in enumerate(H):
        for column, beta in enumerate(betas):
            value = arrays["accuracy"][row, column]
            text = "div." if np.isnan(value) else f"{100 * value:.0f}"
            color = "0.85" if value <= 0.6 else "black"
            place = {"x": beta, "y": h, "ha": "center", "va": "center"}
            # Above the lines.
            ax.text(**place, s=text, fontsize=7, color=color, zorder=5)
    ax.set(xlabel=r"scaling $\beta$", ylabel="Hurst index $H$")
    figure.suptitle(textwrap.fill(str(arrays["title"]), 60), fontsize=9)
    legend_below(figure, columns=1)
    bar = figure.colorbar(image, ax=ax, label=f"test accuracy on {DATA_NAMES[data]}, %")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return figure


def limit(comparisons: Mapping[str, LimitComparison]) -> Figure:
    """The distance from the limit against the depth, a line for each comparison."""
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    ax = axes(figure)
    for i, (label, comparison) in enumerate(comparisons.items()):
        name = f"{label}: slope {comparison.slope:.2f}"
        ax.plot(comparison.depths, comparison.errors, marker="o", ms=4, label=name, **look(i))
        for slope, dashes in ((-1.0, ":"), (-0.5, "--")):
            # Through the first point: what a network that falls like this would do.
            depths = np.array(comparison.depths, dtype=float)
            guide = comparison.errors[0] * (depths / depths[0]) ** slope
            label = None if i else f"slope {slope:g}"
            ax.plot(depths, guide, lw=0.8, color="0.6", ls=dashes, label=label)
    ax.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel=r"$\max_k \|h_k - H(k/L)\|$")
    ax.legend(frameon=False, fontsize=8)
    return figure
