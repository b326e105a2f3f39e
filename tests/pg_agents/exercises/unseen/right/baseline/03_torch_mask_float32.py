"""Baseline

REINFORCE weights an episode with its return R_i. Subtracting a baseline b_i from it makes
the gradient less noisy, and leaves its expectation as it is, as long as b_i does not
depend on the episode's own actions. Such a baseline is the mean return of the other
episodes of the batch (leave-one-out):

    b_i = 1/(N-1) * sum_{j != i} R_j

Write a function that gives the baseline of each of N episodes. With a single episode
there are no others: its baseline is 0.
"""

import torch


def baseline(returns):
    """Compute the leave-one-out baseline of each episode.

    returns: [N], the return of each episode
    result: [N], the baselines; the agent weights episode i with returns[i] - result[i]
    """
    R = torch.as_tensor(returns, dtype=torch.float32)
    n = len(R)
    others = 1.0 - torch.eye(n)
    return others @ R / max(n - 1, 1)
