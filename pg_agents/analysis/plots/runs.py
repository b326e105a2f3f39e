"""Plots of several runs together, and of one algorithm beside another.

Every function is given numbers, by the name of the group they belong to, and returns a
Figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pg_agents.analysis.plots.panels import (
    DASHED,
    GREY,
    Curves,
    draw_curves,
    draw_profiles,
    draw_speeds,
    draw_strips,
)
from pg_agents.analysis.plots.style import legend_beside, new_figure
from pg_agents.analysis.scores import Floats


def plot_curve_bands(
    curves: Mapping[str, Curves],
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    band_label: str = "95 % bootstrap interval",
) -> Figure:
    """Learning curves: interquartile mean over runs, and a band.

    Args:
        curves: by the name of the group.
        x_label: what the times count.
        y_label: what the curves show.
        threshold: drawn as a line, if there is one.
        band_label: what the bands are.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no groups.
    """
    _check_groups(curves)
    figure, (axes,) = new_figure(8.0, 3.8)
    draw_curves(axes, curves, threshold)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    legend_beside(figure, axes, f"interquartile mean,\n{band_label}")
    return figure


def plot_seed_strips(
    scores: Mapping[str, Floats], label: str, threshold: float | None = None
) -> Figure:
    """A dot for each run, beside the interquartile mean and its interval.

    Args:
        scores: float64 [runs], by the name of the group.
        label: what a score is.
        threshold: drawn as a line, if there is one.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no groups, or a score is no finite number.
    """
    _check_groups(scores)
    figure, (axes,) = new_figure(7.0, 1.3 + 0.6 * len(scores))
    draw_strips(axes, scores, threshold)
    axes.set_xlabel(label)
    handles = [
        Line2D([], [], ls="", marker="o", color=GREY, alpha=0.6, label="one run"),
        Line2D([], [], marker="d", color="black", label="iqm, 95 %\ninterval"),
    ]
    if threshold is not None:
        label = f"threshold {threshold:g}"
        handles.append(Line2D([], [], color=GREY, lw=1.0, ls=DASHED, label=label))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def plot_performance_profiles(scores: Mapping[str, Floats], label: str) -> Figure:
    """Share of runs that score above each value, with its pointwise 95 % band.

    Args:
        scores: float64 [runs] or [runs, tasks], by the name of the group.
        label: what a score is.

    Returns:
        The figure.

    Raises:
        ValueError: if there are no groups, or a score is no finite number.
    """
    _check_groups(scores)
    figure, (axes,) = new_figure(7.6, 3.6)
    draw_profiles(axes, scores)
    axes.set_xlabel(label)
    legend_beside(figure, axes, "95 % bootstrap\ninterval")
    return figure


def compare_runs(
    curves: Mapping[str, Curves],
    scores: Mapping[str, Floats],
    to_threshold: Mapping[str, Floats] | None,
    stability: Mapping[str, float] | None,
    threshold: float | None,
    x_label: str,
    window: int,
) -> Figure:
    """Two groups of runs or more in one figure: learning, results, speed, stability.

    Args:
        curves: learning curves, by the name of the group.
        scores: float64 [runs], evaluation, by the name of the group.
        to_threshold: float64 [runs], when each run reached the threshold; None without
            one.
        stability: share of those that stayed there; None without a threshold.
        threshold: the return to be reached, or None.
        x_label: what the times count.
        window: episodes in the running mean of the curves.

    Returns:
        The figure, of three panels; four with a threshold.

    Raises:
        ValueError: if there are no groups.
    """
    _check_groups(curves)
    tall = 0.32 * len(scores)
    figure, panels = new_figure(11.0, 5.8 + tall, 2, share=False, n_rows=2)
    learning, strips, profile, speeds = panels
    draw_curves(learning, curves, threshold)
    learning.set_xlabel(x_label)
    learning.set_ylabel(f"Return (mean of {window} episodes)")
    learning.set_title("Learning: iqm, 95 % interval", fontsize="medium")
    draw_strips(strips, scores, threshold)
    strips.set_xlabel("Mean evaluation return")
    strips.set_title("Result: runs, iqm, 95 % interval", fontsize="medium")
    draw_profiles(profile, scores)
    profile.set_xlabel("Mean evaluation return")
    profile.set_title("Share of runs above a result", fontsize="medium")
    if to_threshold is None or stability is None or threshold is None:
        speeds.set_axis_off()
    else:
        stay = {
            f"{name}\n({_stay(stability[name])})": times
            for name, times in to_threshold.items()
        }
        draw_speeds(speeds, stay)
        speeds.set_xlabel(f"{x_label} until {threshold:g} is reached")
        speeds.set_title("Speed: runs, median; stability", fontsize="medium")
    handles, labels = learning.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _stay(share: float) -> str:
    return "none gets there" if math.isnan(share) else f"{share:.0%} stay"


def _check_groups(groups: Mapping[str, object]) -> None:
    if len(groups) == 0:
        raise ValueError("at least one group of runs is needed, got an empty mapping")
