"""Panels of the figures in `pg_agents.analysis.plots.runs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from pg_agents.analysis.curves import CurveBand
from pg_agents.analysis.plots.style import colour, count_axis, line_style
from pg_agents.analysis.scores import (
    Floats,
    check_scores,
    interquartile_mean,
    performance_profile,
    stratified_bootstrap_interval,
)

GREY = "#777777"
DASHED = (0, (4, 3))


class Curves(NamedTuple):
    """The learning curves of one group.

    Attributes:
        band: of all runs together.
        runs: x [M_r] and y [M_r] of each run, which may go on where the band has ended;
            empty to draw the band alone.
    """

    band: CurveBand
    runs: Sequence[tuple[Floats, Floats]] = ()


def draw_curves(
    axes: Axes, curves: Mapping[str, Curves], threshold: float | None = None
) -> None:
    """Fills a panel with learning curves; see `plot_curve_bands`.

    Args:
        axes: the panel.
        curves: by the name of the group.
        threshold: drawn as a line, if there is one.
    """
    if threshold is not None:
        _mark_threshold(axes, threshold)
    for index, (name, group) in enumerate(curves.items()):
        for x, y in group.runs:
            axes.plot(x, y, color=colour(index), lw=0.6, alpha=0.3)
        band = group.band
        axes.fill_between(
            band.x, band.low, band.high, color=colour(index), alpha=0.22, lw=0
        )
        axes.plot(
            band.x,
            band.middle,
            line_style(index),
            # A line through one point would not be seen.
            marker="o" if len(band.x) == 1 else "",
            color=colour(index),
            lw=1.8,
            label=name,
        )
    axes.set_xlim(left=0)
    count_axis(axes)


def draw_strips(
    axes: Axes, scores: Mapping[str, Floats], threshold: float | None = None
) -> None:
    """Fills a panel with a row of dots for each group; see `plot_seed_strips`.

    Args:
        axes: the panel.
        scores: float64 [runs], by the name of the group.
        threshold: drawn as a line, if there is one.
    """
    if threshold is not None:
        axes.axvline(threshold, color=GREY, lw=1.0, ls=DASHED)
    for index, values in enumerate(scores.values()):
        known = check_scores("scores", values)
        axes.plot(
            known,
            index + _jitter(len(known)),
            "o",
            color=colour(index),
            ms=5,
            alpha=0.6,
        )
        low, high = stratified_bootstrap_interval(known)
        # Below the dots, where none hides it.
        axes.plot([low, high], [index + 0.34] * 2, color="black", lw=2.0)
        axes.plot(interquartile_mean(known), index + 0.34, "d", color="black", ms=7)
    _group_rows(axes, list(scores))
    _score_axis(axes)


def draw_profiles(axes: Axes, scores: Mapping[str, Floats]) -> None:
    """Fills a panel with performance profiles; see `plot_performance_profiles`.

    Args:
        axes: the panel.
        scores: float64 [runs] or [runs, tasks], by the name of the group.
    """
    everything = np.concatenate([np.ravel(values) for values in scores.values()])
    low, high = check_scores("scores", everything).min(), everything.max()
    margin = 0.05 * (high - low) or 1.0
    # The steps fall at the scores themselves: a grid beside them would miss them.
    levels = np.unique([low - margin, *everything, high + margin])
    for index, (name, values) in enumerate(scores.items()):
        share, (below, above) = performance_profile(values, levels)
        axes.fill_between(
            levels, below, above, step="post", color=colour(index), alpha=0.2, lw=0
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
    _score_axis(axes)


def draw_speeds(axes: Axes, to_threshold: Mapping[str, Floats]) -> None:
    """Fills a panel with when each run reached a threshold.

    Args:
        axes: the panel.
        to_threshold: float64 [runs], by the name of the group; infinite where a run
            never did, which is said beside the dots.
    """
    for index, times in enumerate(to_threshold.values()):
        reached = times[np.isfinite(times)]
        rows = index + _jitter(len(times))[: len(reached)]
        axes.plot(reached, rows, "o", color=colour(index), ms=5, alpha=0.6)
        middle = float(np.median(times))
        if math.isfinite(middle):
            axes.plot(middle, index + 0.34, "d", color="black", ms=7)
        axes.text(
            1.02,
            index,
            f"{len(reached)} of {len(times)}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    known = [time for times in to_threshold.values() for time in times]
    # So far that the last dot is seen whole.
    axes.set_xlim(0, 1.05 * max(filter(math.isfinite, known), default=1.0))
    _group_rows(axes, list(to_threshold))
    count_axis(axes)


def _group_rows(axes: Axes, names: Sequence[str]) -> None:
    """One labelled row for each group, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)


def _score_axis(axes: Axes) -> None:
    """A horizontal axis of returns, which may be fractions."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _jitter(n_runs: int) -> Floats:
    """Heights that keep equal scores apart; the same ones every time, no chance."""
    golden: Floats = (np.arange(n_runs, dtype=np.float64) * 0.618034) % 1.0
    return (golden - 0.5) * 0.4


def _mark_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(
        threshold, color=GREY, lw=1.0, ls=DASHED, label=f"threshold {threshold:g}"
    )
