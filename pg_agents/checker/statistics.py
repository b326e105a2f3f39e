"""A mean of noisy gradients, and what can be said of it: pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Interval = tuple[float, float]

# What differs by less than this share of the exact gradient differs by rounding: most
# subjects compute in float32.
ROUNDING = 1e-4


# A test in more directions needs more samples than rare events leave: at 16 directions
# and 512 batches of FrozenLake, where one episode in a hundred pays, it calls every
# tenth right gradient wrong at the 1 % level; at 8 it keeps the level.
MAX_TESTED = 8
# Of the largest variance: less is rounding.
_NULL = 1e-9
# Fewer samples than so many times the controls, and they are left out.
_SAMPLES_PER_CONTROL = 5


@dataclass(frozen=True)
class Mean:
    """An estimated mean of D numbers.

    Attributes:
        value: `[D]`.
        covariance: `[D, D]`, of `value`, not of a single sample.
        degrees: effective degrees of freedom of the covariance.
    """

    value: Array
    covariance: Array
    degrees: float

    def tested(self) -> Mean:
        """Returns the first numbers, those that tests look at."""
        n = min(MAX_TESTED, len(self.value))
        return Mean(self.value[:n], self.covariance[:n, :n], self.degrees)


def controlled_mean(samples: Array, controls: Array) -> Mean:
    """Returns the mean of samples, with noise that is known to average out taken away.

    Least squares of the samples on control variates, whose true mean is 0: the
    intercept is the mean, with the noise that the controls explain removed. Controls
    are left out where there are too few samples for them. The covariance is the
    jackknife's: it does not suppose that all samples are equally noisy. If few samples
    carry most of the noise, it is known no better than from those few, and the degrees
    of freedom say so: `1 / sum_i (q_i / D)^2`, q_i being the i-th sample's share of the
    D that the shares add up to.

    Reference: Glasserman (2003), "Monte Carlo methods in financial engineering",
    section 4.1; MacKinnon and White (1985), "Some heteroskedasticity-consistent
    covariance matrix estimators with improved finite sample properties", on HC3.

    Args:
        samples: `[R, D]`, independent.
        controls: `[R, K]`, of mean 0.

    Returns:
        Mean, covariance and degrees of freedom, at most `R - K - 1`.
    """
    n = len(samples)
    enough = controls.shape[1] * _SAMPLES_PER_CONTROL <= n
    used = _independent(controls) if enough else controls[:, :0]
    design = np.column_stack([np.ones(n), used])
    inverse = np.linalg.pinv(design.T @ design)
    coefficients = inverse @ design.T @ samples
    residuals = samples - design @ coefficients
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    weights = design @ inverse[:, 0] / (1.0 - np.minimum(leverage, 0.999))
    parts = residuals * weights[:, None]
    degrees = min(n - design.shape[1], _effective_number(parts))
    return Mean(coefficients[0], parts.T @ parts, degrees)


def _effective_number(parts: Array) -> float:
    """Returns how many samples the noise comes from, in the directions tested."""
    tested = parts[:, :MAX_TESTED]
    covariance = tested.T @ tested
    total = float(np.trace(covariance))
    if total == 0.0:
        return float(len(parts))
    inverse = np.linalg.pinv(covariance, rcond=1e-10)
    shares = np.einsum("ij,jk,ik->i", tested, inverse, tested)
    return float(shares.sum() ** 2 / np.square(shares).sum())


def grouped(samples: Array, n_groups: int) -> Array:
    """Returns means of consecutive samples, `[n_groups, D]`.

    Neighbouring samples of a chain depend on each other; means of long stretches hardly
    do.
    """
    if n_groups >= len(samples):
        return samples
    size = len(samples) // n_groups
    means: Array = samples[: size * n_groups].reshape(n_groups, size, -1).mean(axis=1)
    return means


def difference_p_value(
    mean: Mean, expected: Array, scale: float, n_fitted: int = 0
) -> float:
    """Returns how probable so large a difference is if there is none.

    Hotelling's `T^2 = d' C^-1 d` and its F distribution, in the first 8 directions.

    Reference: Anderson (2003), "An introduction to multivariate statistical analysis",
    section 5.2.

    Args:
        mean: what was measured.
        expected: `[D]`, what it should be.
        scale: length of the exact gradient, to which rounding is relative.
        n_fitted: how many numbers in `expected` were fitted to the same mean.

    Returns:
        A probability; 1 if nothing is left to compare, or too few samples to do it.
    """
    mean = mean.tested()
    difference = mean.value - expected[: len(mean.value)]
    n_numbers, degrees = len(difference) - n_fitted, mean.degrees
    covariance = mean.covariance + (ROUNDING * scale) ** 2 * np.eye(len(difference))
    statistic = float(difference @ np.linalg.solve(covariance, difference))
    rest = degrees - n_numbers + 1
    if n_numbers == 0 or rest < 1:
        return 1.0
    return float(stats.f.sf(statistic * rest / (degrees * n_numbers), n_numbers, rest))


def relative_bias(
    mean: Mean, exact: Array, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Returns `|E[g] - g*| / |g*|` and an interval around it.

    The squared length of a noisy difference is too large by the trace of its
    covariance, which is subtracted. Its variance is `4 d' C d + 2 tr(C^2)`.

    Args:
        mean: the measured gradient.
        exact: `[D]`, g*.
        confidence: probability that the interval is to contain the true value.
    """
    difference = mean.value - exact
    squared = float(difference @ difference - np.trace(mean.covariance))
    spread = (
        4.0 * difference @ mean.covariance @ difference
        + 2.0 * np.square(mean.covariance).sum()
    )
    margin = float(stats.norm.ppf(0.5 + confidence / 2.0) * np.sqrt(spread))
    norm = np.linalg.norm(exact)
    low, middle, high = (
        float(np.sqrt(max(0.0, s)) / norm)
        for s in (squared - margin, squared, squared + margin)
    )
    return middle, (low, high)


def cosine(
    mean: Mean, exact: Array, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Returns the cosine of the angle between mean and exact gradient, and an interval.

    By the delta method; the length of the mean is freed of the length of its noise.

    Args:
        mean: the measured gradient.
        exact: `[D]`, g*.
        confidence: probability that the interval is to contain the true value.
    """
    unit = exact / np.linalg.norm(exact)
    along = float(mean.value @ unit)
    squared = float(mean.value @ mean.value - np.trace(mean.covariance))
    length = np.sqrt(max(squared, along**2, 1e-30))
    found = float(along / length)
    slope = unit / length - found * mean.value / length**2
    margin = float(
        stats.norm.ppf(0.5 + confidence / 2.0)
        * np.sqrt(max(0.0, slope @ mean.covariance @ slope))
    )
    return found, (max(-1.0, found - margin), min(1.0, found + margin))


