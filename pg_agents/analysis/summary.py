"""Aggregate groups of runs: scores, learning speed and stability."""

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
from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.run_data import RunGroup
from pg_agents.analysis.statistics import (
    Floats,
    Improvement,
    Interval,
    bootstrap_interval,
    improvement_interval,
    interquartile_mean,
)

# Gymnasium's tasks are solved by the mean of 100 episodes.
SOLVED_WINDOW = 100


@dataclass(frozen=True)
class Speed:
    """How fast the runs of a group learn, and whether they keep it.

    Attributes:
        threshold: the return to be reached.
        window: number of training episodes in the running mean that has to reach it.
        to_threshold: float64 [runs], when each run's running mean return first reached
            the threshold; infinite if it never did.
        stability: share of the runs that stay at or above it from then on, among those
            that reached it; nan if none did.
        time_above: share of the episodes from then on that are at or above it, averaged
            over the runs that reached it; nan if none did.
    """

    threshold: float
    window: int
    to_threshold: Floats
    stability: float
    time_above: float

    @property
    def n_reached(self) -> int:
        """Number of runs that reached the threshold in training."""
        return int(np.isfinite(self.to_threshold).sum())

    @property
    def median(self) -> float:
        """Median over all runs: infinite if half of them never reached it."""
        return float(np.median(self.to_threshold))


@dataclass(frozen=True)
class Summary:
    """The aggregate results of a group of runs.

    Attributes:
        name: of the group.
        n_runs: number of finished runs.
        iqm: interquartile mean of the runs' scores (mean evaluation returns).
        interval: 95 % bootstrap interval of `iqm`.
        median: median score.
        improvement: probability that a run of this group scores more than one of the
            first group; None for the first.
        n_solved: number of runs that score at least the threshold; None without one.
        speed: learning speed; None without a threshold.
    """

    name: str
    n_runs: int
    iqm: float
    interval: Interval
    median: float
    improvement: Improvement | None
    n_solved: int | None
    speed: Speed | None


def summarise(
    groups: Sequence[RunGroup],
    threshold: float | None = None,
    window: int = SOLVED_WINDOW,
    unit: Unit = "steps",
    seed: int = 0,
) -> list[Summary]:
    """Aggregates groups of runs, and compares each with the first.

    Args:
        groups: at least one.
        threshold: the return at which the task is solved; None for none.
        window: number of training episodes in the running mean that has to reach it.
        unit: of the time until then.
        seed: of the bootstrap.

    Raises:
        ValueError: if an argument is out of range.
    """
    return [
        Summary(
            name=group.name,
            n_runs=len(group.runs),
            iqm=float(interquartile_mean(group.scores)),
            interval=bootstrap_interval(group.scores, rng=seed),
            median=float(np.median(group.scores)),
            improvement=None
            if group is groups[0]
            else improvement_interval(group.scores, groups[0].scores, rng=seed),
            n_solved=None if threshold is None else n_solved(group.scores, threshold),
            speed=None if threshold is None else speed(group, threshold, window, unit),
        )
        for group in groups
    ]


def n_solved(scores: Sequence[float] | Floats, threshold: float) -> int:
    """Returns the number of runs whose mean evaluation return reaches a threshold."""
    return int((np.asarray(scores) >= threshold).sum())


def speed(
    group: RunGroup,
    threshold: float,
    window: int = SOLVED_WINDOW,
    unit: Unit = "steps",
) -> Speed:
    """Measures how fast the runs of a group learn, and whether they keep it.

    Args:
        group: the runs.
        threshold: the return to be reached.
        window: number of training episodes in the running mean that has to reach it.
        unit: of the time until then.

    Raises:
        ValueError: if an argument is out of range.
    """
    curves = [running_mean(run.episodes.returns, window) for run in group.runs]
    reached = [
        steps_to_threshold(run.episodes.ends(unit), curve, threshold)
        for run, curve in zip(group.runs, curves, strict=True)
    ]
    return Speed(
        threshold,
        window,
        np.array(reached),
        share_above_afterwards(curves, threshold),
        time_above_afterwards(curves, threshold),
    )


def table(summaries: Sequence[Summary], unit: Unit = "steps") -> str:
    """Returns summaries as aligned tables, with the meaning of their columns below.

    One of the scores and one of speed and stability, so that a line fits a terminal.

    Args:
        summaries: of `summarise`.
        unit: as given to it.
    """
    header = ["score", "runs", "iqm", "95 % interval", "median", "P(better)", "95 %"]
    rows = [header, *map(_score_cells, summaries)]
    if len(summaries) == 1:
        # There is nothing to be better than.
        rows = [row[:-2] for row in rows]
    lines = _aligned(rows)
    first = summaries[0].speed
    if first is not None:
        header = ["speed", "solved", "reached", unit, "stay", "time above"]
        lines += [
            "",
            *_aligned([header, *map(_speed_cells, summaries)]),
            "",
            solved_criterion(first),
            reached_criterion(first),
            f"{unit}: until then, median over the runs",
            "stay: share of the runs that reached it whose mean never falls below it",
            "time above: share of their later episodes in which the mean is not below",
        ]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a line for each row; the first cell is flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        aligned = [cell.rjust(n) for cell, n in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
    return lines


def solved_criterion(speed: Speed) -> str:
    """Returns what counts as solved."""
    return f"solved: the mean evaluation return is at least {speed.threshold:g}"


def reached_criterion(speed: Speed) -> str:
    """Returns what counts as reaching the threshold in training."""
    return (
        f"reached: the mean of {speed.window} training episodes is at least "
        f"{speed.threshold:g}"
    )


def _score_cells(summary: Summary) -> list[str]:
    low, high = summary.interval
    cells = [
        summary.name,
        str(summary.n_runs),
        _number(summary.iqm),
        f"{_number(low)} to {_number(high)}",
        _number(summary.median),
    ]
    if summary.improvement is None:
        cells += ["-", "-"]
    else:
        probability, (low, high) = summary.improvement
        cells += [f"{probability:.2f}", f"{low:.2f} to {high:.2f}"]
    return cells


def _speed_cells(summary: Summary) -> list[str]:
    speed = summary.speed
    assert speed is not None, "all summaries have a threshold, or none"
    return [
        summary.name,
        f"{summary.n_solved} of {summary.n_runs}",
        f"{speed.n_reached} of {summary.n_runs}",
        "never" if math.isinf(speed.median) else f"{speed.median:,.0f}",
        _percentage(speed.stability),
        _percentage(speed.time_above),
    ]


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _percentage(share: float) -> str:
    if math.isnan(share):
        return "-"
    # 100 % means all of them.
    return ">99%" if 0.995 <= share < 1.0 else f"{share:.0%}"
