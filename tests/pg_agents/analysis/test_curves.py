"""Learning curves, speed and stability, by hand or by another computation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_agents.analysis import (
    band_of_curves,
    bootstrap_interval,
    hold,
    interquartile_mean,
    learning_curves,
    mean_band,
    read_group,
    running_mean,
    share_above_afterwards,
    steps_to_threshold,
    time_above_afterwards,
)
from pg_agents.analysis.curves import evenly_spaced
from tests.pg_agents.analysis.run_folders import write_run

NAN = math.nan


def test_a_running_mean_needs_its_periods() -> None:
    np.testing.assert_array_equal(running_mean([3, 5, 7, 1], 3), [NAN, NAN, 5, 13 / 3])
    np.testing.assert_array_equal(running_mean([3, 5, 7], 3, 2), [NAN, 4, 5])
    np.testing.assert_array_equal(running_mean([1, 3, 8, 0], 2, 1), [1, 2, 5.5, 4])
    assert len(running_mean([], 3)) == 0


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    st.integers(1, 45),
    st.integers(1, 45),
)
def test_a_running_mean_is_the_mean_of_each_window(
    values: list[float], window: int, min_periods: int
) -> None:
    windows = [values[max(0, i - window + 1) : i + 1] for i in range(len(values))]
    means = [float(np.mean(w)) if len(w) >= min_periods else NAN for w in windows]
    found = running_mean(values, window, min_periods)
    assert found.tolist() == pytest.approx(means, rel=1e-9, abs=1e-9, nan_ok=True)


def test_a_running_mean_does_not_lose_digits() -> None:
    """A difference of cumulated sums would: nothing of 0.001 is left beside 1e12."""
    returns = np.array([1e12] * 3 + [0.001] * 5)
    assert running_mean(returns, 5)[-1] == pytest.approx(0.001, rel=1e-12)


def test_values_hold_until_the_next() -> None:
    ends, returns = [10, 30, 60], [1.0, 3.0, 8.0]
    grid = [0, 9, 10, 29, 30, 59, 60, 61]
    found = hold(ends, returns, grid)
    np.testing.assert_array_equal(found, [NAN, NAN, 1, 1, 3, 3, 8, NAN])
    assert np.isnan(hold([], [], [1, 2])).all()
    # Episodes of parallel environments end at the same step: the last one counts.
    np.testing.assert_array_equal(hold([1, 1, 2], [2, 4, 6], [1, 2]), [4, 6])
    rows = hold([0, 5], [[1.0, 2.0], [3.0, 4.0]], [4, 5])
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4]])


def test_the_band_is_the_interval_at_each_time() -> None:
    """As if each time stood alone, with the same resamples of whole runs."""
    curves = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4)
    band = band_of_curves(np.arange(4), curves, n_resamples=300, rng=1)
    for m in range(4):
        assert band.middle[m] == pytest.approx(interquartile_mean(curves[:, m]))
        alone = bootstrap_interval(curves[:, m], n_resamples=300, rng=1)
        assert (band.low[m], band.high[m]) == pytest.approx(alone)


def test_the_band_does_not_depend_on_the_batches_of_resamples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = np.random.default_rng(4).normal(size=(5, 23))
    at_once = band_of_curves(np.arange(23), curves, n_resamples=40)
    monkeypatch.setattr("pg_agents.analysis.statistics._MAX_RESAMPLED", 7 * curves.size)
    in_parts = band_of_curves(np.arange(23), curves, n_resamples=40)
    np.testing.assert_allclose(at_once, in_parts)


def test_other_bands() -> None:
    curves = np.array([[1.0, 5.0], [2.0, 3.0], [9.0, 4.0]])
    lowest_to_highest = band_of_curves([0, 1], curves, spread="range")
    np.testing.assert_array_equal(lowest_to_highest[1:], [[4, 4], [1, 3], [9, 5]])
    runs = [np.array([1.0, NAN, NAN]), np.array([3.0, 5.0])]
    x, mean, low, high = mean_band(np.arange(3), runs)
    np.testing.assert_array_equal(x, [0, 1, 2])
    np.testing.assert_array_equal(mean, [2, 5, NAN])
    np.testing.assert_allclose([low, high], [[1.2, 5, NAN], [2.8, 5, NAN]])


def test_the_curves_of_a_group_end_with_each_run_and_the_band_with_the_shortest(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "a", 0, [1.0, 2.0, 3.0, 4.0], lengths=[10] * 4)
    write_run(tmp_path / "a", 1, [5.0, 6.0, 7.0], lengths=[5] * 3)
    curves = learning_curves(read_group(tmp_path / "a"), "episodes", 2, "range")
    band = curves.band
    assert (band.x[0], band.low[0], band.high[0]) == (2, 1.5, 5.5)
    assert (band.x[-1], band.low[-1], band.high[-1]) == (3, 2.5, 6.5)
    assert band.middle[-1] == interquartile_mean([2.5, 6.5])
    first, second = curves.runs
    np.testing.assert_array_equal(first, [[2, 3, 4], [1.5, 2.5, 3.5]])
    np.testing.assert_array_equal(second, [[2, 3], [5.5, 6.5]])


def test_long_runs_are_thinned_to_their_ends(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, np.arange(5000.0).tolist())
    ((x, y),) = learning_curves(read_group(tmp_path / "a"), "episodes", 10).runs
    assert (len(x), x[0], x[-1]) == (300, 10, 5000)
    np.testing.assert_allclose(y, x - 5.5)
    assert evenly_spaced(101, 5).tolist() == [0, 25, 50, 75, 100]
    assert evenly_spaced(3, 60).tolist() == [0, 1, 2]
    assert evenly_spaced(10, 1).tolist() == [9]
    assert evenly_spaced(0, 5).tolist() == []


def test_runs_without_a_time_in_common_have_no_band(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, [1.0, 1.0], lengths=[10, 10])
    write_run(tmp_path / "a", 1, [1.0, 1.0], lengths=[100, 100])
    group = read_group(tmp_path / "a")
    with pytest.raises(ValueError, match="have no steps in common"):
        learning_curves(group, "steps", 1)
    with pytest.raises(ValueError, match="has 2 training episodes, fewer than 3"):
        learning_curves(group, "steps", 3)


def test_when_a_threshold_is_reached() -> None:
    x, curve = [10, 20, 30, 40], [NAN, 4.0, 5.0, 3.0]
    assert steps_to_threshold(x, curve, 5.0) == 30
    assert steps_to_threshold(x, curve, 3.5) == 20
    assert steps_to_threshold(x, curve, 5.1) == math.inf
    assert steps_to_threshold([], [], 0.0) == math.inf
    # One lucky episode does not reach it.
    returns, times = np.array([500.0, 10, 10, 400, 480, 490, 500]), np.arange(7)
    assert steps_to_threshold(times, running_mean(returns, 1), 475) == 0
    assert steps_to_threshold(times, running_mean(returns, 3), 475) == 6


def test_stability_is_that_of_the_runs_that_reached_the_threshold() -> None:
    stays, falls, never = [1.0, 5.0, 6.0, 5.0], [5.0, 4.9, 9.0, 9.0], [1.0, 2.0]
    assert share_above_afterwards([stays, falls, never], 5.0) == 0.5
    assert time_above_afterwards([stays, falls, never], 5.0) == (1.0 + 0.75) / 2
    assert math.isnan(share_above_afterwards([never], 5.0))
    assert math.isnan(time_above_afterwards([never], 5.0))
    assert share_above_afterwards([stays, falls, never], 1.0) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: running_mean([1.0], 0), "window must be an integer >= 1, got 0"),
        (lambda: running_mean([1.0], 2, 0), "min_periods must be an integer >= 1"),
        (lambda: running_mean([NAN], 1), "values must be finite"),
        (lambda: band_of_curves([0], [[NAN]]), "curves must be finite"),
        (lambda: band_of_curves([0, 1], [[1.0]]), r"shape \[runs, 2\]"),
        (lambda: band_of_curves([0], [[1.0]], "sd"), "spread must be one of"),  # type: ignore[arg-type]
        (lambda: steps_to_threshold([1], [1], NAN), "threshold must be a number"),
        (lambda: steps_to_threshold([1], [1, 2], 0), "same length"),
        (lambda: share_above_afterwards([[1]], NAN), "threshold must be a number"),
    ],
)
def test_bad_arguments_are_rejected(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
