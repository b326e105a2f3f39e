# mistake: the result takes the integer type of the rewards (zeros_like), so each return is cut to a whole number
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
    rewards = np.asarray(rewards)
    result = np.zeros_like(rewards)
    running = 0
    for t in reversed(range(len(rewards))):
        running = rewards[t] + gamma * running
        result[t] = running
    return result
