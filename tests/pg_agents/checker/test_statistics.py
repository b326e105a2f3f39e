"""Means, tests and intervals, compared with other implementations and by simulation.

Seeds are fixed; docstrings state how often another seed would fail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pg_agents.checker.statistics import (
    MAX_TESTED_DIRECTIONS,
    ROUNDING,
    MeanEstimate,
    control_variate_mean,
    controls_are_inconsistent,
    cosine,
    difference_p_value,
    direction_error,
    fit_component,
    group_means,
)

Floats = NDArray[np.float64]


def none_for(samples: Floats) -> Floats:
    return np.zeros((len(samples), 0))


def correlated(rng: np.random.Generator, n: int, d: int) -> tuple[Floats, Floats]:
    """Normal samples `[n, d]` of mean 0, and their covariance."""
    root = np.tril(rng.normal(size=(d, d))) + 2.0 * np.eye(d)
    return rng.normal(size=(n, d)) @ root.T, root @ root.T


def intercept(samples: Floats, controls: Floats) -> Floats:
    """Least squares with a constant, by NumPy's own solver."""
    design = np.column_stack([np.ones(len(samples)), controls])
    found: Floats = np.linalg.lstsq(design, samples, rcond=None)[0][0]
    return found


def test_without_controls_it_is_the_sample_mean_and_its_covariance() -> None:
    samples, _ = correlated(np.random.default_rng(0), 50, 3)
    found = control_variate_mean(samples, none_for(samples))
    np.testing.assert_allclose(found.value, samples.mean(axis=0))
    # s^2 / (n - 1) where the classical one is s^2 / n: the jackknife errs upwards.
    expected = np.cov(samples.T) / 49
    np.testing.assert_allclose(found.covariance, expected)


@pytest.mark.parametrize("n_controls", [0, 1, 4])
def test_the_covariance_is_that_of_leaving_each_sample_out(n_controls: int) -> None:
    """HC3: `sum_i (b - b_i)(b - b_i)'`, b_i fitted without sample i, 40 fits."""
    rng = np.random.default_rng(1)
    samples, _ = correlated(rng, 40, 3)
    controls = rng.exponential(size=(40, n_controls)) - 1.0
    samples[:, :n_controls] += 3.0 * controls[:, :3]
    samples *= 1.0 + np.abs(rng.normal(size=(40, 1)))
    found = control_variate_mean(samples, controls)
    whole = intercept(samples, controls)
    np.testing.assert_allclose(found.value, whole)
    kept = [np.delete(np.arange(40), i) for i in range(40)]
    gaps = np.array([whole - intercept(samples[k], controls[k]) for k in kept])
    np.testing.assert_allclose(found.covariance, gaps.T @ gaps, rtol=1e-8)


def test_controls_equal_to_the_noise_remove_all_variance() -> None:
    noise, _ = correlated(np.random.default_rng(2), 60, 4)
    mean = np.array([1.0, -2.0, 0.0, 5.0])
    found = control_variate_mean(mean + noise @ np.diag([1.0, -3.0, 0.5, 2.0]), noise)
    np.testing.assert_allclose(found.value, mean, atol=1e-12)
    np.testing.assert_allclose(found.covariance, 0.0, atol=1e-20)


@pytest.mark.parametrize("wobble", [0.0, 1e-17])
def test_a_control_that_does_not_vary_changes_nothing(wobble: float) -> None:
    """Its variation is rounding."""
    rng = np.random.default_rng(3)
    samples, control = rng.normal(size=(2, 60, 1))
    constant = 1e-8 + wobble * rng.normal(size=(60, 1))
    found = control_variate_mean(samples, np.column_stack([control, constant]))
    np.testing.assert_allclose(found.value, intercept(samples, control))


def test_a_control_that_is_zero_but_for_rounding_changes_nothing() -> None:
    """Its mean is as large as its deviation, so that it would take the intercept's."""
    rng = np.random.default_rng(4)
    samples, control = rng.normal(size=(2, 60, 1))
    rounding = 1e-17 * (1.0 + rng.normal(size=(60, 1)))
    found = control_variate_mean(samples, np.column_stack([control, rounding]))
    np.testing.assert_allclose(found.value, intercept(samples, control))


def test_controls_with_a_constant_combination_are_inconsistent() -> None:
    """Controls of mean 0 cannot have a constant difference of 0.3."""
    noise = np.random.default_rng(0).normal(size=(200, 1))
    assert not controls_are_inconsistent(np.column_stack([noise, 2.0 * noise]))
    assert controls_are_inconsistent(np.column_stack([noise, noise + 0.3]))
    assert not controls_are_inconsistent(noise[:, :0])
    assert not controls_are_inconsistent(np.random.default_rng(1).normal(size=(200, 5)))


