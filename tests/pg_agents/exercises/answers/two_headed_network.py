import torch
import torch.nn.functional as F
from torch import nn


class Sequential(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(n_observations, n_hidden), nn.ReLU())
        self.actor = nn.Linear(n_hidden, n_actions)
        self.critic = nn.Linear(n_hidden, 1)

    def forward(self, observations):
        h = self.shared(observations)
        return self.actor(h), self.critic(h).squeeze(-1)


class Functional(Sequential):
    def forward(self, x):
        h = F.relu(self.shared[0](x))
        return self.actor(h), self.critic(h)[:, 0]


class OneMatrix(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.layer = nn.Linear(n_observations, n_hidden)
        self.heads = nn.Linear(n_hidden, n_actions + 1)

    def forward(self, observations):
        out = self.heads(torch.relu(self.layer(observations)))
        return out[..., :-1], out[..., -1]


class OwnParameters(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.w = nn.Parameter(torch.randn(n_observations, n_hidden) * 0.5)
        self.b = nn.Parameter(torch.zeros(n_hidden))
        self.w_pi = nn.Parameter(torch.randn(n_hidden, n_actions) * 0.3)
        self.b_pi = nn.Parameter(torch.zeros(n_actions))
        self.w_v = nn.Parameter(torch.randn(n_hidden) * 0.3)
        self.b_v = nn.Parameter(torch.zeros(()))

    def forward(self, observations):
        h = (observations @ self.w + self.b).clamp(min=0)
        return h @ self.w_pi + self.b_pi, h @ self.w_v + self.b_v


def factory(n_observations, n_actions, n_hidden=128):
    network = Sequential(n_observations, n_actions, n_hidden)
    for layer in (network.shared[0], network.actor, network.critic):
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


class Softmax(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return torch.softmax(logits, dim=-1), values


class SoftmaxOverBatch(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return torch.softmax(logits, dim=0), values


class ValueColumn(Sequential):
    def forward(self, observations):
        h = self.shared(observations)
        return self.actor(h), self.critic(h)


class Swapped(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return values, logits


class OneOutput(Sequential):
    def forward(self, observations):
        h = self.shared(observations)
        return torch.cat([self.actor(h), self.critic(h)], dim=-1)


class NotShared(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(n_observations, n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_actions),
        )
        self.critic = nn.Sequential(
            nn.Linear(n_observations, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)
        )

    def forward(self, observations):
        return self.actor(observations), self.critic(observations).squeeze(-1)


class NoActivation(Sequential):
    def forward(self, observations):
        h = self.shared[0](observations)
        return self.actor(h), self.critic(h).squeeze(-1)


class ReluLogits(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return F.relu(logits), values


class ReluValues(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return logits, F.relu(values)


class SquashedValues(Sequential):
    def forward(self, observations):
        logits, values = super().forward(observations)
        return logits, torch.tanh(values)


class Tanh(Sequential):
    def forward(self, observations):
        h = torch.tanh(self.shared[0](observations))
        return self.actor(h), self.critic(h).squeeze(-1)


class NoSuper(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        self.shared = nn.Linear(n_observations, n_hidden)


class HiddenInList(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.layers = [nn.Linear(n_observations, n_hidden)]
        self.actor, self.critic = nn.Linear(n_hidden, n_actions), nn.Linear(n_hidden, 1)

    def forward(self, observations):
        h = torch.relu(self.layers[0](observations))
        return self.actor(h), self.critic(h).squeeze(-1)


class LayersInForward(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.sizes = n_observations, n_actions, n_hidden

    def forward(self, observations):
        n_observations, n_actions, n_hidden = self.sizes
        h = torch.relu(nn.Linear(n_observations, n_hidden)(observations))
        return nn.Linear(n_hidden, n_actions)(h), nn.Linear(n_hidden, 1)(h)[:, 0]


class ValueFromLogits(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.layer = nn.Linear(n_observations, n_hidden)
        self.actor = nn.Linear(n_hidden, n_actions)
        self.critic = nn.Linear(n_actions, 1)

    def forward(self, observations):
        logits = self.actor(torch.relu(self.layer(observations)))
        return logits, self.critic(logits).squeeze(-1)


class ValueFromObservations(nn.Module):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        self.layer = nn.Linear(n_observations, n_hidden)
        self.actor = nn.Linear(n_hidden, n_actions)
        self.critic = nn.Linear(n_observations, 1)

    def forward(self, observations):
        h = torch.relu(self.layer(observations))
        return self.actor(h), self.critic(observations).squeeze(-1)


class ValueDetached(Sequential):
    def forward(self, observations):
        h = self.shared(observations)
        return self.actor(h), self.critic(h.detach()).squeeze(-1)


class FixedHidden(Sequential):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__(n_observations, n_actions, 128)


class TwoActions(Sequential):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__(n_observations, 2, n_hidden)


class Dropout(Sequential):
    def forward(self, observations):
        h = F.dropout(self.shared(observations), 0.2)
        return self.actor(h), self.critic(h).squeeze(-1)


class Deeper(Sequential):
    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__(n_observations, n_actions, n_hidden)
        self.shared.extend([nn.Linear(n_hidden, n_hidden), nn.ReLU()])


RIGHT = [Sequential, Functional, OneMatrix, OwnParameters, factory]
WRONG = {
    "softmax": Softmax,
    "softmax_over_batch": SoftmaxOverBatch,
    "value_column": ValueColumn,
    "swapped": Swapped,
    "one_output": OneOutput,
    "not_shared": NotShared,
    "no_activation": NoActivation,
    "relu_logits": ReluLogits,
    "relu_values": ReluValues,
    "squashed_values": SquashedValues,
    "other_activation": Tanh,
    "no_super": NoSuper,
    "no_parameters": HiddenInList,
    "layers_in_forward": LayersInForward,
    "value_from_logits": ValueFromLogits,
    "value_from_observations": ValueFromObservations,
    "value_detached": ValueDetached,
    "n_hidden_ignored": FixedHidden,
    "n_actions_ignored": TwoActions,
    "random": Dropout,
    "extra_layers": Deeper,
}
