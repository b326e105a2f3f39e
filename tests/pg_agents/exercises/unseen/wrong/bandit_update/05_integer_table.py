# mistake: keeps the integer type of the table, so that the changes are cut off
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
    logits = np.array(logits)
    pi = softmax(logits)
    new = logits.copy()
    for b in range(len(logits)):
        indicator = 1.0 if b == action else 0.0
        new[b] = logits[b] + step_size * reward * (indicator - pi[b])
    return new
