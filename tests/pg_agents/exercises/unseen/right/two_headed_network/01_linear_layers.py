"""Two-headed network

An actor-critic needs a policy and a value of each state. Both can share what they know
of the state: one hidden layer, and two heads on top of it.

    h      = relu(W x + b)              shared, n_hidden units
    logits = W_pi h + b_pi              policy head, one for each action
    value  = w_v . h + b_v              value head, one number

Write it as a PyTorch module. The softmax of the logits is applied outside of it.
"""

import torch
from torch import nn


class TwoHeadedNetwork(nn.Module):
    """Policy and value on a shared hidden layer."""

    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.shared = nn.Linear(n_observations, n_hidden)
        self.policy = nn.Linear(n_hidden, n_actions)
        self.value = nn.Linear(n_hidden, 1)

    def forward(self, observations):
        """Compute logits and values.

        observations: tensor [B, n_observations]
        result: (logits [B, n_actions], values [B])
        """
        h = torch.relu(self.shared(observations))
        return self.policy(h), self.value(h).squeeze(-1)
