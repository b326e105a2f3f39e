"""Baselines: subtracted from returns to reduce the variance of the gradient.

A baseline leaves the expected gradient unchanged if it does not depend, given the
state, on the action it is subtracted for. Returns of other trajectories satisfy this;
a mean that includes the trajectory's own return does not.

A trajectory is a whole episode, or with a fixed number of steps the rows of one
environment. Trajectories are compared at the same time index. After its end a
trajectory counts as 0, its reward from then on.
"""

from __future__ import annotations

import numpy as np
import torch

from pg_agents.common.tree import cast, namespace, to_float64
from pg_agents.learning.returns import Rows

__all__ = ["leave_one_out_baseline", "mean_baseline", "standardize"]


def mean_baseline(returns: Rows, time_index: Rows, n_trajectories: int) -> Rows:
    """Mean return of all trajectories at the same time index.

    `b_t = (1/N) sum_j G^j_t`

    Each return is one of the N that it is compared with, which scales the expected
    gradient by exactly `1 - 1/N`.

    Reference: Greensmith, Bartlett and Baxter (2004), "Variance reduction techniques
    for gradient estimates in reinforcement learning", on average-reward baselines.

    Args:
        returns: `[B]`, return of each recorded step.
        time_index: `[B]` int64, time step within the trajectory, from 0.
        n_trajectories: N, at least 2.

    Returns:
        `[B]`, in units of reward.

    Raises:
        ValueError: if N < 2.
    """
    totals = _totals(returns, time_index, n_trajectories, "mean")
    return cast(totals / n_trajectories, returns.dtype)


def leave_one_out_baseline(
    returns: Rows, time_index: Rows, n_trajectories: int
) -> Rows:
    """Mean return of the other trajectories at the same time index.

    `b^i_t = (1/(N-1)) sum_{j != i} G^j_t`

    The other trajectories are independent of this one, so the gradient stays unbiased.
    Arguments, result and errors are those of `mean_baseline`.

    Reference: Kool, van Hoof and Welling (2019), "Buy 4 REINFORCE samples, get a
    baseline for free!".
    """
    totals = _totals(returns, time_index, n_trajectories, "leave_one_out")
    return cast((totals - returns) / (n_trajectories - 1), returns.dtype)


def standardize(values: Rows, epsilon: float = 1e-8) -> Rows:
    """Subtracts the mean and divides by the standard deviation plus `epsilon`.

    Both are over the last axis. A single number has no standard deviation and is
    returned unchanged, so that a batch of one still learns. Equal numbers become
    exactly 0. The result depends on all values, so a gradient weighted by it is biased.
    """
    if values.shape[-1] < 2:
        return values
    # In float32 the mean of equal numbers can differ from them by a rounding error,
    # which the division would amplify to noise of size 1.
    exact, xp = to_float64(values), namespace(values)
    centred = exact - xp.mean(exact, axis=-1, keepdims=True)
    std = xp.std(exact, axis=-1, keepdims=True, correction=1)
    return cast(centred / (std + epsilon), values.dtype)


def _totals(returns: Rows, time_index: Rows, n: int, baseline: str) -> Rows:
    """Returns the sum over trajectories at each step's time index, `[B]` float64."""
    if n < 2:
        raise ValueError(
            f"baseline {baseline!r} compares trajectories and needs at least 2 per "
            f"update, got {n}"
        )
    # In float32 the sum of thousands of numbers loses digits.
    wide, index = to_float64(returns), time_index
    if isinstance(index, np.ndarray):
        return np.bincount(index, wide)[index]
    n_rows = int(index.max()) + 1 if index.numel() else 0
    totals = torch.zeros(n_rows, dtype=wide.dtype, device=wide.device)
    return totals.index_add(0, index, wide)[index]
