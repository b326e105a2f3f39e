"""Aggregates and their intervals: known values, identities, other implementations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_agents.analysis import (
    interquartile_mean,
    median,
    performance_profile,
    stratified_bootstrap,
    stratified_bootstrap_interval,
)
from pg_agents.analysis.scores import percentiles

NUMBERS = st.lists(
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)), min_size=1
)


def test_known_interquartile_means() -> None:
    assert interquartile_mean([0, 1, 2, 100]) == 1.5
    # Of ten two are cut at each end, of three none.
    assert interquartile_mean([-99, -98, 1, 2, 3, 4, 5, 6, 99, 98]) == 3.5
    assert interquartile_mean([1, 2, 9]) == 4.0
    assert interquartile_mean([7]) == 7.0


@given(NUMBERS)
def test_it_is_the_trimmed_mean_of_scipy(scores: list[float]) -> None:
    """Which is how rliable defines it."""
    found = interquartile_mean(scores)
    assert found == pytest.approx(stats.trim_mean(scores, 0.25), rel=1e-12, abs=1e-9)


@given(NUMBERS, st.floats(0.1, 10), st.floats(-5, 5))
def test_it_moves_with_the_scale_and_forgets_the_order(
    scores: list[float], scale: float, shift: float
) -> None:
    values = np.array(scores)
    expected = scale * interquartile_mean(values) + shift
    moved = interquartile_mean(scale * values[::-1] + shift)
    assert moved == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_an_axis_is_reduced_and_without_one_tasks_are_pooled() -> None:
    scores = np.random.default_rng(0).normal(size=(9, 4))
    by_task = interquartile_mean(scores, axis=0)
    np.testing.assert_allclose(by_task, stats.trim_mean(scores, 0.25, axis=0))
    assert interquartile_mean(scores) == stats.trim_mean(scores.ravel(), 0.25)


def test_a_run_that_went_astray_does_not_move_it() -> None:
    rest = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert interquartile_mean([8.0, *rest]) == interquartile_mean([1e9, *rest])


def test_median_orders_what_never_came() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([1.0, np.inf, 2.0]) == 2.0
    assert median([1.0, np.inf, np.inf]) == np.inf
    assert median([1.0, np.inf]) == np.inf


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [1.0, np.inf]])
def test_scores_that_are_none(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="scores must"):
        interquartile_mean(scores)
    with pytest.raises(ValueError, match="scores must"):
        stratified_bootstrap_interval(scores)
    if np.inf not in scores:
        with pytest.raises(ValueError, match="scores must"):
            median(scores)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"level": 1.0}, "level must lie between 0 and 1, got 1.0"),
        ({"level": float("nan")}, "level must lie"),
        ({"n_resamples": 0}, "n_resamples must be an integer >= 1, got 0"),
        ({"scores": np.zeros((2, 2, 2))}, r"\[runs\] or \[runs, tasks\]"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        stratified_bootstrap_interval(**({"scores": [1.0, 2.0]} | arguments))


@pytest.mark.parametrize("statistic", [interquartile_mean, np.mean, np.median])
def test_resamples_are_all_that_there_can_be(statistic: Any) -> None:
    """The distribution against the n^n resamples, each as likely as the others.

    With 40,000 draws a share has a standard error of at most 0.0025; no share of the
    distribution function may be off by 5 of them at any of at most 256 values (normal:
    6e-7 each, 1.5e-4 for all; three cases).
    """
    scores = np.array([0.0, 1.0, 3.0, 10.0])
    every = [
        statistic(np.array(drawn)) for drawn in itertools.product(scores, repeat=4)
    ]
    drawn = stratified_bootstrap(scores, statistic, 40_000, rng=1)
    for value in np.unique(every):
        expected = np.mean(every <= value + 1e-9)
        assert abs(np.mean(drawn <= value + 1e-9) - expected) < 5 * 0.0025


def test_runs_are_drawn_within_their_task() -> None:
    """Of tasks with two runs each, all 16 pairs of resamples: again by enumeration."""
    scores = np.array([[0.0, 100.0], [1.0, 110.0]])
    pairs = [np.array(p) for p in itertools.product((0, 1), repeat=4)]
    every = [(scores[p[:2], 0].sum() + scores[p[2:], 1].sum()) / 4 for p in pairs]
    drawn = stratified_bootstrap(scores, np.mean, 40_000, rng=2)
    # Standard error at most 0.0025; five of them, seven values.
    for value in np.unique(every):
        share = np.mean(np.isclose(drawn, value))
        assert abs(share - np.mean(np.isclose(every, value))) < 5 * 0.0025
    assert np.isin(np.round(drawn, 9), np.round(every, 9)).all()


def test_the_interval_is_that_of_scipy() -> None:
    """Another implementation, other draws: ends that agree within their noise.

    The 2.5 % quantile of 20,000 normal draws of deviation s has a standard error of
    sqrt(0.025 * 0.975 / 20,000) / 0.0584 * s = 0.019 s; two ends of two samples may
    differ by 5 * sqrt(2) * 0.019 s = 0.134 s (6e-7 each).
    """
    scores = np.random.default_rng(3).normal(size=25)
    ours = stratified_bootstrap_interval(scores, np.mean, 0.95, 20_000, rng=4)
    theirs = stats.bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=5
    ).confidence_interval
    s = scores.std() / 5
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=0.134 * s)


def test_intervals_that_are_known() -> None:
    assert stratified_bootstrap_interval([5.0]) == (5.0, 5.0)
    assert stratified_bootstrap_interval([2.0] * 9) == (2.0, 2.0)
    assert percentiles(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
    scores = np.random.default_rng(6).normal(size=12)
    low, high = stratified_bootstrap_interval(scores, rng=7)
    assert stratified_bootstrap_interval(scores, rng=7) == (low, high)
    # The same draws, scaled and moved.
    moved = stratified_bootstrap_interval(2 * scores + 3, rng=7)
    assert moved == pytest.approx((2 * low + 3, 2 * high + 3))
    wider = stratified_bootstrap_interval(scores, level=0.99, rng=7)
    assert wider.low < low < high < wider.high


def test_the_draws_do_not_depend_on_how_many_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = np.random.default_rng(8).normal(size=(6, 2))
    at_once = stratified_bootstrap(scores, interquartile_mean, 50, rng=9)
    monkeypatch.setattr("pg_agents.analysis.scores._AT_ONCE", 7 * scores.size)
    np.testing.assert_array_equal(
        stratified_bootstrap(scores, interquartile_mean, 50, rng=9), at_once
    )


def test_a_profile_is_one_less_the_empirical_distribution() -> None:
    scores = np.array([1.0, 2.0, 2.0, 5.0])
    share, (low, high) = performance_profile(scores, [0.0, 1.0, 2.0, 3.0, 5.0])
    np.testing.assert_array_equal(share, [1.0, 0.75, 0.25, 0.25, 0.0])
    assert (low <= share).all() and (share <= high).all()
    # Its integral from the lowest score on is what the mean lies above it.
    levels = np.linspace(1.0, 5.0, 40_001)
    area = performance_profile(scores, levels, n_resamples=1)[0][:-1].mean() * 4.0
    assert area == pytest.approx(scores.mean() - 1.0, abs=1e-3)


def test_the_band_of_a_profile_is_binomial() -> None:
    """Of 25 runs, 12 above: a resample has Binomial(25, 12/25) above.

    A quantile of a discrete distribution from 20,000 draws is its own, or a neighbour's
    where the distribution function comes within 5 standard errors, 5 * 0.0011, of the
    level; here it does not.
    """
    _, band = performance_profile(np.arange(25.0), [12.5], n_resamples=20_000, rng=1)
    above, levels = stats.binom(25, 12 / 25), np.array([0.025, 0.975])
    expected = above.ppf(levels)
    assert abs(above.cdf([expected, expected - 1]) - levels).min() > 0.0055
    np.testing.assert_allclose(band[:, 0], expected / 25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_runs", "coverage"),
    [(3, 0.75), (5, 0.90), (10, 0.93), (20, 0.94), (100, 0.95)],
)
def test_the_interval_covers_what_its_documentation_says(
    n_runs: int, coverage: float
) -> None:
    """How often the 95 % interval of normal scores holds their centre.

    Of 2,000 samples; five binomial standard errors are allowed, 0.048 with 3 runs and
    0.024 with 100 (6e-7 each).
    """
    rng = np.random.default_rng(n_runs + 50)
    held = 0
    for _ in range(2000):
        scores = rng.normal(size=n_runs)
        low, high = stratified_bootstrap_interval(scores, n_resamples=500, rng=rng)
        held += low <= 0.0 <= high
    error = np.sqrt(coverage * (1 - coverage) / 2000)
    assert abs(held / 2000 - coverage) < 5 * error
