# mistake: returns the change of the table instead of the new table
"""The bandit's update

A bandit has no states: the policy is a table of one logit for each action, and
pi = softmax(logits). After each pull, the policy gradient of that pull moves the logits,
with a step size alpha:

    logits <- logits + alpha * reward * d log pi(action) / d logits

Work out the derivative of log pi(action) by each logit, and write the update.
"""

import torch


def bandit_update(logits, action, reward, step_size):
    """Take one step of the policy gradient.

    logits: [A], the table
    action: integer, the arm that was pulled
    reward: number, what it paid
    step_size: number, alpha
    result: [A], the new table
    """
    x = torch.tensor([float(v) for v in logits], requires_grad=True)
    log_pi = torch.log_softmax(x, dim=0)[action]
    log_pi.backward()
    return step_size * reward * x.grad
