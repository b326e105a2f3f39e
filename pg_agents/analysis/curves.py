"""Learning curves: how fast runs learn, and whether they keep what they learned.

The learning curve of a run is the running mean of its episode returns, at the time each
episode ended. Times are in any unit: environment steps, episodes or seconds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.run_data import RunGroup
from pg_agents.analysis.statistics import (
    Floats,
    check_scores,
    interquartile_mean,
    percentile_bootstrap,
)
from pg_agents.common.checks import check_choice, check_count

Spread = Literal["bootstrap", "range"]
# Number of points of a drawn curve.
_N_POINTS = 300


class CurveBand(NamedTuple):
    """The curves of several runs, aggregated at each of M times.

    Attributes:
        x: float64 [M], the times, increasing.
        middle: float64 [M], such as the interquartile mean over the runs.
        low: float64 [M], lower edge of the band.
        high: float64 [M], upper edge of the band.
    """

    x: Floats
    middle: Floats
    low: Floats
    high: Floats


class Curves(NamedTuple):
    """The learning curves of a group of runs.

    Attributes:
        band: of all runs together.
        runs: x [M_r] and y [M_r] of each run, which may extend beyond the band; empty
            to draw the band alone.
    """

    band: CurveBand
    runs: Sequence[tuple[Floats, Floats]] = ()


def running_mean(
    values: ArrayLike, window: int, min_periods: int | None = None
) -> Floats:
    """Returns the mean of each value and the `window - 1` before it.

    Args:
        values: [E], such as episode returns, finite.
        window: number of values in a mean, at least 1.
        min_periods: number of values that a mean needs, as in pandas: the first
            `min_periods - 1` means are nan. None for `window`, so that one lucky first
            episode is no mean of many.

    Returns:
        float64 [E].

    Raises:
        ValueError: if `window` or `min_periods` is below 1, or a value is not finite.
    """
    check_count("window", window)
    min_periods = window if min_periods is None else min_periods
    check_count("min_periods", min_periods)
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return array
    check_scores("values", array)
    # A window is the end of one block of `window` values and the start of the next. No
    # sums are subtracted from each other, which would lose digits.
    padded = np.pad(array, (0, -len(array) % window)).reshape(-1, window)
    sums = np.cumsum(padded, axis=1).ravel()
    from_the_end = np.cumsum(padded[:, ::-1], axis=1)[:, ::-1].ravel()
    starts = np.arange(len(array)) - window + 1
    overlaps = (starts > 0) & (starts % window > 0)
    sums = sums[: len(array)]
    sums[overlaps] += from_the_end[starts[overlaps]]
    counts = np.minimum(np.arange(1, len(array) + 1), window)
    means: Floats = np.where(counts >= min_periods, sums / counts, np.nan)
    return means


def hold(times: ArrayLike, values: ArrayLike, grid: ArrayLike) -> Floats:
    """Returns the value that was last set at each time of a grid.

    Args:
        times: [P], when each value was set, not decreasing.
        values: [P, ...].
        grid: [M].

    Returns:
        float64 [M, ...]; nan before the first time and after the last.
    """
    known, array = np.asarray(times), np.asarray(values, dtype=np.float64)
    points = np.asarray(grid)
    if len(known) == 0:
        return np.full((len(points), *array.shape[1:]), np.nan)
    last = np.searchsorted(known, points, side="right") - 1
    held: Floats = array[last]
    held[(last < 0) | (points > known[-1])] = np.nan
    return held


def band_of_curves(
    x: ArrayLike,
    curves: ArrayLike,
    spread: Spread = "bootstrap",
    level: float = 0.95,
    n_resamples: int = 1000,
    rng: np.random.Generator | int = 0,
) -> CurveBand:
    """Returns the interquartile mean over runs at each time, with a band.

    Args:
        x: [M], the times.
        curves: [runs, M], finite.
        spread: `"bootstrap"` for the pointwise percentile interval of the interquartile
            mean, resampling whole runs; `"range"` for the lowest and the highest run.
        level: of confidence, pointwise.
        n_resamples: number of bootstrap resamples.
        rng: random generator, or its seed.

    Raises:
        ValueError: if the shapes do not match, a value is not finite, or an argument is
            out of range.
    """
    check_choice("spread", spread, ("bootstrap", "range"))
    times = np.asarray(x, dtype=np.float64)
    values = check_scores("curves", curves)
    if values.ndim != 2 or values.shape[1:] != times.shape:
        raise ValueError(
            f"curves must have the shape [runs, {len(times)}], got {values.shape}"
        )
    middle = np.asarray(interquartile_mean(values, axis=0))
    if spread == "range":
        return CurveBand(times, middle, values.min(axis=0), values.max(axis=0))
    low, high = percentile_bootstrap(
        [values], interquartile_mean, level, n_resamples, rng
    )
    return CurveBand(times, middle, low, high)


def mean_band(x: ArrayLike, runs: Sequence[Floats] | Floats) -> CurveBand:
    """Returns the mean over runs, with a band from their 10th to 90th percentile.

    Unlike a band of standard deviations, it does not leave what the runs reached, such
    as probabilities above 1.

    Args:
        x: [M], the times.
        runs: one [M_r] for each run, M_r <= M; nan counts as missing.

    Returns:
        The band, over the runs that have a value at each time; nan where none has.
    """
    times = np.asarray(x, dtype=np.float64)
    padded = [
        np.pad(run, (0, len(times) - len(run)), constant_values=np.nan) for run in runs
    ]
    with warnings.catch_warnings():
        # Of a mean over no values, which is nan.
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(padded, axis=0)
        low, high = np.nanquantile(padded, [0.1, 0.9], axis=0)
    return CurveBand(times, mean, low, high)


def check_window(group: RunGroup, window: int) -> None:
    """Checks that every run has enough episodes for a running mean.

    Raises:
        ValueError: if a run has fewer than `window`; names a window that fits.
    """
    for run in group.runs:
        n_episodes = len(run.episodes.returns)
        if n_episodes < window:
            fitting = next((w for w in (100, 50, 20, 10, 5) if w <= n_episodes), 1)
            raise ValueError(
                f"{run.path} has {n_episodes} training episodes, fewer than {window}, "
                f"whose mean is asked for: use --window {fitting}"
            )


def learning_curves(
    group: RunGroup, unit: Unit, window: int, spread: Spread = "bootstrap"
) -> Curves:
    """Returns the learning curves of a group of runs, to be drawn.

    Args:
        group: the runs.
        unit: of the horizontal axis.
        window: number of episodes in the running mean.
        spread: see `band_of_curves`.

    Returns:
        The curve of each run, and the band over the times that all of them cover: a
        band over the longer runs alone would be one of a selection.

    Raises:
        ValueError: if a run has fewer than `window` episodes, or the runs have no time
            in common.
    """
    check_window(group, window)
    ends = [run.episodes.ends(unit) for run in group.runs]
    start = max(float(times[window - 1]) for times in ends)
    stop = min(float(times[-1]) for times in ends)
    if start > stop:
        raise ValueError(
            f"the runs of {group.name} have no {unit} in common; try another --x"
        )
    x = np.unique(np.linspace(start, stop, _N_POINTS))
    held, lines = [], []
    for run, times in zip(group.runs, ends, strict=True):
        means = running_mean(run.episodes.returns, window)
        held.append(hold(times, means, x))
        known = slice(window - 1, None)
        shown = evenly_spaced(len(means[known]), _N_POINTS)
        lines.append((times[known][shown], means[known][shown]))
    return Curves(band_of_curves(x, held, spread), lines)


def evenly_spaced(n: int, max_points: int) -> NDArray[np.int64]:
    """Returns at most `max_points` indices below n, from 0 to n - 1.

    A single one is n - 1.
    """
    backwards = np.linspace(n - 1, 0, min(n, max_points)).round().astype(np.int64)
    return backwards[::-1]


def steps_to_threshold(x: ArrayLike, curve: ArrayLike, threshold: float) -> float:
    """Returns when a curve first reaches a threshold; infinity if it never does.

    Args:
        x: [M], times, such as environment steps.
        curve: [M], such as of `running_mean`; nan counts as below.
        threshold: reached by a value that equals it.

    Raises:
        ValueError: if `threshold` is nan, or the lengths differ.
    """
    times, values = np.asarray(x, dtype=np.float64), np.asarray(curve)
    if times.shape != values.shape:
        raise ValueError(
            f"x and curve must have the same length, got {times.shape} and "
            f"{values.shape}"
        )
    since = _since_reached(curve, threshold)
    return math.inf if since is None else float(times[-len(since)])


def share_above_afterwards(curves: Sequence[ArrayLike], threshold: float) -> float:
    """Returns the share of runs that stay at or above a threshold once they reach it.

    A single episode below it counts as a fall; a run that reaches the threshold with
    its last episode stays. Runs that never reach it do not count.

    Args:
        curves: one [M_r] for each run, such as of `running_mean`.
        threshold: a value that equals it is not below.

    Returns:
        In [0, 1]; nan if no run reached the threshold.

    Raises:
        ValueError: if `threshold` is nan.
    """
    return _mean_over_reached(curves, threshold, np.all)


def time_above_afterwards(curves: Sequence[ArrayLike], threshold: float) -> float:
    """Returns the share of episodes at or above a threshold, once a run reached it.

    Args:
        curves: one [M_r] for each run, such as of `running_mean`.
        threshold: a value that equals it is not below.

    Returns:
        The share among the episodes from the first that reached the threshold,
        averaged over the runs that reached it; nan if none did.

    Raises:
        ValueError: if `threshold` is nan.
    """
    return _mean_over_reached(curves, threshold, np.mean)


def _since_reached(curve: ArrayLike, threshold: float) -> NDArray[np.bool_] | None:
    """Returns where a curve is at or above a threshold, from the first time it is."""
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, got nan")
    above: NDArray[np.bool_] = np.asarray(curve, dtype=np.float64) >= threshold
    return above[above.argmax() :] if above.any() else None


def _mean_over_reached(
    curves: Sequence[ArrayLike],
    threshold: float,
    statistic: Any,  # noqa: ANN401
) -> float:
    since = [_since_reached(curve, threshold) for curve in curves]
    found = [float(statistic(above)) for above in since if above is not None]
    return sum(found) / len(found) if found else math.nan
