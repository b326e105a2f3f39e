"""Probability of improvement: identities, SciPy's U, enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pg_agents.analysis import improvement_interval, probability_of_improvement

# Small integers: ties are common.
SCORES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=8)


@given(SCORES, SCORES)
def test_it_is_mann_whitneys_u(x: list[float], y: list[float]) -> None:
    expected = stats.mannwhitneyu(x, y, method="asymptotic").statistic
    assert probability_of_improvement(x, y) == pytest.approx(
        expected / (len(x) * len(y))
    )


@given(SCORES, SCORES)
def test_one_is_better_or_the_other(x: list[float], y: list[float]) -> None:
    there, back = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert there + back == pytest.approx(1.0)
    assert probability_of_improvement(x, x) == 0.5


@given(SCORES, SCORES)
def test_only_the_order_counts(x: list[float], y: list[float]) -> None:
    stretched = [np.exp(np.array(scores)) - 7 for scores in (x, y)]
    assert probability_of_improvement(*stretched) == probability_of_improvement(x, y)


def test_known_values_and_tasks_that_count_alike() -> None:
    assert probability_of_improvement([2.0, 3.0], [1.0, 2.0]) == 3.5 / 4
    assert probability_of_improvement([1.0], [2.0, 3.0, 4.0]) == 0.0
    x = np.array([[1.0, 5.0], [2.0, 6.0]])
    y = np.array([[3.0, 1.0], [4.0, 2.0], [5.0, 3.0]])
    # Never better at the first task, always at the second.
    assert probability_of_improvement(x, y) == 0.5


def test_its_interval_by_enumeration() -> None:
    """All 3^3 * 2^2 resamples, each as likely as the others; quantiles of 40,000 draws.

    The share below a quantile has a standard error of 0.0011 at 5 %. The expected ends
    are checked to lie where the distribution jumps by far more, 0.005 to either side.
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


def test_mixed_tasks_are_resampled_apart() -> None:
    """The interval of two tasks is shorter than of one: their draws are independent."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(15, 2)), rng.normal(size=(15, 2))
    both = improvement_interval(x, y, rng=3).interval
    each = [improvement_interval(x[:, k], y[:, k], rng=3).interval for k in (0, 1)]
    widths = np.array([high - low for low, high in each])
    # Independent draws: the width of their mean, as if normal. Drawn together it would
    # be about the mean of the widths, 1.4 times as much.
    expected = np.linalg.norm(widths) / 2
    assert both.high - both.low == pytest.approx(expected, rel=0.15)


def test_the_interval_mirrors_with_the_algorithms() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=12), rng.normal(0.5, size=9)
    there = improvement_interval(x, y, n_resamples=20_000, rng=5)
    back = improvement_interval(y, x, n_resamples=20_000, rng=6)
    # Quantiles of 20,000 draws: noise of 0.019 deviations each; 5 * sqrt(2) of it.
    sd = (there.interval.high - there.interval.low) / 3.92
    mirrored = (1 - back.interval.high, 1 - back.interval.low)
    np.testing.assert_allclose(there.interval, mirrored, atol=0.134 * sd + 1 / 108)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"same tasks, got \(3, 2\) and \(3, 1\)"):
        probability_of_improvement(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="y must hold at least one run"):
        probability_of_improvement([1.0], [])
    with pytest.raises(ValueError, match="level must lie"):
        improvement_interval([1.0], [1.0], level=95)