def test_controls_are_ignored_with_too_few_samples() -> None:
    rng = np.random.default_rng(4)
    samples, controls = rng.normal(size=(19, 2)), rng.normal(size=(19, 4))
    found = control_variate_mean(samples, controls)
    np.testing.assert_allclose(found.value, samples.mean(axis=0))
    more = rng.normal(size=(20, 2)), rng.normal(size=(20, 4))
    np.testing.assert_allclose(control_variate_mean(*more).value, intercept(*more))


@pytest.mark.parametrize("d", [1, 3, 8, 12])
def test_degrees_of_freedom_of_normal_samples(d: int) -> None:
    """`1 / sum_i (q_i / D)^2` has its limit at `R D / (D + 2)`.

    q_i is a squared normal length over R, whose mean square is `D (D + 2) / R^2`; only
    the 8 numbers tested count. With 20,000 samples the standard error of the ratio is
    `sqrt(96 / 9 / R)`, 2.4 %, at D = 1, and smaller above; 4 of them; false alarms: one
    in 16,000 for each D.
    """
    samples, _ = correlated(np.random.default_rng(6), 20_000, d)
    tested = min(d, MAX_TESTED_DIRECTIONS)
    expected = 20_000 * tested / (tested + 2)
    found = control_variate_mean(samples, none_for(samples))
    assert found.degrees_of_freedom == pytest.approx(expected, rel=0.096)


def test_degrees_of_freedom_of_equal_parts_are_all_but_one() -> None:
    samples = np.where(np.arange(100) % 2 == 0, 1.0, -1.0)[:, None]
    assert control_variate_mean(
        samples, none_for(samples)
    ).degrees_of_freedom == pytest.approx(99.0)


def test_degrees_of_freedom_of_sparse_samples_are_the_nonzero_ones() -> None:
    samples = np.zeros((10_000, 1))
    samples[[3, 500, 777, 8_000, 9_999]] = 1.0
    found = control_variate_mean(samples, none_for(samples))
    assert found.degrees_of_freedom == pytest.approx(5.0, rel=0.01)


def test_tests_use_the_first_eight_directions() -> None:
    covariance = np.arange(100.0).reshape(10, 10)
    tested = MeanEstimate(np.arange(10.0), covariance, 7.0).leading()
    np.testing.assert_array_equal(tested.value, np.arange(8.0))
    np.testing.assert_array_equal(tested.covariance, covariance[:8, :8])
    assert tested.degrees_of_freedom == 7.0


def test_in_one_dimension_the_test_is_students_t() -> None:
    """The same p-value as scipy's t-test, with its covariance and degrees."""
    rng = np.random.default_rng(7)
    for n in (3, 10, 200):
        sample = rng.normal(0.3, 2.0, size=n)
        covariance = np.array([[sample.var(ddof=1) / n]])
        mean = MeanEstimate(np.array([sample.mean()]), covariance, n - 1)
        found = difference_p_value(mean, np.array([0.1]), 0.0)
        assert found == pytest.approx(stats.ttest_1samp(sample, 0.1).pvalue)


def test_p_values_are_uniform_under_the_hypothesis() -> None:
    """Uniform if there is no difference: Kolmogorov-Smirnov, one failure in 1,000.

    With the classical covariance and degrees the distribution is exact for 12 samples
    of 4 numbers; a degree of freedom more or fewer would be found.
    """
    rng = np.random.default_rng(8)
    found = []
    for _ in range(4_000):
        samples, _ = correlated(rng, 12, 4)
        covariance = np.cov(samples.T) / 12
        mean = MeanEstimate(samples.mean(axis=0), covariance, 11)
        found.append(difference_p_value(mean, np.zeros(4), 0.0))
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_p_values_with_control_variates_are_uniform() -> None:
    """2,000 means of 300 samples; Kolmogorov-Smirnov, one failure in 1,000."""
    rng = np.random.default_rng(9)
    truth, found = np.array([1.0, 0.0, -1.0]), []
    for _ in range(2_000):
        noise = rng.normal(size=(300, 3))
        controls = noise[:, :2] + rng.normal(size=(300, 2))
        mean = control_variate_mean(truth + noise, controls)
        found.append(difference_p_value(mean, truth, 1.0))
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_differences_by_rounding_are_ignored() -> None:
    """A tenth of the rounding of float32 is let through, a hundredfold is not."""
    mean = MeanEstimate(np.array([1.0, 0.0]), np.zeros((2, 2)), 1_000.0)
    for factor, is_none in ((0.1, True), (100.0, False)):
        expected = np.array([1.0, factor * ROUNDING * 5.0])
        assert (difference_p_value(mean, expected, 5.0) > 0.5) is is_none


