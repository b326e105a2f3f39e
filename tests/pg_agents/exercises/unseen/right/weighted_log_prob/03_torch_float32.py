"""Weighted log-probability

The policy gradient is a sum of log-probabilities, each weighted with a return. An agent
took T actions; step t had the probability p_t under the policy and the return G_t:

    weighted_t = G_t * log(p_t)

Write a function that gives weighted_t of every step. log is the natural logarithm; of
p = 0.8 and G = 100 it is -22.314.
"""

import torch


def weighted_log_prob(probabilities, returns):
    """Weight each log-probability with its return.

    probabilities: [T], the probability of the action that was taken at each step
    returns: [T], the return of each step
    result: [T], in order of the steps
    """
    p = torch.as_tensor(probabilities, dtype=torch.float32)
    g = torch.as_tensor(returns, dtype=torch.float32)
    return g * torch.log(p)
