"""Aggregates and intervals: known values, identities, enumeration, coverage."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_agents.analysis import (
    bootstrap_interval,
    improvement_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)

NUMBERS = st.lists(
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)), min_size=1
)
# Small integers, so ties are common.
SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=8)


def test_known_interquartile_means() -> None:
    assert interquartile_mean([0, 1, 2, 100]) == 1.5
    # Of ten, two are cut at each end; of three, none.
    assert interquartile_mean([-99, -98, 1, 2, 3, 4, 5, 6, 99, 98]) == 3.5
    assert interquartile_mean([1, 2, 9]) == 4.0
    assert interquartile_mean([7]) == 7.0
    scores = np.array([[0, 1, 2, 100], [5, 5, 5, 5], [9, 7, 8, -1]])
    np.testing.assert_array_equal(interquartile_mean(scores, axis=1), [1.5, 5, 7.5])


@given(NUMBERS, st.floats(0.1, 10), st.floats(-5, 5))
def test_interquartile_mean_is_equivariant_and_ignores_order(
    scores: list[float], scale: float, shift: float
) -> None:
    values = np.array(scores)
    expected = scale * interquartile_mean(values) + shift
    moved = interquartile_mean(scale * values[::-1] + shift)
    assert moved == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [1.0, np.inf]])
def test_missing_and_infinite_scores_are_rejected(scores: list[float]) -> None:
    for function in (interquartile_mean, bootstrap_interval):
        with pytest.raises(ValueError, match="scores must"):
            function(scores)
    with pytest.raises(ValueError, match="y must"):
        probability_of_improvement([1.0], scores)
    with pytest.raises(ValueError, match="x must"):
        improvement_interval(scores, [1.0])
    with pytest.raises(ValueError, match="scores must"):
        performance_profile(scores, [0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 1.0}, "level must lie between 0 and 1, got 1.0"),
        ({"level": 95}, "level must lie between 0 and 1, got 95"),
        ({"level": float("nan")}, "level must lie"),
        ({"n_resamples": 0}, "n_resamples must be an integer >= 1, got 0"),
    ],
)
def test_bad_arguments_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval([1.0, 2.0], **arguments)
    with pytest.raises(ValueError, match=message):
        improvement_interval([1.0, 2.0], [1.0], **arguments)


def test_scores_of_several_tasks_are_rejected() -> None:
    two_tasks = np.zeros((3, 2))
    for call in (
        lambda: bootstrap_interval(two_tasks),
        lambda: performance_profile(two_tasks, [0.0]),
        lambda: probability_of_improvement(two_tasks, [1.0]),
        lambda: improvement_interval([1.0], two_tasks),
    ):
        with pytest.raises(ValueError, match=r"shape \[runs\], got \(3, 2\)"):
            call()


@pytest.mark.parametrize("statistic", [interquartile_mean, np.mean, np.median])
def test_the_interval_is_that_of_all_resamples(statistic: Any) -> None:
    """By enumeration of the 5^5 resamples, all equally likely.

    The ends are quantiles of 40,000 draws, and the level of such a quantile has a
    standard error of 0.0015: they lie between the exact quantiles at 0.1 +- 0.008.
    """
    scores = np.array([0.0, 1.0, 3.0, 10.0, 11.0])
    every = statistic(np.array(list(itertools.product(scores, repeat=5))), axis=1)
    interval = bootstrap_interval(scores, statistic, 0.8, 40_000, rng=1)
    for end, level in zip(interval, (0.1, 0.9), strict=True):
        lowest, highest = np.quantile(every, (level - 0.008, level + 0.008))
        assert lowest - 1e-9 <= end <= highest + 1e-9


def test_identities_of_the_interval() -> None:
    assert bootstrap_interval([5.0]) == (5.0, 5.0)
    assert bootstrap_interval([2.0] * 9) == (2.0, 2.0)
    scores = np.random.default_rng(6).normal(size=12)
    low, high = bootstrap_interval(scores, rng=7)
    assert bootstrap_interval(scores, rng=7) == (low, high)
    moved = bootstrap_interval(2 * scores + 3, rng=7)
    assert moved == pytest.approx((2 * low + 3, 2 * high + 3))
    wider = bootstrap_interval(scores, level=0.99, rng=7)
    assert wider.low < low < high < wider.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_runs", "coverage"), [(3, 0.75), (5, 0.90), (10, 0.93), (20, 0.94), (100, 0.95)]
)
def test_the_interval_has_the_documented_coverage(n_runs: int, coverage: float) -> None:
    """How often the 95 % interval of normal scores contains their mean.

    Over 2,000 samples; the tolerance is five binomial standard errors, 0.048 with 3
    runs and 0.024 with 100 (false alarms: 6e-7 each).
    """
    rng = np.random.default_rng(n_runs + 50)
    covered = 0
    for _ in range(2000):
        scores = rng.normal(size=n_runs)
        low, high = bootstrap_interval(scores, n_resamples=500, rng=rng)
        covered += low <= 0.0 <= high
    error = np.sqrt(coverage * (1 - coverage) / 2000)
    assert abs(covered / 2000 - coverage) < 5 * error


def test_a_profile_is_one_minus_the_empirical_distribution() -> None:
    scores = np.array([1.0, 2.0, 2.0, 5.0])
    share, (low, high) = performance_profile(scores, [0.0, 1.0, 2.0, 3.0, 5.0])
    np.testing.assert_array_equal(share, [1.0, 0.75, 0.25, 0.25, 0.0])
    assert (low <= share).all() and (share <= high).all()
    # All resamples are alike where all runs, or none, are above.
    np.testing.assert_array_equal([low[0], high[0], low[-1], high[-1]], [1, 1, 0, 0])


def test_the_band_of_a_profile_is_the_bootstrap_interval_of_the_share() -> None:
    """Of the share of 25 runs above 12.5, by resampling.

    The number above is discrete, and its distribution function is further than 5
    standard errors of 20,000 draws, 0.0055, from the levels.
    """
    scores = np.arange(25.0)
    _, band = performance_profile(scores, [12.5])
    resampled = bootstrap_interval(scores > 12.5, np.mean, n_resamples=20_000, rng=1)
    distribution = stats.binom(25, 12 / 25).cdf(np.arange(26))
    assert (
        min(abs(distribution - 0.025).min(), abs(distribution - 0.975).min()) > 0.0055
    )
    np.testing.assert_allclose(band[:, 0], resampled)


@given(SCORES, SCORES)
def test_the_probability_of_improvement_counts_pairs(
    x: list[float], y: list[float]
) -> None:
    wins = [float(a > b) + 0.5 * (a == b) for a in x for b in y]
    forward = probability_of_improvement(x, y)
    assert forward == pytest.approx(np.mean(wins))
    assert forward + probability_of_improvement(y, x) == pytest.approx(1.0)
    assert probability_of_improvement(x, x) == 0.5
    # The order alone counts.
    stretched = [np.exp(np.array(scores)) - 7 for scores in (x, y)]
    assert probability_of_improvement(*stretched) == forward


def test_the_interval_of_improvement_by_enumeration() -> None:
    """All 3^3 * 2^2 resamples, equally likely; quantiles of 40,000 draws.

    The level of a quantile has a standard error of 0.0011 at 5 %. The distribution
    jumps at the expected ends by more than 0.005 to either side of the level.
    """
    x, y = np.array([1.0, 3.0, 6.0]), np.array([2.0, 4.0])
    every = [
        probability_of_improvement(x[list(i)], y[list(j)])
        for i in itertools.product(range(3), repeat=3)
        for j in itertools.product(range(2), repeat=2)
    ]
    found = improvement_interval(x, y, 0.9, 40_000, rng=1)
    low, high = np.quantile(every, (0.05, 0.95))
    for end, level in ((low, 0.05), (high, 0.95)):
        below, up_to = np.mean(every < end - 1e-9), np.mean(every <= end + 1e-9)
        assert below < level - 0.005 and up_to > level + 0.005
    assert found.interval == pytest.approx((low, high))
    assert found.probability == probability_of_improvement(x, y)


def test_the_improvement_of_single_runs_has_an_interval() -> None:
    """Of one run against three, only the three are resampled."""
    assert improvement_interval([2.0], [1.0]) == (1.0, (1.0, 1.0))
    probability, (low, high) = improvement_interval([2.0], [1.0, 3.0, 3.0])
    assert probability == pytest.approx(1 / 3)
    assert (low, high) == (0.0, 1.0)
