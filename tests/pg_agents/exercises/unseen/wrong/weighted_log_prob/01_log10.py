# mistake: takes the logarithm to base 10 instead of the natural one
"""Weighted log-probability

The policy gradient is a sum of log-probabilities, each weighted with a return. An agent
took T actions; step t had the probability p_t under the policy and the return G_t:

    weighted_t = G_t * log(p_t)

Write a function that gives weighted_t of every step. log is the natural logarithm; of
p = 0.8 and G = 100 it is -22.314.
"""

import numpy as np  # or torch, or plain Python


def weighted_log_prob(probabilities, returns):
    """Weight each log-probability with its return.

    probabilities: [T], the probability of the action that was taken at each step
    returns: [T], the return of each step
    result: [T], in order of the steps
    """
    probabilities = np.asarray(probabilities)
    returns = np.asarray(returns)
    return returns * np.log10(probabilities)
