# mistake: uses the derivative of pi(action) instead of that of log pi(action)
"""The bandit's update

A bandit has no states: the policy is a table of one logit for each action, and
pi = softmax(logits). After each pull, the policy gradient of that pull moves the logits,
with a step size alpha:

    logits <- logits + alpha * reward * d log pi(action) / d logits

Work out the derivative of log pi(action) by each logit, and write the update.
"""

import numpy as np  # or torch, or plain Python


def softmax(x):
    z = np.exp(x - np.max(x))
    return z / z.sum()


def bandit_update(logits, action, reward, step_size):
    """Take one step of the policy gradient.

    logits: [A], the table
    action: integer, the arm that was pulled
    reward: number, what it paid
    step_size: number, alpha
    result: [A], the new table
    """
    logits = np.asarray(logits, dtype=float)
    pi = softmax(logits)
    one_hot = np.eye(len(logits))[action]
    grad = pi[action] * (one_hot - pi)
    return logits + step_size * reward * grad
