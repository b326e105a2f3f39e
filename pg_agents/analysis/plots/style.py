"""The common look of the plots, and saving them."""

import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pg_agents.analysis.curves import CurveBand, evenly_spaced
from pg_agents.common.files import write_file

# Okabe & Ito's palette for colour-blind readers, without yellow, which is too pale for
# lines on white.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
GREY = "#777777"
DASHED = (0, (4, 3))
GRID_COLOUR = "#e6e6e6"
# Dashes keep lines that coincide apart.
_LINE_STYLES = ("-", "--", ":", "-.")
_AXES_COLOUR = "#555555"
_DPI = 120
_MAX_POINTS = 1000
# Distance of two labels, as a share of the panel's height.
_LABEL_GAP = 0.075


def new_figure(
    width: float,
    height: float,
    n_panels: int = 1,
    *,
    share: bool = True,
    n_rows: int = 1,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its panels, row by row.

    Args:
        width: in inches.
        height: in inches.
        n_panels: number of panels in a row.
        share: whether the panels share both axes.
        n_rows: number of rows.
    """
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        n_rows, n_panels, sharex=share, sharey=share, squeeze=False
    )
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_AXES_COLOUR)
        axes.tick_params(colors=_AXES_COLOUR)
        axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, list(panels.flat)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of the file's suffix, atomically.

    Args:
        figure: to save.
        path: in an existing folder.

    Raises:
        OSError: if it can't be written; names `path` and the reason.
    """
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.lstrip(".") or "png", dpi=150)
    write_file(path, content.getvalue())


def colour(index: int) -> str:
    """Returns the colour of the line with this number."""
    return PALETTE[index % len(PALETTE)]


def line_style(index: int) -> str:
    """Returns the dashes of the line with this number."""
    return _LINE_STYLES[index % len(_LINE_STYLES)]


def draw_band(axes: Axes, band: CurveBand, index: int, label: str) -> None:
    """Draws a curve and the band around it.

    Args:
        axes: to draw on.
        band: the curve; points beyond a thousand are thinned out.
        index: number of the curve, which chooses its colour and dashes.
        label: in the legend.
    """
    shown = evenly_spaced(len(band.x), _MAX_POINTS)
    x, middle, low, high = (values[shown] for values in band)
    axes.fill_between(x, low, high, color=colour(index), alpha=0.22, lw=0)
    axes.plot(
        x,
        middle,
        line_style(index),
        # A line through one point is invisible.
        marker="o" if len(x) == 1 else "",
        color=colour(index),
        lw=1.8,
        label=label,
    )


def best_line(axes: Axes, value: float) -> None:
    """Draws a line at the best possible value, with its label on the left."""
    axes.axhline(value, color=GREY, lw=1.0, ls=DASHED, zorder=1)
    axes.annotate(
        f"best possible: {value:g}",
        (0.01, value),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 5),
        textcoords="offset points",
        color=GREY,
        fontsize="small",
        # Lines, bands and dots behind it would make it hard to read.
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def label_ends(axes: Axes, names: Sequence[str]) -> None:
    """Labels the first lines of a panel at their right ends, so that none is hidden.

    Labels of lines that end at the same value are moved apart.

    Args:
        axes: with its limits set.
        names: of the lines, in the order in which they were drawn.
    """
    low, high = axes.get_ylim()
    drawn = axes.get_lines()
    lines = [line for line in drawn if not str(line.get_label()).startswith("_")]
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in lines[: len(names)]]
    heights = [(end - low) / (high - low) for end in ends]
    order = sorted(range(len(names)), key=lambda i: heights[i])
    for before, after in pairwise(order):
        heights[after] = max(heights[after], heights[before] + _LABEL_GAP)
    # Pushed beyond the top, they move down together.
    limit = 1.0
    for i in reversed(order):
        heights[i] = min(heights[i], limit)
        limit = heights[i] - _LABEL_GAP
    for name, height, line in zip(names, heights, lines, strict=False):
        x, y = (float(np.asarray(data)[-1]) for data in line.get_data())
        axes.annotate(
            name,
            (x, y),
            (1.03, height),
            textcoords="axes fraction",
            annotation_clip=False,
            color=line.get_color(),
            va="center",
            fontsize="small",
            # To the line's end, from which a label may have been moved away.
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "lw": 0.8,
                "shrinkA": 2,
                "shrinkB": 2,
            },
        )


def set_title(figure: Figure, title: str | None, n_runs: int, note: str = "") -> None:
    """Writes the title of a figure, the number of runs, and a note below it."""
    runs = "1 run" if n_runs == 1 else f"{n_runs} runs"
    text = f"{title}, {runs}" if title else ""
    lines = [line for line in (text, note) if line]
    if lines:
        figure.suptitle("\n".join(lines), fontsize="medium")


def count_axis(axes: Axes) -> None:
    """Labels the horizontal axis with integers such as 20,000."""
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True)
    )
    _group_thousands(axes)


def score_axis(axes: Axes) -> None:
    """Labels the horizontal axis with returns, which may be fractions."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    _group_thousands(axes)


def legend_beside(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Puts the legend of a panel right of all panels: no line or title is hidden."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside right center", frameon=False, title=title
    )
    legend.set_alignment("left")


def _group_thousands(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
