# mistake: draws a second time for the log-probability, which then belongs to another action
"""Action sampling

A network gives one logit for each of A actions. The policy is their softmax,

    pi(a) = exp(logits[a]) / sum_b exp(logits[b])

and the agent draws its action from it. The update needs log pi(a) of the action drawn,
as a tensor through which the gradient flows back to the logits.

Write a function that draws one action and returns it with its log-probability.
"""

import torch


def sample_action(logits):
    """Draw an action from the softmax of the logits.

    logits: tensor [A], part of a graph (requires_grad)
    result: (action, log_prob); action is an integer from 0 to A - 1, and log_prob a
        tensor with one number, log pi(action)
    """
    dist = torch.distributions.Categorical(logits=logits)
    action = dist.sample().item()
    log_prob = dist.log_prob(dist.sample())
    return action, log_prob
