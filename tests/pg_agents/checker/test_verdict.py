"""The verdict on a task follows angle, noise and length; that on all is the worst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import resolve_task
from pg_agents.checker.verdict import Measurement, TaskResult, Verdict, judge, worst

TASK = resolve_task("PGToy-Sequence-v0", 0.9, None, bootstrap=False)


def measurement(mean: list[float], noise: float = 0.5, n: int = 4000) -> Measurement:
    """Gaussian estimates around a mean, of an exact gradient of length 2."""
    rng = np.random.default_rng(0)
    gradients = np.array(mean) + noise * rng.normal(size=(n, 2))
    series = GradientSeries(gradients, np.zeros((n, 0)))
    # Two states with two logits each.
    to_outputs = np.zeros((4, 2))
    to_outputs[[0, 1], 0] = 0.5**0.5, -(0.5**0.5)
    to_outputs[[2, 3], 1] = 0.5**0.5, -(0.5**0.5)
    exact = np.array([[2.0**0.5, -(2.0**0.5)], [0.0, 0.0]])
    return Measurement(TASK, series, np.array([2.0, 0.0]), to_outputs, exact, 8.0)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        ([2.0, 0.0], "right"),
        # Any positive length is right.
        ([0.4, 0.0], "right"),
        ([90.0, 0.0], "right"),
        # The standard error of a coordinate is 0.008, 5 % of 2 is 12 times as much.
        ([2.0, 0.1], "wrong"),
        ([-2.0, 0.0], "wrong"),
        ([0.0, 2.0], "wrong"),
        ([0.0, 0.0], "no gradient"),
    ],
)
def test_the_verdict_follows_the_direction(mean: list[float], verdict: str) -> None:
    """Each false alarm has a probability of 1 in 10,000."""
    assert judge(measurement(mean)).verdict == verdict


@pytest.mark.parametrize("mean", [[2.0, 0.0], [2.0, 1.5], [0.0, 0.0]])
def test_too_much_noise_is_undecided_and_says_how_much_more_is_needed(
    mean: list[float],
) -> None:
    noisy = judge(measurement(mean, noise=20.0, n=1000))
    assert noisy.verdict == "undecided"
    assert noisy.more_episodes is not None
    # The standard error of the mean is 0.63 of a length of 2, and 0.025 is wanted of
    # the upper bound: 200 to 2,000 times as many episodes.
    assert 200 * 8_000 < noisy.more_episodes < 5_000 * 8_000
    decided = judge(measurement(mean, noise=20.0, n=1000 + noisy.more_episodes // 8))
    assert decided.verdict != "undecided" and decided.more_episodes is None


def test_right_needs_an_interval_without_a_bias_of_five_percent() -> None:
    """The standard error is n^-1/2 of the length; it must be about 0.02.

    Of a right mean, whose confirmed rejection has probability 1e-4.
    """
    coarse = judge(measurement([2.0, 0.0], noise=2.0, n=400))
    assert coarse.verdict == "undecided" and coarse.p_value > 1e-4
    assert coarse.error_interval is not None and coarse.error_interval[1] > 0.05
    fine = judge(measurement([2.0, 0.0], noise=2.0, n=40_000))
    assert fine.verdict == "right"
    assert fine.error_interval is not None and fine.error_interval[1] < 0.05


def test_no_cosine_is_given_where_the_gradient_may_be_zero() -> None:
    for noise in (0.5, 20.0):
        result = judge(measurement([0.0, 0.0], noise))
        assert result.cosine is None and result.cosine_interval is None
        assert result.error is None and result.error_interval is None


def test_an_insufficient_sample_is_undecided() -> None:
    short = replace(measurement([2.0, 0.0]), sample_is_sufficient=False)
    result = judge(short)
    assert result.verdict == "undecided"
    assert result.more_episodes == 3 * result.n_episodes == 3 * 32_000


def test_figures_are_those_of_the_estimates() -> None:
    """Standard error of each coordinate 0.5 / sqrt(4000) = 0.008, 4 of them 0.032."""
    result = judge(replace(measurement([1.0, 1.0]), steps_per_unit=3.0))
    assert result.length == pytest.approx(3.0 * 0.5, abs=0.05)
    assert result.error == pytest.approx(1.0, abs=0.05)
    assert result.cosine == pytest.approx(0.5**0.5, abs=0.02)
    assert (result.n_episodes, result.n_gradients) == (32_000, 4_000)
    assert (result.gamma, result.horizon) == (0.9, 100)


def test_the_table_compares_states_up_to_the_factor() -> None:
    table = judge(measurement([1.0, 1.0])).table
    assert table is not None
    assert table.factor == pytest.approx(0.5, abs=0.016)
    np.testing.assert_allclose(table.estimated[0], table.exact[0], atol=1e-9)
    assert table.estimated[1] == pytest.approx([2.0**0.5, -(2.0**0.5)], abs=0.05)
    assert table.deviation == pytest.approx(
        np.full((2, 2), 0.5 / 4000**0.5 * 0.5**0.5 / table.factor), rel=0.05
    )
    # The most different ones, in order.
    assert [row[:2] for row in table.rows(2)] == [(1, 0), (1, 1)]
    # Without a positive factor nothing is divided.
    opposite = judge(measurement([-1.0, 0.0])).table
    assert opposite is not None and opposite.factor == 1.0
    assert opposite.estimated[0] == pytest.approx([-(0.5**0.5), 0.5**0.5], abs=0.03)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["right"] * 3, "right"),
        (["right", "wrong", "undecided"], "wrong"),
        (["right", "undecided", "right"], "undecided"),
        (["no gradient"] * 2, "no gradient"),
        (["no gradient", "undecided"], "no gradient"),
        (["no gradient", "right"], "wrong"),
    ],
)
def test_the_verdict_on_all_tasks_is_the_worst(
    verdicts: list[Verdict], expected: str
) -> None:
    some = judge(measurement([2.0, 0.0]))

    def result(verdict: Verdict) -> TaskResult:
        may_be_zero = verdict in ("no gradient", "undecided")
        both = "no gradient" in verdicts and may_be_zero
        return replace(some, verdict=verdict, cosine=None if both else 1.0)

    assert worst([result(verdict) for verdict in verdicts]) == expected
