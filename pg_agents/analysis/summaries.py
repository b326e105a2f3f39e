"""What is known of groups of runs, in a line each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pg_agents.analysis.curves import (
    running_mean,
    share_above_afterwards,
    steps_to_threshold,
    time_above_afterwards,
)
from pg_agents.analysis.folders import RunGroup
from pg_agents.analysis.improvement import Improvement, improvement_interval
from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.scores import (
    Floats,
    Interval,
    interquartile_mean,
    median,
    stratified_bootstrap_interval,
)


@dataclass(frozen=True)
class Speed:
    """How fast the runs of a group learn, and whether they keep it.

    Attributes:
        to_threshold: float64 [runs], when each run's running mean return first reached
            the threshold, in the unit asked for; infinite where it never did.
        stability: share of the runs that stay at or above it from then on, of those
            that reached it; nan if none did.
        time_above: share of the episodes from then on that lie at or above it, averaged
            over the runs that reached it; nan if none did.
    """

    to_threshold: Floats
    stability: float
    time_above: float

    @property
    def n_reached(self) -> int:
        """How many runs reached the threshold."""
        return int(np.isfinite(self.to_threshold).sum())

    @property
    def median(self) -> float:
        """Median over all runs: infinite if half of them never reached it."""
        return float(median(self.to_threshold))


@dataclass(frozen=True)
class Summary:
    """A group of runs in figures.

    Attributes:
        name: of the group.
        n_runs: how many finished runs it has.
        iqm: interquartile mean of the runs' scores (mean evaluation returns).
        interval: 95 % bootstrap interval of `iqm`.
        median: median score.
        improvement: probability that a run of this group scores more than one of the
            first group; None for the first.
        speed: None without a threshold.
    """

    name: str
    n_runs: int
    iqm: float
    interval: Interval
    median: float
    improvement: Improvement | None
    speed: Speed | None


def summarise(
    groups: Sequence[RunGroup],
    threshold: float | None = None,
    window: int = 100,
    unit: Unit = "steps",
    seed: int = 0,
) -> list[Summary]:
    """Aggregates groups, each compared with the first.

    Args:
        groups: at least one.
        threshold: the return to be reached; None for none.
        window: episodes in the running mean that has to reach it. The default is the
            100 by which Gymnasium calls a task solved.
        unit: what speed is counted in.
        seed: of the bootstrap's draws.

    Returns:
        One summary for each group, in their order.

    Raises:
        ValueError: if an argument is out of range.
    """
    summaries = []
    for group in groups:
        scores = group.scores
        against = groups[0].scores
        first = group is groups[0]
        summaries.append(
            Summary(
                group.name,
                len(scores),
                float(interquartile_mean(scores)),
                stratified_bootstrap_interval(scores, rng=seed),
                float(median(scores)),
                None if first else improvement_interval(scores, against, rng=seed),
                None if threshold is None else speed(group, threshold, window, unit),
            )
        )
    return summaries


def speed(
    group: RunGroup, threshold: float, window: int = 100, unit: Unit = "steps"
) -> Speed:
    """How fast the runs of a group learn, and whether they keep it.

    Args:
        group: the runs.
        threshold: the return to be reached.
        window: episodes in the running mean that has to reach it.
        unit: what is counted until then.

    Returns:
        Learning speed and stability.

    Raises:
        ValueError: if an argument is out of range.
    """
    curves = [running_mean(run.episodes.returns, window) for run in group.runs]
    reached = [
        steps_to_threshold(run.episodes.ends(unit), curve, threshold)
        for run, curve in zip(group.runs, curves, strict=True)
    ]
    return Speed(
        np.array(reached),
        share_above_afterwards(curves, threshold),
        time_above_afterwards(curves, threshold),
    )


def table(summaries: Sequence[Summary], unit: Unit = "steps") -> str:
    """Summaries as aligned text.

    Args:
        summaries: what `summarise` returns.
        unit: the same as there.

    Returns:
        A header and one line for each group.
    """
    header = ["runs of", "runs", "iqm", "95 % interval", "median", "P(better)", "95 %"]
    has_speed = any(summary.speed is not None for summary in summaries)
    if has_speed:
        header += [f"{unit} to it", "reached", "stay", "time above"]
    rows = [header, *[_cells(summary, has_speed) for summary in summaries]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cells(summary: Summary, has_speed: bool) -> list[str]:
    low, high = summary.interval
    cells = [
        summary.name,
        str(summary.n_runs),
        _figure(summary.iqm),
        f"{_figure(low)} to {_figure(high)}",
        _figure(summary.median),
    ]
    if summary.improvement is None:
        cells += ["-", "-"]
    else:
        probability, (low, high) = summary.improvement
        cells += [f"{probability:.2f}", f"{low:.2f} to {high:.2f}"]
    if has_speed:
        assert summary.speed is not None
        found = summary.speed
        cells += [
            "never" if math.isinf(found.median) else f"{found.median:,.0f}",
            f"{found.n_reached} of {summary.n_runs}",
            _share(found.stability),
            _share(found.time_above),
        ]
    return cells


def _figure(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _share(value: float) -> str:
    if math.isnan(value):
        return "-"
    # All of it is said of all of it alone.
    return ">99%" if 0.995 <= value < 1.0 else f"{value:.0%}"
