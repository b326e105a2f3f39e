"""How likely one algorithm beats another: the Mann-Whitney U statistic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pg_agents.analysis.scores import (
    Floats,
    Interval,
    check_level,
    check_scores,
    percentiles,
)
from pg_agents.common.checks import check_count


class Improvement(NamedTuple):
    """A probability of improvement and what is known of it.

    Attributes:
        probability: in [0, 1]; 0.5 where neither is better.
        interval: percentile bootstrap interval of it.
    """

    probability: float
    interval: Interval


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Probability that a run of X scores more than a run of Y.

    P(X > Y) = 1/K sum_k U_k / (n m), with
    U_k = sum_i sum_j [x_ik > y_jk] + 1/2 [x_ik = y_jk]: ties count half, so that
    P(X > Y) + P(Y > X) = 1. It depends on the order of the scores alone, and says
    nothing of how much better a run is.

    Reference: Agarwal et al. (2021), section 4.3, equation 2; Mann & Whitney (1947).

    Args:
        x: scores of one algorithm, [n] or [n, K tasks], finite.
        y: of the other, [m] or [m, K tasks].

    Returns:
        The probability, in [0, 1].

    Raises:
        ValueError: if there are no scores, one is no finite number, or the numbers of
            tasks differ.
    """
    return float(_wins(x, y).mean())


def improvement_interval(
    x: ArrayLike,
    y: ArrayLike,
    level: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | int = 0,
) -> Improvement:
    """`probability_of_improvement` with its interval.

    Every resample draws runs of X and runs of Y anew, within each task. Where all runs
    of one lie above all of the other the interval is one point, 0 or 1, however few
    the runs: it must not be read as certainty.

    Args:
        x: scores of one algorithm, [n] or [n, tasks], finite.
        y: of the other, [m] or [m, tasks].
        level: of confidence, in (0, 1).
        n_resamples: how many resamples.
        rng: generator of the draws, or its seed.

    Returns:
        The probability and its interval.

    Raises:
        ValueError: as `probability_of_improvement` does, or if `level` or `n_resamples`
            is out of range.
    """
    check_level(level)
    check_count("n_resamples", n_resamples)
    rng = np.random.default_rng(rng)
    wins = _wins(x, y)
    n, m, n_tasks = wins.shape
    found = np.zeros(n_resamples)
    for task in range(n_tasks):
        # How often each run was drawn says all of a resample that matters here.
        of_x = rng.multinomial(n, [1 / n] * n, n_resamples)
        of_y = rng.multinomial(m, [1 / m] * m, n_resamples)
        found += ((of_x @ wins[:, :, task]) * of_y).sum(axis=1) / wins.size
    return Improvement(float(wins.mean()), percentiles(found, level))


def _wins(x: ArrayLike, y: ArrayLike) -> Floats:
    """1, 1/2 or 0 for each pair of runs, float64 [n, m, tasks]."""
    ours, theirs = check_scores("x", x), check_scores("y", y)
    if ours.ndim > 2 or ours.shape[1:] != theirs.shape[1:]:
        raise ValueError(
            "x and y must have the shapes [runs] or [runs, tasks], with the same "
            f"tasks, got {ours.shape} and {theirs.shape}"
        )
    ours = ours.reshape(len(ours), 1, -1)
    theirs = theirs.reshape(1, len(theirs), -1)
    wins: Floats = (ours > theirs) + 0.5 * (ours == theirs)
    return wins
