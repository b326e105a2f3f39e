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
        self.W = nn.Parameter(torch.randn(n_hidden, n_observations) / n_observations ** 0.5)
        self.b = nn.Parameter(torch.zeros(n_hidden))
        self.W_pi = nn.Parameter(torch.randn(n_actions, n_hidden) / n_hidden ** 0.5)
        self.b_pi = nn.Parameter(torch.zeros(n_actions))
        self.w_v = nn.Parameter(torch.randn(n_hidden) / n_hidden ** 0.5)
        self.b_v = nn.Parameter(torch.zeros(()))

    def forward(self, observations):
        """Compute logits and values.

        observations: tensor [B, n_observations]
        result: (logits [B, n_actions], values [B])
        """
        h = torch.clamp(observations @ self.W.T + self.b, min=0)
        logits = h @ self.W_pi.T + self.b_pi
        values = h @ self.w_v + self.b_v
        return logits, values
