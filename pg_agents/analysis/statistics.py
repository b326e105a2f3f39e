"""Aggregate the scores of several runs, with confidence intervals.

A score is one number for each run, such as its mean evaluation return.

Reference: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pg_agents.common.checks import check_count

# `scipy.stats` takes a second to import, so functions import it when they are called.
Floats = NDArray[np.float64]
# Maximum number of resampled values in memory (8 bytes each).
_MAX_RESAMPLED = 4_000_000


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Improvement(NamedTuple):
    """Probability of improvement, in [0, 1], and its bootstrap interval."""

    probability: float
    interval: Interval


def interquartile_mean(
    scores: ArrayLike, /, *, axis: int | None = None
) -> np.float64 | Floats:
    """Returns the mean of the middle half of the scores.

    The floor(n / 4) lowest and the floor(n / 4) highest of n scores are left out and
    the others count in full: of 10 scores 6 are averaged, of 3 or fewer all.
    Definitions that give the scores at the border fractional weights differ where 4
    does not divide n; rliable uses this one, too.

    Args:
        scores: at least one finite number.
        axis: to reduce; None for all scores together.

    Raises:
        ValueError: if there are no scores, or one is not finite.
    """
    from scipy import stats

    mean: np.float64 | Floats
    mean = stats.trim_mean(check_scores("scores", scores), 0.25, axis=axis)
    return mean


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Callable[..., Any] = interquartile_mean,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | int = 0,
) -> Interval:
    """Returns the percentile bootstrap interval of a statistic of the scores.

    It is too short with few runs: the 95 % interval of the interquartile mean of normal
    scores covers the true value in 75 % of cases with 3 runs, 90 % with 5, 93 % with 10
    and 94 % with 20. With one run its width is zero.

    Reference: Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapter
    13.

    Args:
        scores: [runs], finite.
        statistic: takes an array and `axis`, as `numpy.mean` does.
        level: of confidence, in (0, 1).
        n_resamples: number of bootstrap resamples.
        rng: random generator, or its seed.

    Raises:
        ValueError: if an argument is out of range.
    """
    values = _one_dimensional("scores", scores)
    low, high = percentile_bootstrap([values], statistic, level, n_resamples, rng)
    return Interval(float(low), float(high))


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike
) -> tuple[Floats, Floats]:
    """Returns the share of runs that score above each threshold, and its 95 % band.

    The band is the pointwise percentile bootstrap interval, in closed form: the number
    of resampled runs above a threshold has the distribution Binomial(runs, share).

    Reference: Agarwal et al. (2021), section 4.2, equation 1.

    Args:
        scores: [runs], finite.
        thresholds: [M].

    Returns:
        The share, float64 [M], and the band, float64 [2, M].

    Raises:
        ValueError: if there are no scores, or one is not finite.
    """
    from scipy import stats

    values = _one_dimensional("scores", scores)
    share: Floats = (values[:, None] > np.asarray(thresholds)).mean(axis=0)
    quantiles = np.array([[0.025], [0.975]])
    band: Floats = stats.binom.ppf(quantiles, len(values), share) / len(values)
    return share, band


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Returns the probability that a run of X scores more than a run of Y.

    P(X > Y) = U / (n m), with the Mann-Whitney statistic
    U = sum_i sum_j [x_i > y_j] + 1/2 [x_i = y_j]. Ties count half, so
    P(X > Y) + P(Y > X) = 1. The size of the improvement has no influence.

    Reference: Agarwal et al. (2021), section 4.3, equation 2; Mann & Whitney (1947).

    Args:
        x: scores of one algorithm, [n], finite.
        y: scores of the other, [m], finite.

    Raises:
        ValueError: if there are no scores, or one is not finite.
    """
    return float(_win_rate(_one_dimensional("x", x), _one_dimensional("y", y), axis=0))


def improvement_interval(
    x: ArrayLike,
    y: ArrayLike,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | int = 0,
) -> Improvement:
    """Returns `probability_of_improvement` and its percentile bootstrap interval.

    Where all runs of one algorithm score more than all of the other, the interval has
    zero width at 0 or 1, however few the runs: that is no certainty.

    Args:
        x: scores of one algorithm, [n], finite.
        y: scores of the other, [m], finite.
        level: of confidence, in (0, 1).
        n_resamples: number of bootstrap resamples, of X and of Y.
        rng: random generator, or its seed.

    Raises:
        ValueError: if an argument is out of range.
    """
    samples = [_one_dimensional("x", x), _one_dimensional("y", y)]
    probability = float(_win_rate(samples[0], samples[1], axis=0))
    low, high = percentile_bootstrap(samples, _win_rate, level, n_resamples, rng)
    return Improvement(probability, Interval(float(low), float(high)))


def percentile_bootstrap(
    samples: Sequence[Floats],
    statistic: Callable[..., Any],
    level: float,
    n_resamples: int,
    rng: np.random.Generator | int,
) -> tuple[Any, Any]:
    """Returns both ends of the percentile bootstrap interval of a statistic.

    Args:
        samples: one [runs, ...] for each algorithm; whole runs are resampled.
        statistic: takes the samples and the axis of the runs.
        level: of confidence, in (0, 1).
        n_resamples: number of bootstrap resamples.
        rng: random generator, or its seed.

    Raises:
        ValueError: if `level` or `n_resamples` is out of range.
    """
    from scipy import stats

    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    check_count("n_resamples", n_resamples)
    # SciPy rejects samples of one run; two copies of it resample to the same value.
    repeated = [np.repeat(s, 2, axis=0) if len(s) == 1 else s for s in samples]
    interval = stats.bootstrap(
        repeated,
        statistic,
        axis=0,
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, _MAX_RESAMPLED // max(s.size for s in repeated)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(rng),
    ).confidence_interval
    return interval.low, interval.high


def check_scores(name: str, scores: ArrayLike) -> Floats:
    """Returns scores as float64; raises a ValueError if none or not all finite."""
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or values.ndim == 0:
        raise ValueError(f"{name} must hold at least one run, got {scores!r}")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{name} must be finite numbers, got {bad}")
    return values


def _one_dimensional(name: str, scores: ArrayLike) -> Floats:
    values = check_scores(name, scores)
    if values.ndim != 1:
        raise ValueError(f"{name} must have the shape [runs], got {values.shape}")
    return values


def _win_rate(x: Floats, y: Floats, axis: int) -> Floats:
    from scipy import stats

    n_pairs = x.shape[axis] * y.shape[axis]
    # The method concerns the p-value alone; this one is fast.
    u = stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic
    rate: Floats = u / n_pairs
    return rate
