"""Plots that compare groups of finished runs by robust statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from pg_agents.analysis.curves import Curves
from pg_agents.analysis.networks import NetworkGrid
from pg_agents.analysis.plots.style import (
    DASHED,
    GREY,
    GRID_COLOUR,
    colour,
    count_axis,
    draw_band,
    legend_beside,
    line_style,
    new_figure,
    score_axis,
)
from pg_agents.analysis.statistics import (
    Floats,
    bootstrap_interval,
    check_scores,
    interquartile_mean,
    performance_profile,
)
from pg_agents.analysis.summary import Speed

# Relative to its row, so that no dot hides the interval.
_INTERVAL_HEIGHT = 0.34
_SHADE = "#f5f5f7"


def plot_curve_bands(
    curves: Mapping[str, Curves],
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    band_label: str = "95 % bootstrap interval",
) -> Figure:
    """Plots learning curves: interquartile mean over runs, and a band.

    Args:
        curves: by the name of the group.
        x_label: unit of the times.
        y_label: of the curves.
        threshold: drawn as a line, if there is one.
        band_label: explains the bands in the legend.

    Raises:
        ValueError: if there are no groups.
    """
    _check_groups(curves)
    figure, (axes,) = new_figure(8.0, 3.8)
    _draw_curves(axes, curves, threshold)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    legend_beside(figure, axes, f"interquartile mean,\n{band_label}")
    return figure


def plot_seed_strips(
    scores: Mapping[str, Floats], label: str, threshold: float | None = None
) -> Figure:
    """Plots a dot for each run, with the interquartile mean and its interval.

    Args:
        scores: [runs], by the name of the group.
        label: of the scores.
        threshold: drawn as a line, if there is one.

    Raises:
        ValueError: if there are no groups, or a score is not finite.
    """
    _check_groups(scores)
    figure, (axes,) = new_figure(7.0, 1.3 + 0.6 * len(scores))
    _draw_strips(axes, scores, threshold)
    axes.set_xlabel(label)
    handles = [
        Line2D([], [], ls="", marker="o", color=GREY, alpha=0.6, label="one run"),
        Line2D([], [], marker="d", color="black", label="iqm, 95 %\ninterval"),
    ]
    if threshold is not None:
        label = f"threshold {threshold:g}"
        handles.append(Line2D([], [], color=GREY, lw=1.0, ls=DASHED, label=label))
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    return figure


def plot_performance_profiles(scores: Mapping[str, Floats], label: str) -> Figure:
    """Plots the share of runs that score above each value, with its 95 % band.

    Args:
        scores: [runs], by the name of the group.
        label: of the scores.

    Raises:
        ValueError: if there are no groups, or a score is not finite.
    """
    _check_groups(scores)
    figure, (axes,) = new_figure(7.6, 3.6)
    _draw_profiles(axes, scores)
    axes.set_xlabel(label)
    legend_beside(figure, axes, "95 % bootstrap\ninterval")
    return figure


def compare_runs(
    curves: Mapping[str, Curves],
    scores: Mapping[str, Floats],
    speeds: Mapping[str, Speed] | None,
    x_label: str,
    window: int,
    title: str | None = None,
) -> Figure:
    """Plots groups of runs in one figure: learning, results, speed and stability.

    Args:
        curves: learning curves, by the name of the group.
        scores: [runs], mean evaluation returns, by the name of the group.
        speeds: by the name of the group; None without a threshold.
        x_label: unit of the times.
        window: number of episodes in the running mean of the curves.
        title: above the legend, such as environment and number of runs.

    Returns:
        A figure of three panels; four with a threshold.

    Raises:
        ValueError: if there are no groups.
    """
    _check_groups(curves)
    figure, panels = new_figure(
        11.0, 5.8 + 0.32 * len(scores), 2, share=False, n_rows=2
    )
    learning, strips, profile, speed = panels
    threshold = next(iter(speeds.values())).threshold if speeds else None
    _draw_curves(learning, curves, threshold)
    learning.set_xlabel(x_label)
    learning.set_ylabel(f"Return (mean of {window} episodes)")
    learning.set_title("Learning: interquartile mean, 95 % interval", fontsize="medium")
    _draw_strips(strips, scores, threshold)
    strips.set_xlabel("Mean evaluation return")
    strips.set_title("Result: interquartile mean, 95 % interval", fontsize="medium")
    _draw_profiles(profile, scores)
    profile.set_xlabel("Mean evaluation return")
    profile.set_title("Share of runs above a result", fontsize="medium")
    if speeds:
        _draw_speeds(speed, speeds)
        speed.set_xlabel(f"{x_label} until {threshold:g} is reached")
        speed.set_title("Speed: runs, median; stability", fontsize="medium")
    handles, labels = learning.get_legend_handles_labels()
    if speeds:
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=4,
            frameon=False,
            title=title,
        )
    else:
        # The legend fills the place of the fourth panel.
        speed.set_axis_off()
        speed.legend(handles, labels, loc="center", frameon=False, title=title)
    return figure


def plot_network_grid(grid: NetworkGrid, threshold: float, unit: str) -> Figure:
    """Plots learning speed and stability of networks, by layers and units.

    Args:
        grid: of `network_grid`.
        threshold: the return to be reached.
        unit: of the time until then.

    Returns:
        A figure of two annotated heat maps; brighter is better.
    """
    n_layers, n_units = len(grid.layers), len(grid.units)
    width, height = 2.6 + 1.9 * max(n_units, 2), 1.7 + 0.8 * n_layers
    figure, (speed, stability) = new_figure(width, height, 2)
    times = grid.to_threshold
    reached = times[np.isfinite(times)]
    # Shorter is brighter; networks that never reach it are darkest.
    darkest = -1.2 * reached.max() if reached.size else -1.0
    brightness = np.where(np.isinf(times), darkest, -times)
    known = brightness[~np.isnan(brightness)]
    limits = (known.min(), known.max()) if known.size else (-1.0, 1.0)
    if limits[0] == limits[1]:
        limits = (limits[0] - 1.0, limits[1] + 1.0)
    _draw_heat_map(speed, grid, brightness, limits, _speed_text)
    speed.set_title(f"Median {unit} to {threshold:g}", fontsize="medium")
    _draw_heat_map(stability, grid, grid.stability, (0.0, 1.0), _stability_text)
    stability.set_title("Stay there, of those that reach it", fontsize="medium")
    speed.set_ylabel("Hidden layers")
    return figure


def _draw_curves(
    axes: Axes, curves: Mapping[str, Curves], threshold: float | None
) -> None:
    if threshold is not None:
        label = f"threshold {threshold:g}"
        axes.axhline(threshold, color=GREY, lw=1.0, ls=DASHED, label=label)
    for index, (name, group) in enumerate(curves.items()):
        for x, y in group.runs:
            axes.plot(x, y, color=colour(index), lw=0.6, alpha=0.3)
        draw_band(axes, group.band, index, name)
    axes.set_xlim(left=0)
    count_axis(axes)


def _draw_strips(
    axes: Axes, scores: Mapping[str, Floats], threshold: float | None
) -> None:
    if threshold is not None:
        axes.axvline(threshold, color=GREY, lw=1.0, ls=DASHED)
    for row, values in enumerate(scores.values()):
        low, high = bootstrap_interval(values)
        height = row + _INTERVAL_HEIGHT
        _draw_dots(axes, values, row)
        axes.plot([low, high], [height] * 2, color="black", lw=2.0)
        axes.plot(interquartile_mean(values), height, "d", color="black", ms=7)
    _label_rows(axes, list(scores))
    score_axis(axes)


def _draw_profiles(axes: Axes, scores: Mapping[str, Floats]) -> None:
    values = check_scores("scores", np.concatenate(list(scores.values())))
    low, high = values.min(), values.max()
    # Of equal scores, too, the ends of the line are shown.
    margin = 0.05 * ((high - low) or abs(high) or 1.0)
    # The steps are at the scores themselves.
    levels = np.unique([low - margin, *values, high + margin])
    for index, (name, of_group) in enumerate(scores.items()):
        share, (lower, upper) = performance_profile(of_group, levels)
        axes.fill_between(
            levels, lower, upper, step="post", color=colour(index), alpha=0.2, lw=0
        )
        axes.step(
            levels,
            share,
            line_style(index),
            where="post",
            color=colour(index),
            lw=1.8,
            label=name,
        )
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("Runs above it")
    score_axis(axes)


def _draw_speeds(axes: Axes, speeds: Mapping[str, Speed]) -> None:
    labels, latest = [], 0.0
    for row, (name, speed) in enumerate(speeds.items()):
        reached = speed.to_threshold[np.isfinite(speed.to_threshold)]
        latest = max([latest, *reached])
        stable = f"{speed.stability:.0%} stay" if len(reached) else "none reaches it"
        labels.append(f"{name}\n({stable})")
        _draw_dots(axes, reached, row)
        if math.isfinite(speed.median):
            axes.plot(speed.median, row + _INTERVAL_HEIGHT, "d", color="black", ms=7)
        axes.text(
            1.02,
            row,
            f"{speed.n_reached} of {len(speed.to_threshold)}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    # With room for the whole of the last dot.
    axes.set_xlim(0, 1.05 * latest or 1.0)
    _label_rows(axes, labels)
    count_axis(axes)


def _draw_dots(axes: Axes, values: Floats, row: int) -> None:
    """Draws a dot for each run, at heights that keep equal values apart."""
    spread = min(0.4, 0.1 * len(values))
    jitter = (np.arange(len(values)) * 0.618034 % 1.0 - 0.5) * spread
    axes.plot(values, row + jitter, "o", color=colour(row), ms=5, alpha=0.6)


def _label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Labels one row for each group, the first on top; every second one is shaded."""
    for row in range(1, len(names), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=_SHADE, lw=0, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.8)