def fit_along(
    mean: Mean, base: Array, direction: Array, scale: float
) -> tuple[float, Mean]:
    """Fits `mean = base + c direction` by weighted least squares.

    Args:
        mean: what was measured.
        base: `[D]`.
        direction: `[D]`.
        scale: length of the exact gradient, to which rounding is relative.

    Returns:
        c, and the remainder `mean - base - c direction` as a mean with the degrees of
        freedom left.
    """
    tested = mean.tested()
    n = len(tested.value)
    floor = (ROUNDING * scale) ** 2 * np.eye(n)
    weight = np.linalg.inv(tested.covariance + floor)
    along = direction[:n] @ weight
    c = float(along @ (tested.value - base[:n]) / (along @ direction[:n]))
    rest = Mean(mean.value - base - c * direction, mean.covariance, mean.degrees - 1)
    return c, rest


def contradicts_itself(controls: Array) -> bool:
    """Whether noise of mean 0 shows a mean that, going by its spread, is impossible.

    Some combination of the controls is then the same in every sample, and not 0: what
    would make up for it has not been sampled.

    Args:
        controls: `[R, K]`, of mean 0.
    """
    scaled, values, vectors = _directions(controls)
    if not scaled.size:
        return False
    # In standard deviations of single samples.
    means = scaled.mean(axis=0) @ vectors[:, values <= _NULL * values.max()]
    return bool((np.abs(means) > 1e-3).any())


def _independent(controls: Array) -> Array:
    """Drops the directions of the controls that are combinations of the others."""
    scaled, values, vectors = _directions(controls)
    if not scaled.size:
        return scaled
    kept: Array = scaled @ vectors[:, values > _NULL * values.max()]
    return kept


def _directions(controls: Array) -> tuple[Array, Array, Array]:
    """Returns the controls that vary, scaled, and their principal components."""
    if not controls.size:
        return controls, np.zeros(0), np.zeros((0, 0))
    # One that does not vary knows no noise, and would stand in for the constant.
    spread = controls.std(axis=0)
    varying = spread > 1e-6 * np.abs(controls).max(axis=0)
    scaled = controls[:, varying] / spread[varying]
    centred = scaled - scaled.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return scaled, values, vectors
