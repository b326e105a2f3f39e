"""What is subtracted from a return to make the gradient less noisy.

A baseline leaves the expected gradient as it is if, given the state, it does not depend
on the action it is subtracted for. Returns of other trajectories don't; a mean that
includes the trajectory's own return does.

A trajectory is a whole episode, or one environment's rows where a batch is cut into
steps. Trajectories are compared at the same time index; one that has ended counts as 0
from then on, which is what it earns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pg_agents.learning.returns import double

__all__ = ["leave_one_out_baseline", "mean_baseline", "standardize"]


def mean_baseline(returns: Tensor, time_index: Tensor, n_trajectories: int) -> Tensor:
    """Mean return of all trajectories at the same time index.

    `b_t = (1/N) sum_j G^j_t`

    It scales the expected gradient by exactly `1 - 1/N`, since the own return is one of
    the N. For N = 1 it leaves nothing.

    Reference: Greensmith, Bartlett and Baxter (2004), "Variance reduction techniques
    for gradient estimates in reinforcement learning", on average-reward baselines.

    Args:
        returns: `[B]`, return of each recorded step.
        time_index: `[B]` int64, the step's place in its trajectory, from 0.
        n_trajectories: N, at least 2.

    Returns:
        `[B]`, in units of reward.

    Raises:
        ValueError: if N < 2.
    """
    totals = _totals(returns, time_index, n_trajectories, "mean")
    return (totals / n_trajectories).to(returns.dtype)


def leave_one_out_baseline(
    returns: Tensor, time_index: Tensor, n_trajectories: int
) -> Tensor:
    """Mean return of the other trajectories at the same time index.

    `b^i_t = (1/(N-1)) sum_{j != i} G^j_t`

    The other trajectories are independent of this one, so the gradient stays unbiased.

    Reference: Kool, van Hoof and Welling (2019), "Buy 4 REINFORCE samples, get a
    baseline for free!".

    Args:
        returns: `[B]`, return of each recorded step.
        time_index: `[B]` int64, the step's place in its trajectory, from 0.
        n_trajectories: N, at least 2.

    Returns:
        `[B]`, in units of reward.

    Raises:
        ValueError: if N < 2.
    """
    totals = _totals(returns, time_index, n_trajectories, "leave_one_out")
    return ((totals - returns) / (n_trajectories - 1)).to(returns.dtype)


def standardize(values: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Subtracts the mean and divides by the standard deviation.

    A single number has no standard deviation: it comes back as it is, so that a batch
    of one still learns. Equal numbers become exactly 0.

    The result depends on all values, so a gradient weighted by it is biased.

    Args:
        values: `[B]`.
        epsilon: added to the standard deviation.

    Returns:
        `[B]` of the same dtype.
    """
    if values.numel() < 2:
        return values
    # In float32 the mean of equal numbers can miss them by a rounding error, which the
    # division would blow up to noise of size 1.
    exact = double(values)
    scaled = (exact - exact.mean()) / (exact.std() + epsilon)
    return scaled.to(values.dtype)


def _totals(returns: Tensor, time_index: Tensor, n: int, name: str) -> Tensor:
    if n < 2:
        raise ValueError(
            f"baseline {name!r} compares trajectories and needs at least 2 per update, "
            f"got {n}"
        )
    n_rows = int(time_index.max()) + 1 if time_index.numel() else 0
    # The sum of thousands of float32 numbers loses digits.
    wide = double(returns)
    totals = torch.zeros(n_rows, dtype=wide.dtype, device=wide.device)
    return totals.index_add(0, time_index, wide)[time_index]
