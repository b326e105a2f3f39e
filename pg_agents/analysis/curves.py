"""Learning curves: how fast a run learns, and whether it keeps what it learned.

A curve is the running mean of a run's episode returns, at the time each episode ended.
Times are whatever the caller counts in: environment steps, episodes or seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pg_agents.analysis.scores import (
    Floats,
    check_level,
    check_scores,
    interquartile_mean,
)
from pg_agents.common.checks import check_choice, check_count

# How many numbers a bootstrap holds in memory at once (8 bytes each).
_AT_ONCE = 4_000_000


class CurveBand(NamedTuple):
    """The runs of an algorithm together, at each of M times.

    Attributes:
        x: float64 [M], the times, rising.
        middle: float64 [M], interquartile mean over the runs.
        low: float64 [M], lower edge of the band.
        high: float64 [M], upper edge.
    """

    x: Floats
    middle: Floats
    low: Floats
    high: Floats


def running_mean(returns: ArrayLike, window: int) -> Floats:
    """Mean return of the last `window` episodes, after each episode.

    Args:
        returns: [E], in the order in which the episodes ended.
        window: how many episodes are averaged, at least 1.

    Returns:
        float64 [E]; nan as long as fewer than `window` episodes have ended, so that one
        lucky episode at the start is no average.

    Raises:
        ValueError: if `window` is below 1, or a return is no finite number.
    """
    check_count("window", window)
    values = np.asarray(returns, dtype=np.float64)
    means = np.full(len(values), np.nan)
    if len(values) >= window:
        check_scores("returns", values)
        windows = np.lib.stride_tricks.sliding_window_view(values, window)
        means[window - 1 :] = windows.mean(axis=1)
    return means


def returns_at(
    ends: ArrayLike,
    returns: ArrayLike,
    grid: ArrayLike,
    window: int = 1,
    until: float | None = None,
) -> Floats:
    """A run's running mean return at given times.

    The value that the last ended episode has left holds until the next one ends.
    Nothing is extrapolated: before the first full window and after the run it is nan.

    Args:
        ends: [E], when each episode ended, not falling.
        returns: [E], their returns.
        grid: [M], the times asked for.
        window: how many episodes are averaged.
        until: when the run ended; None for the end of its last episode.

    Returns:
        float64 [M].

    Raises:
        ValueError: if there are as many ends as returns not, the ends fall, or `window`
            is below 1.
    """
    times = np.asarray(ends, dtype=np.float64)
    points = np.asarray(grid, dtype=np.float64)
    means = running_mean(returns, window)
    if times.shape != means.shape:
        raise ValueError(
            f"ends and returns must have the same length, got {times.shape} and "
            f"{means.shape}"
        )
    if (np.diff(times) < 0).any():
        raise ValueError("ends must not fall: episodes are given in order")
    if len(times) == 0:
        return np.full(points.shape, np.nan)
    last = np.searchsorted(times, points, side="right") - 1
    over = times[-1] if until is None else max(until, times[-1])
    known = (last >= 0) & (points <= over)
    values: Floats = np.where(known, means[last], np.nan)
    return values


def band_of_curves(
    x: ArrayLike,
    curves: ArrayLike,
    spread: Literal["bootstrap", "range"] = "bootstrap",
    level: float = 0.95,
    n_resamples: int = 1000,
    rng: np.random.Generator | int = 0,
) -> CurveBand:
    """Interquartile mean over runs at each time, with a band.

    Args:
        x: [M], the times.
        curves: [runs, M], one curve a run, all known at all times.
        spread: `"bootstrap"` for the pointwise percentile interval of the interquartile
            mean, from resamples of whole runs (each point has the stated confidence on
            its own, not the curve as a whole); `"range"` for the lowest and the highest
            run.
        level: of confidence.
        n_resamples: how many resamples.
        rng: generator of the draws, or its seed.

    Returns:
        The band.

    Raises:
        ValueError: if the shapes do not fit, a value is no finite number, or an
            argument is out of range.
    """
    check_choice("spread", spread, ("bootstrap", "range"))
    check_level(level)
    check_count("n_resamples", n_resamples)
    times = np.asarray(x, dtype=np.float64)
    values = check_scores("curves", curves)
    if values.ndim != 2 or values.shape[1:] != times.shape:
        raise ValueError(
            f"curves must have the shape [runs, {len(times)}], got {values.shape}"
        )
    middle = np.asarray(interquartile_mean(values, axis=0))
    if spread == "range":
        return CurveBand(times, middle, values.min(axis=0), values.max(axis=0))
    low, high = _pointwise(values, level, n_resamples, np.random.default_rng(rng))
    return CurveBand(times, middle, low, high)


def steps_to_threshold(x: ArrayLike, curve: ArrayLike, threshold: float) -> float:
    """When a curve first reaches a threshold.

    Args:
        x: [M], times, such as environment steps.
        curve: [M], such as of `running_mean`; nan counts as below.
        threshold: reached by a value that equals it.

    Returns:
        The time; infinite where it never does, so that a median over runs is right.

    Raises:
        ValueError: if `threshold` is nan, or the lengths differ.
    """
    times = np.asarray(x, dtype=np.float64)
    first = _first_reached(curve, threshold)
    if times.shape != np.shape(curve):
        raise ValueError(
            f"x and curve must have the same length, got {times.shape} and "
            f"{np.shape(curve)}"
        )
    return math.inf if first is None else float(times[first])


def stays_above(curve: ArrayLike, threshold: float) -> bool | None:
    """Whether a curve that reached a threshold never falls below it again.

    Args:
        curve: [M], one value for each episode.
        threshold: what equals it is not below.

    Returns:
        None where the threshold was never reached: there is nothing to keep.

    Raises:
        ValueError: if `threshold` is nan.
    """
    first = _first_reached(curve, threshold)
    if first is None:
        return None
    return bool((np.asarray(curve, dtype=np.float64)[first:] >= threshold).all())


def share_above_afterwards(curves: Sequence[ArrayLike], threshold: float) -> float:
    """Stability: share of runs that stay at or above a threshold once they reach it.

    A run counts as stable if its curve is at or above the threshold at every episode
    from the first one that reached it to the end of training; one episode below is
    enough to lose it. The share is of the runs that reached the threshold, as the
    others have nothing to keep: read it together with how many did. A run that reaches
    the threshold at its very end is stable by this definition.

    Args:
        curves: one [M_r] for each run, such as of `running_mean`.
        threshold: what equals it is not below.

    Returns:
        In [0, 1]; nan if no run reached the threshold.

    Raises:
        ValueError: if `threshold` is nan.
    """
    kept = [stays_above(curve, threshold) for curve in curves]
    reached = [stays for stays in kept if stays is not None]
    return sum(reached) / len(reached) if reached else math.nan


def time_above_afterwards(curves: Sequence[ArrayLike], threshold: float) -> float:
    """Stability, milder: how much of the rest of training lies above the threshold.

    Args:
        curves: one [M_r] for each run.
        threshold: what equals it is not below.

    Returns:
        The share of episodes from the first that reached the threshold on, averaged
        over the runs that reached it; nan if none did.

    Raises:
        ValueError: if `threshold` is nan.
    """
    shares = []
    for curve in curves:
        first = _first_reached(curve, threshold)
        if first is not None:
            rest = np.asarray(curve, dtype=np.float64)[first:]
            shares.append(float((rest >= threshold).mean()))
    return sum(shares) / len(shares) if shares else math.nan


def _first_reached(curve: ArrayLike, threshold: float) -> int | None:
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, got nan")
    reached = np.asarray(curve, dtype=np.float64) >= threshold
    return int(reached.argmax()) if reached.any() else None


def _pointwise(
    values: Floats, level: float, n_resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Percentile interval of the interquartile mean at each point, [M] twice."""
    n_runs, n_points = values.shape
    drawn = rng.integers(n_runs, size=(n_resamples, n_runs))
    ends = ((1 - level) / 2, (1 + level) / 2)
    edges = np.empty((2, n_points))
    chunk = max(1, _AT_ONCE // drawn.size)
    for start in range(0, n_points, chunk):
        part = values[:, start : start + chunk].T
        found = interquartile_mean(part[:, drawn], axis=-1)
        edges[:, start : start + chunk] = np.quantile(found, ends, axis=-1)
    return edges[0], edges[1]
