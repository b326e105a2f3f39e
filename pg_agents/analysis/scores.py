"""Numbers that stand for the scores of several runs: pure functions of NumPy arrays.

A score is one number a run, such as the mean return of its evaluation. Scores are
float64 [runs], or [runs, tasks] where an algorithm was run on several tasks.

Reference: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS, section 4.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pg_agents.common.checks import check_count

Floats = NDArray[np.float64]
# How many numbers a bootstrap holds in memory at once (8 bytes each).
_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


class Statistic(Protocol):
    """What makes one number of many: `interquartile_mean`, `numpy.mean` and the like.

    It is called with an array and with `axis=-1`, and reduces that axis.
    """

    def __call__(self, scores: Floats, /, *, axis: int) -> Any:  # noqa: ANN401
        """Returns float64 [...] for `scores` of [..., M]."""


def interquartile_mean(
    scores: ArrayLike, /, *, axis: int | None = None
) -> np.float64 | Floats:
    """Mean of the middle half: what is left without the lowest and highest quarters.

    Of n scores the floor(n / 4) lowest and the floor(n / 4) highest are left out, and
    the others count in full. So of 10 scores 6 are averaged, and of 3 or fewer all.
    This is `scipy.stats.trim_mean(scores, 0.25)`, which rliable takes too; definitions
    that weigh the scores on the border by a fraction differ where 4 does not divide n.

    Args:
        scores: at least one finite number.
        axis: to reduce; None for all scores together, runs and tasks alike.

    Returns:
        float64, without `axis`.

    Raises:
        ValueError: if there are no scores, or one is no finite number.
    """
    values = check_scores("scores", scores)
    if axis is None:
        values, axis = values.ravel(), 0
    n_scores = values.shape[axis]
    cut = n_scores // 4
    middle = np.sort(values, axis=axis).take(range(cut, n_scores - cut), axis=axis)
    mean: np.float64 | Floats = middle.mean(axis=axis)
    return mean


def median(scores: ArrayLike, /, *, axis: int | None = None) -> np.float64 | Floats:
    """The middle score, or the mean of the two in the middle.

    Args:
        scores: at least one number. Infinite ones are ordered like any other.
        axis: to reduce; None for all scores together.

    Returns:
        float64, without `axis`.

    Raises:
        ValueError: if there are no scores, or one is nan.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or np.isnan(values).any():
        raise ValueError(
            f"scores must be at least one number, none nan, got {scores!r}"
        )
    middle: np.float64 | Floats = np.median(values, axis=axis)
    return middle


def stratified_bootstrap(
    scores: ArrayLike,
    statistic: Statistic,
    n_resamples: int = 2000,
    rng: np.random.Generator | int = 0,
) -> Floats:
    """Values of a statistic on resampled scores.

    The strata are the tasks: every resample draws, within each task on its own, as many
    runs as there are, with replacement. So each task keeps its weight.

    Args:
        scores: [runs] or [runs, tasks], finite.
        statistic: of all scores together, such as `interquartile_mean`.
        n_resamples: how many resamples.
        rng: generator of the draws, or its seed.

    Returns:
        float64 [n_resamples].

    Raises:
        ValueError: if there are no scores, one is no finite number, they have more than
            two dimensions, or `n_resamples` is below 1.
    """
    values = _by_task("scores", scores)
    check_count("n_resamples", n_resamples)
    rng = np.random.default_rng(rng)
    n_runs, n_tasks = values.shape
    found = np.empty(n_resamples)
    chunk = max(1, _AT_ONCE // values.size)
    for start in range(0, n_resamples, chunk):
        n = min(chunk, n_resamples - start)
        drawn = rng.integers(n_runs, size=(n, n_runs, n_tasks))
        resampled = np.take_along_axis(values[None], drawn, axis=1)
        found[start : start + n] = statistic(resampled.reshape(n, -1), axis=-1)
    return found


def stratified_bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = interquartile_mean,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | int = 0,
) -> Interval:
    """Percentile interval of a statistic, by resampling runs within each task.

    It covers the runs' spread alone: the tasks are taken as given. With few runs it is
    too short: where 95 % are asked for, the one of the interquartile mean of normal
    scores holds the truth in 75 % of cases with 3 runs, in 90 % with 5, 93 % with 10
    and 94 % with 20. Of one run it has no width at all.

    Reference: Agarwal et al. (2021), section 4.1; Efron & Tibshirani (1993), "An
    Introduction to the Bootstrap", chapter 13.

    Args:
        scores: [runs] or [runs, tasks], finite.
        statistic: of all scores together.
        level: of confidence, in (0, 1).
        n_resamples: how many resamples.
        rng: generator of the draws, or its seed.

    Returns:
        The interval.

    Raises:
        ValueError: if there are no scores, one is no finite number, `level` is not in
            (0, 1) or `n_resamples` is below 1.
    """
    check_level(level)
    return percentiles(stratified_bootstrap(scores, statistic, n_resamples, rng), level)


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike, *, n_resamples: int = 2000, rng: int = 0
) -> tuple[Floats, Floats]:
    """Share of runs that score above each threshold, with its pointwise 95 % band.

    Reference: Agarwal et al. (2021), section 4.2, equation 1.

    Args:
        scores: [runs] or [runs, tasks], finite. Every task counts alike.
        thresholds: [M].
        n_resamples: resamples of the band, drawn within tasks.
        rng: seed of the draws.

    Returns:
        float64 [M], in [0, 1], never rising where the thresholds rise, and the band,
        float64 [2, M].

    Raises:
        ValueError: if there are no scores or one is no finite number.
    """
    values = _by_task("scores", scores)
    levels = np.asarray(thresholds, dtype=np.float64)
    above = (values[..., None] > levels).astype(np.float64)
    n_runs, n_tasks = values.shape
    generator = np.random.default_rng(rng)
    # A resample is how often each run was drawn: no matter what is then averaged.
    shares = np.zeros((n_resamples, len(levels)))
    for task in range(n_tasks):
        counts = generator.multinomial(n_runs, [1 / n_runs] * n_runs, n_resamples)
        shares += counts @ above[:, task] / values.size
    return above.mean(axis=(0, 1)), np.quantile(shares, (0.025, 0.975), axis=0)


def percentiles(values: Floats, level: float) -> Interval:
    """The interval between the (1 - level) / 2 and (1 + level) / 2 quantiles."""
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high))


def check_level(level: float) -> None:
    """Raises a ValueError unless `level` lies in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")


def check_scores(name: str, scores: ArrayLike) -> Floats:
    """Scores as an array.

    Args:
        name: of the argument, for the message.
        scores: what was given.

    Returns:
        float64, of the same shape.

    Raises:
        ValueError: if there are none, or one is no finite number.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or values.ndim == 0:
        raise ValueError(f"{name} must hold at least one run, got {scores!r}")
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise ValueError(f"{name} must be finite numbers, got {bad}")
    return values


def _by_task(name: str, scores: ArrayLike) -> Floats:
    values = check_scores(name, scores)
    if values.ndim > 2:
        raise ValueError(
            f"{name} must have the shape [runs] or [runs, tasks], got {values.shape}"
        )
    return values.reshape(len(values), -1)
