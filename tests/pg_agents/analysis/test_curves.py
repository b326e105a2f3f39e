"""Learning curves, speed and stability: everything by hand, or by another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pg_agents.analysis import (
    band_of_curves,
    interquartile_mean,
    returns_at,
    running_mean,
    share_above_afterwards,
    stays_above,
    steps_to_threshold,
    stratified_bootstrap_interval,
    time_above_afterwards,
)

NAN = math.nan


def test_running_mean_waits_for_a_full_window() -> None:
    np.testing.assert_array_equal(running_mean([3, 5, 7, 1], 1), [3, 5, 7, 1])
    np.testing.assert_array_equal(running_mean([3, 5, 7, 1], 3), [NAN, NAN, 5, 13 / 3])
    assert np.isnan(running_mean([3.0, 5.0], 3)).all()
    assert len(running_mean([], 3)) == 0


def test_running_mean_does_not_lose_digits() -> None:
    """A difference of running sums would: of 1e12 nothing of 0.001 is left."""
    returns = np.array([1e12] * 3 + [0.001] * 5)
    assert running_mean(returns, 5)[-1] == pytest.approx(0.001, rel=1e-12)


def test_returns_hold_until_the_next_episode_ends() -> None:
    ends, returns = [10, 30, 60], [1.0, 3.0, 8.0]
    grid = [0, 9, 10, 29, 30, 59, 60, 61]
    found = returns_at(ends, returns, grid)
    np.testing.assert_array_equal(found, [NAN, NAN, 1, 1, 3, 3, 8, NAN])
    windowed = returns_at(ends, returns, grid, window=2)
    np.testing.assert_array_equal(windowed, [NAN, NAN, NAN, NAN, 2, 2, 5.5, NAN])
    # The run went on for five steps after its last episode, no further.
    after = returns_at(ends, returns, [60, 65, 66], until=65)
    np.testing.assert_array_equal(after, [8, 8, NAN])
    assert np.isnan(returns_at([], [], [1, 2])).all()


def test_of_two_episodes_at_one_time_the_last_is_taken() -> None:
    """Parallel environments end episodes at the same step."""
    found = returns_at([10, 10, 20], [2.0, 4.0, 6.0], [10, 20], window=2)
    np.testing.assert_array_equal(found, [3, 5])


def test_the_band_is_the_interval_at_each_time() -> None:
    """Each point as if it stood alone, with the same draws of runs."""
    curves = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4)
    band = band_of_curves(np.arange(4), curves, n_resamples=300, rng=1)
    drawn = np.random.default_rng(1).integers(9, size=(300, 9))
    for m in range(4):
        values = [interquartile_mean(curves[runs, m]) for runs in drawn]
        assert band.middle[m] == interquartile_mean(curves[:, m])
        low, high = np.quantile(values, (0.025, 0.975))
        assert (band.low[m], band.high[m]) == pytest.approx((low, high))
    # One point alone has the interval of scores.
    alone = band_of_curves([0.0], curves[:, :1], n_resamples=20_000, rng=2)
    low, high = stratified_bootstrap_interval(curves[:, 0], n_resamples=20_000, rng=3)
    # Quantiles of 20,000 draws differ by 5 * sqrt(2) * 0.019 deviations at most.
    noise = 0.134 * (high - low) / 3.92
    assert alone.low[0] == pytest.approx(low, abs=noise)
    assert alone.high[0] == pytest.approx(high, abs=noise)


def test_the_band_does_not_depend_on_how_much_is_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = np.random.default_rng(4).normal(size=(5, 23))
    whole = band_of_curves(np.arange(23), curves, n_resamples=40)
    monkeypatch.setattr("pg_agents.analysis.curves._AT_ONCE", 2 * 40 * 5)
    parts = band_of_curves(np.arange(23), curves, n_resamples=40)
    np.testing.assert_array_equal(whole, parts)


def test_the_range_is_lowest_to_highest() -> None:
    curves = np.array([[1.0, 5.0], [2.0, 3.0], [9.0, 4.0]])
    band = band_of_curves([0, 1], curves, spread="range")
    np.testing.assert_array_equal(band.low, [1, 3])
    np.testing.assert_array_equal(band.high, [9, 5])
    np.testing.assert_array_equal(band.middle, [4, 4])


def test_when_a_threshold_is_reached() -> None:
    x, curve = [10, 20, 30, 40], [NAN, 4.0, 5.0, 3.0]
    assert steps_to_threshold(x, curve, 5.0) == 30
    assert steps_to_threshold(x, curve, 3.5) == 20
    assert steps_to_threshold(x, curve, 5.1) == math.inf
    assert steps_to_threshold([], [], 0.0) == math.inf


def test_one_lucky_episode_reaches_nothing() -> None:
    returns = np.array([500.0, 10, 10, 400, 480, 490, 500])
    times = np.arange(7)
    assert steps_to_threshold(times, running_mean(returns, 1), 475) == 0
    assert steps_to_threshold(times, running_mean(returns, 3), 475) == 6


def test_stability_is_of_those_that_got_there() -> None:
    stays, falls, never = [1.0, 5.0, 6.0, 5.0], [5.0, 4.9, 9.0, 9.0], [1.0, 2.0]
    assert stays_above(stays, 5.0) is True
    assert stays_above(falls, 5.0) is False
    assert stays_above(never, 5.0) is None
    assert share_above_afterwards([stays, falls, never], 5.0) == 0.5
    assert time_above_afterwards([stays, falls, never], 5.0) == (1.0 + 0.75) / 2
    assert math.isnan(share_above_afterwards([never], 5.0))
    assert math.isnan(time_above_afterwards([never], 5.0))
    # Lower thresholds are reached by all, and kept from their first time on.
    assert share_above_afterwards([stays, falls, never], 1.0) == 1.0


def test_what_stays_has_spent_all_its_time_above() -> None:
    rng = np.random.default_rng(5)
    curves = [np.cumsum(rng.normal(0.2, 1, size=30)) for _ in range(40)]
    for threshold in (0.0, 2.0, 8.0):
        reached = [c for c in curves if (c >= threshold).any()]
        all_time = [time_above_afterwards([c], threshold) == 1.0 for c in reached]
        assert share_above_afterwards(curves, threshold) == np.mean(all_time)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: running_mean([1.0], 0), "window must be an integer >= 1, got 0"),
        (lambda: running_mean([NAN], 1), "returns must be finite"),
        (lambda: returns_at([2, 1], [1, 1], [1]), "must not fall"),
        (lambda: returns_at([2], [1, 1], [1]), "same length"),
        (lambda: band_of_curves([0], [[NAN]]), "curves must be finite"),
        (lambda: band_of_curves([0, 1], [[1.0]]), r"shape \[runs, 2\]"),
        (lambda: band_of_curves([0], [[1.0]], "sd"), "spread must be one of"),  # type: ignore[arg-type]
        (lambda: steps_to_threshold([1], [1], NAN), "threshold must be a number"),
        (lambda: steps_to_threshold([1], [1, 2], 0), "same length"),
    ],
)
def test_bad_arguments_are_refused(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
