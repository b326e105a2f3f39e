"""Mean gradients with control variates, hypothesis tests and confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Interval = tuple[float, float]

# Differences below this share of the exact gradient are rounding: most subjects compute
# in float32.
ROUNDING = 1e-4
# Tests use this many directions. With rare rewards more need too many samples: on
# FrozenLake, where 1 % of episodes are rewarded, a test of 512 batches at the 1 % level
# rejects 10 % of unbiased gradients with 16 directions, and 1 % with 8.
MAX_TESTED_DIRECTIONS = 8
# Eigenvalues below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-9
# Control variates are not used with fewer samples than this for each of them.
_SAMPLES_PER_CONTROL = 5


@dataclass(frozen=True)
class MeanEstimate:
    """An estimated mean vector.

    Attributes:
        value: `[D]`.
        covariance: `[D, D]`, of `value`, not of a single sample.
        degrees_of_freedom: effective degrees of freedom of the covariance.
    """

    value: Array
    covariance: Array
    degrees_of_freedom: float

    def leading(self) -> MeanEstimate:
        """Returns the first `MAX_TESTED_DIRECTIONS` coordinates, used by tests."""
        n = min(MAX_TESTED_DIRECTIONS, len(self.value))
        covariance = self.covariance[:n, :n]
        return MeanEstimate(self.value[:n], covariance, self.degrees_of_freedom)

    def minus(self, other: MeanEstimate) -> MeanEstimate:
        """Returns the difference to an independent estimate."""
        return MeanEstimate(
            self.value - other.value,
            self.covariance + other.covariance,
            min(self.degrees_of_freedom, other.degrees_of_freedom),
        )


@dataclass(frozen=True)
class GradientSeries:
    """Gradient estimates of R rounds, in coordinates.

    Attributes:
        gradients: `[R, D]`, estimates of dJ/dtheta (ascent directions), one a round.
        controls: `[R, K]`, control variates of the same rounds, with mean 0.
        n_groups: number of groups of consecutive rounds that are treated as
            independent; None if the rounds are independent.
    """

    gradients: Array
    controls: Array
    n_groups: int | None = None

    def mean(self) -> MeanEstimate:
        """Returns the mean gradient."""
        if self.n_groups is None:
            return control_variate_mean(self.gradients, self.controls)
        return control_variate_mean(
            group_means(self.gradients, self.n_groups),
            group_means(self.controls, self.n_groups),
        )


def pooled(series: Sequence[GradientSeries]) -> GradientSeries:
    """Returns the rounds of independent series of the same subject as one."""
    if len(series) == 1:
        return series[0]
    groups = [s.n_groups for s in series if s.n_groups is not None]
    return GradientSeries(
        np.concatenate([s.gradients for s in series]),
        np.concatenate([s.controls for s in series]),
        sum(groups) if groups else None,
    )


def control_variate_mean(samples: Array, controls: Array) -> MeanEstimate:
    """Returns the mean of samples, with variance reduced by control variates.

    The samples are regressed on the controls, whose true mean is 0; the intercept
    estimates the mean without the noise that the controls explain. Controls are ignored
    if there are too few samples for them. The covariance is the jackknife's, which does
    not assume equal variances. If few samples carry most of the noise, the effective
    degrees of freedom are few: `1 / sum_i (q_i / D)^2`, where q_i is the contribution
    of sample i and the q_i sum to D.

    Reference: Glasserman (2003), "Monte Carlo methods in financial engineering",
    section 4.1; MacKinnon and White (1985), "Some heteroskedasticity-consistent
    covariance matrix estimators with improved finite sample properties", on HC3.

    Args:
        samples: `[R, D]`, independent.
        controls: `[R, K]`, with mean 0.

    Returns:
        The estimate, with at most `R - K - 1` degrees of freedom.
    """
    n = len(samples)
    if controls.shape[1] * _SAMPLES_PER_CONTROL > n:
        controls = controls[:, :0]
    design = np.column_stack([np.ones(n), _linearly_independent(controls)])
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ samples
    residuals = samples - design @ coefficients
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    weights = design @ inverse[:, 0] / (1.0 - np.minimum(leverage, 0.999))
    deviations = residuals * weights[:, None]
    degrees = min(n - design.shape[1], _effective_sample_size(deviations))
    return MeanEstimate(coefficients[0], deviations.T @ deviations, degrees)


def _effective_sample_size(deviations: Array) -> float:
    """Returns how many samples carry the noise in the tested directions."""
    deviations = deviations[:, :MAX_TESTED_DIRECTIONS]
    covariance = deviations.T @ deviations
    total = float(np.trace(covariance))
    if total == 0.0:
        return float(len(deviations))
    inverse = np.linalg.pinv(covariance, rcond=1e-10)
    shares = np.einsum("ij,jk,ik->i", deviations, inverse, deviations)
    return float(shares.sum() ** 2 / np.square(shares).sum())


def group_means(samples: Array, n_groups: int) -> Array:
    """Returns the means of groups of consecutive samples, `[n_groups, D]`.

    Consecutive samples of a Markov chain are correlated; means of long groups are
    nearly independent.
    """
    if n_groups >= len(samples):
        return samples
    size = len(samples) // n_groups
    means: Array = samples[: size * n_groups].reshape(n_groups, size, -1).mean(axis=1)
    return means


def difference_p_value(
    mean: MeanEstimate, expected: Array, scale: float, n_fitted: int = 0
) -> float:
    """Returns the p-value of the hypothesis that the true mean is the expected one.

    Hotelling's `T^2 = d' C^-1 d` in the first 8 directions.

    Reference: Anderson (2003), "An introduction to multivariate statistical analysis",
    section 5.2.

    Args:
        mean: the estimate.
        expected: `[D]`, the hypothesis.
        scale: norm of the exact gradient, which the rounding tolerance is relative to.
        n_fitted: number of parameters of `expected` that were fitted to `mean`.

    Returns:
        The p-value; 1 if no direction is left or there are too few samples.
    """
    mean = mean.leading()
    difference = mean.value - expected[: len(mean.value)]
    n_tested, degrees = len(difference) - n_fitted, mean.degrees_of_freedom
    covariance = mean.covariance + (ROUNDING * scale) ** 2 * np.eye(len(difference))
    statistic = float(difference @ np.linalg.solve(covariance, difference))
    n_remaining = degrees - n_tested + 1
    if n_tested == 0 or n_remaining < 1:
        return 1.0
    f_statistic = statistic * n_remaining / (degrees * n_tested)
    return float(stats.f.sf(f_statistic, n_tested, n_remaining))


def direction_error(
    mean: MeanEstimate, exact: Array, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Returns `min_{c > 0} |E[g] - c g*| / |c g*|` and its confidence interval.

    It is the tangent of the angle between the gradients. The squared norm of a noisy
    difference d overestimates the true one by the trace of its covariance C, which is
    subtracted; its variance is `4 d' C d + 2 tr(C^2)`.

    Args:
        mean: estimate of E[g].
        exact: `[D]`, g*.
        confidence: coverage of the interval.

    Returns:
        The error, infinite if the angle is 90 degrees or more, and the interval, whose
        end is infinite if that cannot be excluded.
    """
    unit = exact / np.linalg.norm(exact)
    along = float(mean.value @ unit)
    across = np.eye(len(unit)) - np.outer(unit, unit)
    difference, covariance = across @ mean.value, across @ mean.covariance @ across
    squared = float(difference @ difference - np.trace(covariance))
    spread = 4.0 * difference @ covariance @ difference
    spread += 2.0 * np.square(covariance).sum()
    quantile = float(stats.norm.ppf(0.5 + confidence / 2.0))
    margin = quantile * float(np.sqrt(spread))
    shortest = along - quantile * float(np.sqrt(unit @ mean.covariance @ unit))
    low, estimate, high = (
        float(np.sqrt(max(0.0, s)))
        for s in (squared - margin, squared, squared + margin)
    )
    if along <= 0.0:
        return np.inf, (0.0, np.inf)
    return estimate / along, (
        low / along,
        high / along if shortest > 0.0 else np.inf,
    )


def cosine(
    mean: MeanEstimate, exact: Array, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Returns the cosine between mean and exact gradient and its confidence interval.

    The interval is by the delta method. The norm of the mean is corrected for noise, as
    in `relative_bias`.

    Args:
        mean: estimate of E[g].
        exact: `[D]`, g*.
        confidence: coverage of the interval.
    """
    unit = exact / np.linalg.norm(exact)
    along = float(mean.value @ unit)
    squared = float(mean.value @ mean.value - np.trace(mean.covariance))
    length = np.sqrt(max(squared, along**2, 1e-30))
    estimate = float(along / length)
    slope = unit / length - estimate * mean.value / length**2
    margin = float(
        stats.norm.ppf(0.5 + confidence / 2.0)
        * np.sqrt(max(0.0, slope @ mean.covariance @ slope))
    )
    return estimate, (max(-1.0, estimate - margin), min(1.0, estimate + margin))