def test_too_few_samples_give_a_p_value_of_1() -> None:
    mean = MeanEstimate(np.full(4, 100.0), np.eye(4), 3.9)
    assert difference_p_value(mean, np.zeros(4), 1.0) == 1.0
    enough = MeanEstimate(mean.value, mean.covariance, 4.0)
    assert difference_p_value(enough, np.zeros(4), 1.0) < 0.05
    single = MeanEstimate(np.array([9.0]), np.eye(1), 100.0)
    assert difference_p_value(single, np.zeros(1), 1.0, n_fitted=1) == 1.0


def draws(
    rng: np.random.Generator, truth: Floats, covariance: Floats, n: int
) -> list[MeanEstimate]:
    """Measured means of a true one, whose covariance is known."""
    values = rng.multivariate_normal(truth, covariance, size=n)
    return [MeanEstimate(value, covariance, 1e6) for value in values]


NOISE = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, 0.02], [0.0, 0.02, 0.01]])
EXACT = np.array([2.0, 0.0, 0.0])


def test_the_error_is_corrected_for_noise() -> None:
    difference = np.array([0.0, 0.4, 0.3])
    mean = MeanEstimate(EXACT + difference, np.diag([0.0, 0.0, 0.09]), 1e6)
    found, (low, high) = direction_error(mean, EXACT)
    assert found == pytest.approx(0.4 / 2.0)  # sqrt(0.25 - 0.09) = 0.4
    margin = 1.959964 * (4.0 * 0.3**2 * 0.09 + 2.0 * 0.09**2) ** 0.5
    assert high == pytest.approx((0.16 + margin) ** 0.5 / 2.0)
    assert low == 0.0


@pytest.mark.parametrize("factor", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("degrees", [0.0, 20.0, 60.0])
def test_the_error_is_the_tangent_of_the_angle(factor: float, degrees: float) -> None:
    angle = np.deg2rad(degrees)
    value = factor * np.array([np.cos(angle), 0.0, np.sin(angle)])
    found, interval = direction_error(MeanEstimate(value, np.zeros((3, 3)), 1e6), EXACT)
    assert found == pytest.approx(np.tan(angle), abs=1e-9)
    assert interval == pytest.approx((found, found), abs=1e-9)


def test_the_error_of_an_opposite_gradient_is_infinite() -> None:
    nothing = np.zeros((3, 3))
    for value in (-EXACT, np.array([0.0, 1.0, 0.0])):
        found, (_, high) = direction_error(MeanEstimate(value, nothing, 1e6), EXACT)
        assert found == high == np.inf
    # The component along the exact gradient is shorter than its noise.
    noisy = MeanEstimate(np.array([0.1, 1.0, 0.0]), 0.01 * np.eye(3), 1e6)
    assert direction_error(noisy, EXACT)[1][1] == np.inf


def test_the_squared_error_is_estimated_without_bias() -> None:
    """5,000 draws; within 4 standard errors of their mean: one failure in 16,000.

    The difference is long enough that no estimate is cut off at 0. Without the trace
    the mean would be larger by several standard errors.
    """
    truth = EXACT + np.array([0.0, -1.0, 1.0])
    means = draws(np.random.default_rng(11), truth, NOISE, 5_000)
    squares = np.array(
        [(m.value[0] * direction_error(m, EXACT)[0]) ** 2 for m in means]
    )
    assert squares.min() > 0.0
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - 2.0) < 4.0 * error < 0.14


def test_the_interval_contains_an_error_of_zero_often_enough() -> None:
    """4,000 draws, 95 % less 4 standard errors: at most one failure in 30,000."""
    means = draws(np.random.default_rng(13), EXACT, NOISE, 4_000)
    share = np.mean([direction_error(m, EXACT)[1][0] == 0.0 for m in means])
    assert share > 0.95 - 4.0 * (0.95 * 0.05 / 4_000) ** 0.5


