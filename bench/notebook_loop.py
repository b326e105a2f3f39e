"""REINFORCE as course notebooks write it: the counterpart of row cartpole-mc.

The policy evaluates one observation at a time and keeps the autograd graph, returns are
a Python loop, the loss is a sum over a list of tensors, and every episode is an update.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from bench.protocol import Facts, Run

GAMMA = 1.0
Environment = gymnasium.Env[NDArray[np.float32], Any]


class Network(nn.Module):
    """4-16-2 with a softmax head."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, observations: Tensor) -> Tensor:
        """Returns probabilities `[B, 2]` of observations `[B, 4]`."""
        hidden = torch.relu(self.hidden(observations))
        return torch.softmax(self.head(hidden), dim=1)

    def act(self, observation: NDArray[np.float32]) -> tuple[int, Tensor]:
        """Returns an action and its log-probability, `[1]`."""
        batch = torch.from_numpy(observation).float().unsqueeze(0)
        distribution = Categorical(self(batch))
        action = distribution.sample()
        return int(action.item()), distribution.log_prob(action)


def play(env: Environment, network: Network) -> tuple[list[Tensor], list[float]]:
    """Returns log-probabilities and rewards of an episode."""
    log_probs, rewards = [], []
    observation, _ = env.reset()
    done = False
    while not done:
        action, log_prob = network.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        log_probs.append(log_prob)
        rewards.append(float(reward))
        done = terminated or truncated
    return log_probs, rewards


def returns_to_go(rewards: list[float]) -> list[float]:
    """Returns the discounted sum of rewards from each step on."""
    returns: list[float] = []
    to_go = 0.0
    for reward in reversed(rewards):
        to_go = reward + GAMMA * to_go
        returns.insert(0, to_go)
    return returns


def learn_from(
    log_probs: list[Tensor], rewards: list[float], optimizer: torch.optim.Optimizer
) -> None:
    """Takes one optimiser step."""
    returns = torch.tensor(returns_to_go(rewards))
    if len(returns) > 1:
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
    terms = [
        -log_prob * value for log_prob, value in zip(log_probs, returns, strict=True)
    ]
    loss = torch.cat(terms).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def notebook(seed: int) -> Run:
    """Returns a run from fresh weights."""
    torch.manual_seed(seed)
    env: Environment = gymnasium.make("CartPole-v1")
    env.reset(seed=seed)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def run(n_steps: int) -> Facts:
        steps = updates = 0
        while steps < n_steps:
            log_probs, rewards = play(env, network)
            learn_from(log_probs, rewards, optimizer)
            steps += len(rewards)
            updates += 1
        return {"steps": steps, "updates": updates}

    return run