def fit_component(
    mean: MeanEstimate, base: Array, direction: Array, scale: float
) -> tuple[float, MeanEstimate]:
    """Fits c in `mean = base + c direction` by weighted least squares.

    Args:
        mean: the estimate.
        base: `[D]`.
        direction: `[D]`.
        scale: norm of the exact gradient, which the rounding tolerance is relative to.

    Returns:
        c, and the residual `mean - base - c direction` with one degree of freedom less.
    """
    tested = mean.leading()
    n = len(tested.value)
    floor = (ROUNDING * scale) ** 2 * np.eye(n)
    weight = np.linalg.inv(tested.covariance + floor)
    along = direction[:n] @ weight
    c = float(along @ (tested.value - base[:n]) / (along @ direction[:n]))
    residual = mean.value - base - c * direction
    return c, MeanEstimate(residual, mean.covariance, mean.degrees_of_freedom - 1)


def controls_are_inconsistent(controls: Array) -> bool:
    """Whether a combination of controls is a constant other than 0.

    Controls have mean 0, so the sample then lacks the events that would offset this
    constant.

    Args:
        controls: `[R, K]`, with mean 0.
    """
    scaled, values, vectors = _principal_components(controls)
    if not scaled.size:
        return False
    # In standard deviations of single samples.
    means = scaled.mean(axis=0) @ vectors[:, values <= _RANK_TOLERANCE * values.max()]
    return bool((np.abs(means) > 1e-3).any())


def _linearly_independent(controls: Array) -> Array:
    """Returns a basis of the controls, without their linear dependencies."""
    scaled, values, vectors = _principal_components(controls)
    if not scaled.size:
        return scaled
    basis: Array = scaled @ vectors[:, values > _RANK_TOLERANCE * values.max()]
    return basis


def _principal_components(controls: Array) -> tuple[Array, Array, Array]:
    """Returns the controls that vary, scaled, with eigenvalues and eigenvectors."""
    if not controls.size:
        return controls, np.zeros(0), np.zeros((0, 0))
    # A constant control would be collinear with the intercept, and one that is zero but
    # for rounding has another mean than 0.
    spread, largest = controls.std(axis=0), np.abs(controls).max(axis=0)
    varying = spread > np.maximum(1e-6 * largest, 1e-12 * largest.max())
    scaled = controls[:, varying] / spread[varying]
    centred = scaled - scaled.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return scaled, values, vectors
