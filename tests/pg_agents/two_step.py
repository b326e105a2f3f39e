"""A task with three episodes, and its exact policy gradient.

From the first state, action 0 ends the episode with reward 2; action 1 pays -1 and
leads to the second state, where both actions end it, with rewards 5 and 1. So there are
three episodes, and the expected gradient of a learner is a finite sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from pg_agents import TabularPolicy
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.learning.advantages import estimate_advantages

LOGITS = torch.tensor([[0.3, -0.4], [-0.2, 0.5]], dtype=torch.float64)


@dataclass(frozen=True)
class Episode:
    """States, actions and rewards of each step."""

    states: tuple[int, ...]
    actions: tuple[int, ...]
    rewards: tuple[float, ...]


EPISODES = (
    Episode((0,), (0,), (2.0,)),
    Episode((0, 1), (1, 0), (-1.0, 5.0)),
    Episode((0, 1), (1, 1), (-1.0, 1.0)),
)


class TwoStepEnv(gymnasium.Env[np.int64, np.int64]):
    """Spaces of the model; episodes are added to its buffer directly."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        return np.int64(0), {}


def probability(episode: Episode, logits: Tensor) -> Tensor:
    """Returns the probability of an episode, differentiable."""
    log_pi = torch.log_softmax(logits, 1)
    return log_pi[list(episode.states), list(episode.actions)].sum().exp()


def exact_gradient(gamma: float, drop_gamma_t: bool = False) -> Tensor:
    """Returns the gradient of the expected discounted return, `[2, 2]`.

    Args:
        gamma: discount factor.
        drop_gamma_t: whether state weights are not discounted, which weights step t by
            1 / gamma^t.
    """
    logits = LOGITS.clone().requires_grad_()
    if not drop_gamma_t:
        expected = sum(
            probability(e, logits) * sum(gamma**t * r for t, r in enumerate(e.rewards))
            for e in EPISODES
        )
        assert isinstance(expected, Tensor)
        return torch.autograd.grad(expected, logits)[0]
    # Policy gradient theorem with state weights d(0) = 1, d(1) = P(action 1).
    pi = torch.softmax(logits, 1)
    frozen = pi.detach()
    value_of_second = frozen[1] @ torch.tensor([5.0, 1.0], dtype=torch.float64)
    q_first = torch.stack([torch.tensor(2.0).double(), -1 + gamma * value_of_second])
    q_second = torch.tensor([5.0, 1.0], dtype=torch.float64)
    objective = pi[0] @ q_first + frozen[0, 1] * (pi[1] @ q_second)
    return torch.autograd.grad(objective, logits)[0]


def gradient_of(model: PolicyGradientAlgorithm, episodes: Sequence[Episode]) -> Tensor:
    """Returns minus the gradient of the model's loss on a batch of episodes.

    The episodes are added to the model's buffer, one environment each.
    """
    buffer = model.rollout_buffer
    buffer.reset()
    # Environments with one-step episodes idle in the second row.
    for t in range(2):
        live = np.array([t < len(e.rewards) for e in episodes])
        last = np.array([t == len(e.rewards) - 1 for e in episodes])
        pick = [min(t, len(e.rewards) - 1) for e in episodes]
        buffer.add(
            observations=np.array(
                [e.states[k] for e, k in zip(episodes, pick, strict=True)]
            ),
            actions=np.array(
                [e.actions[k] for e, k in zip(episodes, pick, strict=True)]
            ),
            rewards=np.array(
                [e.rewards[k] for e, k in zip(episodes, pick, strict=True)], np.float32
            ),
            terminated=last,
            truncated=np.zeros_like(last),
            recorded=live,
            episode_steps=np.full(len(episodes), t),
            values=torch.zeros(len(episodes)),
            log_probs=torch.zeros(len(episodes)),
        )
    states = buffer.bootstrap_states(np.zeros(len(episodes), dtype=np.int64))
    rollout = buffer.collected(states, len(episodes))
    buffer.complete(rollout, *estimate_advantages(rollout, model.config))
    model.policy.zero_grad()
    model.loss(buffer.batch())[0].backward()
    gradient = model.policy.action_net.weight.grad
    assert isinstance(gradient, Tensor)
    return -gradient.T.double()


def expected_gradient(model: PolicyGradientAlgorithm, n_episodes: int) -> Tensor:
    """Returns the expectation of `gradient_of` over all batches of episodes."""
    policy = model.policy
    assert isinstance(policy, TabularPolicy)
    policy.action_net.weight.data = LOGITS.T.float()
    total = torch.zeros_like(LOGITS)
    for batch in itertools.product(EPISODES, repeat=n_episodes):
        weight = torch.stack([probability(e, LOGITS) for e in batch]).prod()
        total += weight * gradient_of(model, batch)
    return total