def _draw_heat_map(
    axes: Axes,
    grid: NetworkGrid,
    brightness: Floats,
    limits: tuple[float, float],
    text: Callable[[NetworkGrid, tuple[int, ...]], str],
) -> None:
    low, high = limits
    axes.imshow(
        np.ma.masked_invalid(brightness),
        cmap="cividis",
        aspect="auto",
        vmin=low,
        vmax=high,
    )
    for cell in np.ndindex(brightness.shape):
        row, column = cell
        # Cells without a value are white.
        is_light = np.isnan(brightness[cell]) or (
            (brightness[cell] - low) / (high - low) > 0.55
        )
        axes.text(
            column,
            row,
            text(grid, cell),
            ha="center",
            va="center",
            fontsize="small",
            color="black" if is_light else "white",
        )
    axes.set_xticks(range(len(grid.units)), [f"{n:,}" for n in grid.units])
    axes.set_yticks(range(len(grid.layers)), [str(n) for n in grid.layers])
    axes.set_xlabel("Units in each layer")
    axes.grid(visible=False)


def _speed_text(grid: NetworkGrid, cell: tuple[int, ...]) -> str:
    time = grid.to_threshold[cell]
    if np.isnan(time):
        return "not run"
    # Of runs of which half or more never reach it.
    median = "no median" if np.isinf(time) else f"{time:,.0f}"
    return f"{median}\n{grid.reached[cell]:.0%} reach it"


def _stability_text(grid: NetworkGrid, cell: tuple[int, ...]) -> str:
    if np.isnan(grid.to_threshold[cell]):
        return "not run"
    share = grid.stability[cell]
    return "none\nreaches it" if np.isnan(share) else f"{share:.0%}"


def _check_groups(groups: Mapping[str, object]) -> None:
    if len(groups) == 0:
        raise ValueError("at least one group of runs is needed, got an empty mapping")
