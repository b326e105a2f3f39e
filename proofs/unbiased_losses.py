"""Unbiased estimators of the policy gradient, as losses.

None of them is plain reward-to-go: the checker's control variates would remove all of
its noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pg_agents.checker import EpisodeBatch


def discounted_to_go(batch: EpisodeBatch) -> Tensor:
    """Returns gamma^t times the reward-to-go of each step, `[B]`."""
    discounted = batch.gamma**batch.time * batch.rewards
    total = torch.zeros(len(batch)).index_add(0, batch.episode, discounted)
    before = torch.cumsum(discounted, 0) - discounted
    at_start = before[batch.time == 0][batch.episode]
    return total[batch.episode] - (before - at_start)


def loss_of(weight: Tensor, batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Returns minus the weighted sum of log-probabilities per episode."""
    log_prob = policy(batch.observations).log_prob(batch.actions)
    loss: Tensor = -(weight * log_prob).sum() / len(batch)
    return loss


def full_return_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Weights every step by the return of its whole episode."""
    weight = discounted_to_go(batch)[batch.time == 0][batch.episode]
    return loss_of(weight, batch, policy)


def leave_one_out_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Subtracts the mean reward-to-go of the other episodes at the same step."""
    to_go = discounted_to_go(batch)
    table = torch.zeros(len(batch), max(batch.lengths))
    table[batch.episode, batch.time] = to_go
    others = (table.sum(0) - table) / (len(batch) - 1)
    return loss_of(to_go - others[batch.episode, batch.time], batch, policy)


def exact_critic_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Weights every step by its one-step advantage from the exact values."""
    next_values = batch.gamma * batch.next_values * ~batch.terminated
    advantage = batch.rewards + next_values - batch.values
    return loss_of(batch.gamma**batch.time * advantage, batch, policy)


LOSSES = {
    "full return": full_return_loss,
    "leave-one-out": leave_one_out_loss,
    "exact critic": exact_critic_loss,
}
