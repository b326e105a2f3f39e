"""Bringing runs of unequal length together: pure functions of NumPy arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Band(NamedTuple):
    """Mean and spread over runs, at each of M points.

    Attributes:
        x: [M], where on the horizontal axis.
        mean: float64 [M], mean over the runs.
        sd: float64 [M], their standard deviation (dividing by the number of runs).
    """

    x: Floats | Ints
    mean: Floats
    sd: Floats

    def thin(self, max_points: int = 1000) -> "Band":
        """At most ``max_points`` points, the first and the last among them."""
        if len(self.x) <= max_points:
            return self
        kept = np.linspace(0, len(self.x) - 1, max_points).round().astype(np.int64)
        return Band(self.x[kept], self.mean[kept], self.sd[kept])


def moving_average(values: Floats, window: int) -> Floats:
    """Mean of each value and the ``window - 1`` before it, of fewer at the start.

    Args:
        values: float64 [M].
        window: Number of values in the mean, at least 1.

    Returns:
        float64 [M], ``out[i] = mean(values[max(0, i - window + 1) : i + 1])``.

    Raises:
        ValueError: If ``window`` is below 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window!r}")
    if window == 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    averages: Floats = (sums[end] - sums[start]) / (end - start)
    return averages


def band_over_runs(runs: Sequence[Floats], axis: Floats | Ints) -> Band:
    """Mean and standard deviation at each index, over the runs that reach it.

    Args:
        runs: One float64 [M_r] for each run, of any lengths; NaN counts as missing.
        axis: [max M_r], the horizontal position of each index.

    Returns:
        The band at the max M_r points of ``axis``; NaN where every run is missing.
    """
    total, square, count = (np.zeros(len(axis)) for _ in range(3))
    for run in runs:
        known = np.isfinite(run)
        total[: len(run)] += np.where(known, run, 0.0)
        count[: len(run)] += known
    with np.errstate(invalid="ignore"):
        mean = total / count
    # The deviations in a second pass: a difference of sums of squares loses digits.
    for run in runs:
        deviation = run - mean[: len(run)]
        square[: len(run)] += np.where(np.isfinite(deviation), deviation**2, 0.0)
    with np.errstate(invalid="ignore"):
        return Band(axis, mean, np.sqrt(square / count))


def hold(times: Ints, values: Floats, grid: Ints) -> Floats:
    """The value that was last set at each time of a grid.

    Args:
        times: int64 [P], strictly increasing, when each value was set.
        values: float64 [P, ...], what was set.
        grid: int64 [M], none before ``times[0]``.

    Returns:
        float64 [M, ...].
    """
    held: Floats = values[np.searchsorted(times, grid, side="right") - 1]
    return held


def common_grid(times: Sequence[Ints], max_points: int = 500) -> Ints:
    """The times of all runs together, within the range that every run covers.

    Args:
        times: One non-empty int64 [P_r] for each run, increasing.
        max_points: The grid is thinned to this many points.

    Returns:
        int64 [M], strictly increasing; empty when the ranges do not overlap.
    """
    start, end = max(t[0] for t in times), min(t[-1] for t in times)
    grid: Ints = np.unique(np.concatenate(times))
    grid = grid[(grid >= start) & (grid <= end)]
    if len(grid) > max_points:
        kept = np.linspace(0, len(grid) - 1, max_points).round().astype(np.int64)
        grid = grid[kept]
    return grid


def mean_per_time(times: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Averages the values that share a time.

    Args:
        times: int64 [E], not decreasing.
        values: float64 [E].

    Returns:
        The distinct times int64 [M] and the mean value at each, float64 [M].
    """
    distinct, which, counts = np.unique(times, return_inverse=True, return_counts=True)
    return distinct, np.bincount(which, weights=values) / counts
