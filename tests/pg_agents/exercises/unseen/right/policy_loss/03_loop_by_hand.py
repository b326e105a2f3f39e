"""Policy loss

An optimiser minimises a loss, and the policy gradient says in which direction the return
grows. The loss whose gradient is minus the policy gradient of one episode is

    loss = - sum_t G_t * log pi(a_t|s_t),    pi(.|s_t) = softmax(logits[t])

Write it for the T steps of an episode. Of logits [[1, 2]], actions [1] and returns [10]
it is 3.1326165.
"""

import torch


def policy_loss(logits, actions, returns):
    """Compute the policy-gradient loss of one episode.

    logits: tensor [T, A], output of the policy network (requires_grad)
    actions: tensor [T] of integers, the actions taken
    returns: tensor [T], the return of each step
    result: tensor with one number, on which backward() can be called
    """
    loss = torch.zeros(1)
    for t in range(logits.shape[0]):
        log_prob = logits[t, int(actions[t])] - torch.logsumexp(logits[t], dim=0)
        loss = loss - float(returns[t]) * log_prob
    return loss
