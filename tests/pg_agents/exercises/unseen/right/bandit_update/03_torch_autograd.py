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
    table = torch.as_tensor(logits, dtype=torch.float32).detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([table], lr=float(step_size))
    loss = -reward * torch.log_softmax(table, dim=0)[action]
    loss.backward()
    optimizer.step()
    return table.detach()
