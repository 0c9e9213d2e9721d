"""What all pictures share: colours that can be told apart in print and by the colour-blind."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from .._arguments import check_count, check_kind


# M. Okabe and K. Ito, Color Universal Design, 2008; black first, yellow left out (too pale).
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")


def look(index: int) -> dict[str, Any]:
    """Colour and dashes of the line number `index`; both change, so that it can be read in grey."""
    check_count("index", index, least=0)
    return {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index % len(LINES)]}


def axes(figure: Figure, position: int | tuple[int, int, int] = 111) -> Axes:
    """New axes with a light grid and no box."""
    check_kind("figure", figure, Figure)
    new = figure.add_subplot(*position) if isinstance(position, tuple) else figure.add_subplot(111)
    new.grid(visible=True, color="0.9", linewidth=0.6)
    new.set_axisbelow(True)
    new.spines[["top", "right"]].set_visible(False)
    return new


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of each decade, written out: a short logarithmic axis stays readable.

    An axis that spans less than a factor of five has ticks at all digits.
    """
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=range(1, 10) if high < 5 * low else (1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, columns: int = 2) -> None:
    """One legend below all axes, for what the first of them shows."""
    check_kind("figure", figure, Figure)
    check_count("columns", columns)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
