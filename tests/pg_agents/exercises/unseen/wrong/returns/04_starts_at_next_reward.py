# mistake: off by one: G_t starts with r_{t+1}, so the step's own reward is missing and the last return is 0
"""Returns

The return of step t is the sum of all rewards from step t to the end of the episode,
discounted by how far away each is:

    G_t = r_t + gamma * r_{t+1} + gamma^2 * r_{t+2} + ... + gamma^(T-1-t) * r_{T-1}

Write a function that gives G_t of every step of one finished episode. Of the rewards
[1, 2, 3, 4] and gamma = 0.99 it is [9.801496, 8.8904, 6.96, 4.0].
"""

import numpy as np  # or torch, or plain Python


def returns(rewards, gamma):
    """Compute the discounted return of every step of an episode.

    rewards: [T], the reward of each step
    gamma: discount factor, a number from 0 to 1
    result: [T], in order of the steps
    """
    T = len(rewards)
    result = np.zeros(T)
    for t in range(T):
        for k in range(t + 1, T):
            result[t] += gamma ** (k - t - 1) * rewards[k]
    return result
