"""Right estimators of the policy gradient, each as a loss and for all batches at once.

None of them is the textbook's reward-to-go, whose noise the checker takes away whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker import EpisodeBatch
from pg_agents.checker.estimators import Sample, Weights
from pg_agents.checker.task import Array


def discounted_to_go(batch: EpisodeBatch) -> Tensor:
    """Returns `gamma^t G_t` of all steps, `[B]`."""
    discounted = batch.gamma**batch.time * batch.rewards
    total = torch.zeros(len(batch)).index_add(0, batch.episode, discounted)
    before = torch.cumsum(discounted, 0) - discounted
    at_start = before[batch.time == 0][batch.episode]
    return total[batch.episode] - (before - at_start)


def loss_of(weight: Tensor, batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Returns minus the weighted log-probabilities, per episode."""
    log_prob = policy(batch.observations).log_prob(batch.actions)
    loss: Tensor = -(weight * log_prob).sum() / len(batch)
    return loss


def full_return_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """The whole episode's return at every step."""
    weight = discounted_to_go(batch)[batch.time == 0][batch.episode]
    return loss_of(weight, batch, policy)


def full_return(sample: Sample, discount: Array) -> Weights:
    """The same for all batches at once."""
    del discount
    whole: Array = sample.returns[sample.steps.time == 0][sample.steps.episode]
    return whole


def leave_one_out_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """Reward-to-go less the mean of the other episodes at the same time."""
    to_go = discounted_to_go(batch)
    table = torch.zeros(len(batch), max(batch.lengths))
    table[batch.episode, batch.time] = to_go
    others = (table.sum(0) - table) / (len(batch) - 1)
    return loss_of(to_go - others[batch.episode, batch.time], batch, policy)


def leave_one_out(sample: Sample, discount: Array) -> Weights:
    """The same for all batches at once."""
    n_times = int(sample.steps.time.max()) + 1
    group = sample.batch * n_times + sample.steps.time
    others = np.bincount(group, sample.returns)[group] - sample.returns
    weights: Array = discount * (sample.returns - others / (sample.batch_size - 1))
    return weights


def ideal_critic_loss(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """One-step advantages by the exact values."""
    later = batch.gamma * batch.next_values * ~batch.terminated
    advantage = batch.rewards + later - batch.values
    return loss_of(batch.gamma**batch.time * advantage, batch, policy)


def ideal_critic(sample: Sample, discount: Array) -> Weights:
    """The same for all batches at once."""
    steps = sample.steps
    later = sample.task.gamma * sample.next_values * ~steps.terminated
    weights: Array = discount * (steps.reward + later - sample.values)
    return weights


ESTIMATORS = {
    "full return": full_return,
    "leave-one-out": leave_one_out,
    "ideal critic": ideal_critic,
}
LOSSES = {
    "full return": full_return_loss,
    "leave-one-out": leave_one_out_loss,
    "ideal critic": ideal_critic_loss,
}