def test_the_cosine_of_a_known_angle() -> None:
    for degrees in (0.0, 60.0, 90.0, 120.0, 180.0):
        angle = np.deg2rad(degrees)
        value = 7.0 * np.array([np.cos(angle), np.sin(angle), 0.0])
        found, interval = cosine(MeanEstimate(value, np.zeros((3, 3)), 1e6), EXACT)
        assert found == pytest.approx(np.cos(angle), abs=1e-12)
        assert interval == pytest.approx((found, found), abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("measure", [direction_error, cosine])
def test_the_interval_covers_the_truth(
    measure: Callable[[MeanEstimate, Floats, float], tuple[float, tuple[float, float]]],
    confidence: float,
) -> None:
    """As often as promised in 4,000 draws, within 4 standard errors of a share.

    That is 2.5 and 1.4 %; false alarms: one in 16,000 each. The intervals are normal,
    so the mean and its difference are 10 times as long as their noise and more.
    """
    truth = np.array([60.0, 5.0, -3.0] if measure is direction_error else [6.0, 5, -3])
    length, off = np.linalg.norm(truth), np.linalg.norm(truth[1:])
    true = off / truth[0] if measure is direction_error else truth[0] / length
    means = draws(np.random.default_rng(12), truth, NOISE, 4_000)
    intervals = [measure(mean, EXACT, confidence)[1] for mean in means]
    share = np.mean([low <= true <= high for low, high in intervals])
    assert (
        abs(share - confidence) < 4.0 * (confidence * (1 - confidence) / 4_000) ** 0.5
    )


def test_group_means_are_over_consecutive_samples() -> None:
    samples = np.arange(22.0).reshape(11, 2)
    expected = [samples[:3].mean(0), samples[3:6].mean(0), samples[6:9].mean(0)]
    np.testing.assert_allclose(group_means(samples, 3), expected)
    assert group_means(samples, 11) is samples
    assert group_means(samples, 20) is samples


def test_fit_component_recovers_the_coefficient() -> None:
    rng = np.random.default_rng(15)
    base, direction = rng.normal(size=10), rng.normal(size=10)
    _, covariance = correlated(rng, 1, 10)
    mean = MeanEstimate(base - 1.7 * direction, covariance, 40.0)
    c, rest = fit_component(mean, base, direction, 1.0)
    assert c == pytest.approx(-1.7)
    np.testing.assert_allclose(rest.value, 0.0, atol=1e-9)
    assert rest.degrees_of_freedom == 39.0


def test_fit_component_is_generalised_least_squares() -> None:
    """Against ordinary least squares of whitened numbers."""
    rng = np.random.default_rng(16)
    value, base, direction = rng.normal(size=(3, 4))
    _, covariance = correlated(rng, 1, 4)
    c, rest = fit_component(MeanEstimate(value, covariance, 50.0), base, direction, 0.0)
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    columns = (whiten @ direction)[:, None]
    expected = np.linalg.lstsq(columns, whiten @ (value - base), rcond=None)[0]
    assert c == pytest.approx(expected[0])
    np.testing.assert_allclose(rest.value, value - base - c * direction)
    np.testing.assert_allclose(rest.covariance, covariance)


def test_p_values_of_residuals_are_uniform() -> None:
    """Uniform p-values; Kolmogorov-Smirnov, one failure in 1,000."""
    rng = np.random.default_rng(17)
    base, direction, found = np.ones(3), np.array([1.0, -1.0, 2.0]), []
    for _ in range(2_000):
        samples, _ = correlated(rng, 300, 3)
        mean = control_variate_mean(base + 0.5 * direction + samples, none_for(samples))
        _, rest = fit_component(mean, base, direction, 0.0)
        found.append(difference_p_value(rest, np.zeros(3), 0.0, n_fitted=1))
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_linearly_dependent_controls_count_once() -> None:
    rng = np.random.default_rng(3)
    noise, _ = correlated(rng, 60, 2)
    samples = noise + rng.normal(size=(60, 2))
    once = control_variate_mean(samples, noise)
    again = np.column_stack([noise, noise @ [1.0, 1.0], np.zeros(60)])
    twice = control_variate_mean(samples, again)
    np.testing.assert_allclose(twice.value, once.value)
    np.testing.assert_allclose(twice.covariance, once.covariance)
    assert twice.degrees_of_freedom == pytest.approx(once.degrees_of_freedom)


def test_the_cosine_is_corrected_for_noise() -> None:
    """Orthogonal noise makes the mean longer, but does not change the angle."""
    mean = MeanEstimate(np.array([3.0, 4.0, 1.0]), np.diag([0.0, 0.0, 1.0]), 1e6)
    assert cosine(mean, EXACT)[0] == pytest.approx(3.0 / 5.0)
