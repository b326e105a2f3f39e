"""The common look of the plots."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pg_agents.analysis.plots.series import Band

# Okabe & Ito's palette, which colour-blind readers can tell apart, without its yellow,
# which is too pale for lines on white.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
# Lines differ in their dashes too: where two coincide, both are seen.
_LINE_STYLES = ("-", "--", ":", "-.")
_GREY = "#555555"
DPI = 120


def new_figure(
    width: float,
    height: float,
    n_panels: int = 1,
    *,
    share: bool = True,
    n_rows: int = 1,
) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, in one row or more.

    Args:
        width: In inches.
        height: In inches.
        n_panels: Number of panels in a row.
        share: Whether they share both axes.
        n_rows: Number of rows.

    Returns:
        The figure and its panels from left to right, row after row.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        n_rows, n_panels, sharex=share, sharey=share, squeeze=False
    )
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GREY)
        axes.tick_params(colors=_GREY)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, list(panels.flat)


def colour(index: int) -> str:
    """Colour of the line with this number."""
    return PALETTE[index % len(PALETTE)]


def line_style(index: int) -> str:
    """Dashes of the line with this number."""
    return _LINE_STYLES[index % len(_LINE_STYLES)]


def draw_band(axes: Axes, band: Band, index: int, label: str) -> None:
    """Draw a mean as a line and one standard deviation around it as a band.

    Args:
        axes: Where to draw.
        band: Mean and standard deviation.
        index: Number of the line, which chooses its colour.
        label: Its name in the legend.
    """
    band = band.thin()
    # A line through one point would not be seen.
    marker = "o" if len(band.x) == 1 else ""
    axes.plot(
        band.x,
        band.mean,
        line_style(index),
        marker=marker,
        color=colour(index),
        lw=1.5,
        label=label,
    )
    low, high = band.mean - band.sd, band.mean + band.sd
    axes.fill_between(band.x, low, high, color=colour(index), alpha=0.25, lw=0)


def count_axis(axes: Axes) -> None:
    """Make the horizontal axis one of whole numbers, 20,000 rather than 20000."""
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True)
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def runs_label(n_runs: int, what: str = "mean") -> str:
    """Legend text that says what line and band are.

    Args:
        n_runs: Number of runs.
        what: What the line is.

    Returns:
        Such as ``"mean ± 1 sd, 10 runs"``; one run has no band to speak of.
    """
    return f"{what} ± 1 sd, {n_runs} runs" if n_runs > 1 else f"{what}, 1 run"


def legend_beside(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Put the legend to the right of all panels, where it hides no line.

    Args:
        figure: The figure.
        axes: The panel whose lines are named.
        title: Heading of the legend.
    """
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside right upper", frameon=False, title=title
    )
    legend.set_alignment("left")
