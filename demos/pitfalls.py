"""Sixteen policy gradients: one is correct, each of the others has a known mistake.

Each is a function from a batch of episodes and a policy to a loss, as `pgtoy check`
takes it. Try them from this folder:

    pgtoy check pitfalls:right
    pgtoy check pitfalls:sign_flipped

docs/pitfalls.md explains each mistake and measures its effect.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions import Categorical

from pg_agents.checker import Episode, EpisodeBatch

Policy = Callable[[Tensor], Categorical]


def reward_to_go(episode: Episode) -> Tensor:
    """Returns `G_t = r_t + gamma G_{t+1}` of every step, `[T]`."""
    total, returns = 0.0, []
    for reward in reversed(episode.rewards.tolist()):
        total = reward + episode.gamma * total
        returns.append(total)
    return torch.tensor(returns[::-1])


def all_returns(batch: Iterable[Episode]) -> Tensor:
    """Returns `G_t` of all steps, `[B]`."""
    return torch.cat([reward_to_go(episode) for episode in batch])


def weights(batch: Iterable[Episode]) -> Tensor:
    """Returns `gamma^t G_t` of all steps, `[B]`."""
    return torch.cat([e.gamma**e.time * reward_to_go(e) for e in batch])


def log_probs(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Returns log pi(a|s) of all steps, `[B]`."""
    log_prob: Tensor = policy(batch.observations).log_prob(batch.actions)
    return log_prob


def loss(weight: Tensor, batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Returns minus the weighted sum of log pi(a|s) per episode."""
    return -(weight * log_probs(batch, policy)).sum() / len(batch)


def discounted_loss(weight: Tensor, batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Returns the loss of weights times gamma^t."""
    return loss(batch.gamma**batch.time * weight, batch, policy)


def right(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """REINFORCE without a mistake."""
    return loss(weights(batch), batch, policy)


def probability(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Uses the probability in place of its logarithm."""
    probs = log_probs(batch, policy).exp()
    return -(weights(batch) * probs).sum() / len(batch)


def sign_flipped(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Misses the minus sign."""
    return (weights(batch) * log_probs(batch, policy)).sum() / len(batch)


def off_by_one(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Stores the return before adding the reward."""
    returns = []
    for episode in batch:
        total, backwards = 0.0, []
        for reward in reversed(episode.rewards.tolist()):
            backwards.append(total)
            total = reward + episode.gamma * total
        returns += backwards[::-1]
    return discounted_loss(torch.tensor(returns), batch, policy)


def next_state(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Pairs the action with the observation after it."""
    log_prob: Tensor = policy(batch.next_observations).log_prob(batch.actions)
    return -(weights(batch) * log_prob).sum() / len(batch)


def gamma_dropped(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Omits gamma^t, as most implementations do."""
    return loss(all_returns(batch), batch, policy)


def gamma_twice(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Discounts rewards from the start of the episode, and the step again."""
    return discounted_loss(weights(batch), batch, policy)


def mean_over_steps(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Averages over steps in place of episodes."""
    return -(weights(batch) * log_probs(batch, policy)).mean()


def batch_mean_baseline(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts the mean of all episodes at the same step, including its own."""
    returns = torch.zeros(len(batch), max(batch.lengths))
    for i, episode in enumerate(batch):
        returns[i, : len(episode)] = reward_to_go(episode)
    advantages = (returns - returns.mean(dim=0))[batch.episode, batch.time]
    return discounted_loss(advantages, batch, policy)


def standardized(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Standardises the returns over the batch."""
    returns = all_returns(batch)
    standard = (returns - returns.mean()) / (returns.std() + 1e-8)
    return discounted_loss(standard, batch, policy)


def rounded(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Casts the returns to integers."""
    return discounted_loss(all_returns(batch).long(), batch, policy)


def through_terminal(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Adds the value of the terminal state, after which nothing follows."""
    target = batch.rewards + batch.gamma * batch.next_values
    # The critic is exact here.
    return discounted_loss(target - batch.values, batch, policy)


def no_bootstrap_at_truncation(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Treats truncation as termination; check with `--horizon 6 --bootstrap`."""
    done = batch.terminated | batch.truncated
    target = batch.rewards + batch.gamma * batch.next_values * ~done
    return discounted_loss(target - batch.values, batch, policy)


def first_finished(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Takes the first episodes to finish among parallel ones."""
    by_end = sorted(batch, key=lambda episode: episode.started + len(episode))
    first = by_end[: len(batch) // 2]
    log_prob = torch.cat([policy(e.observations).log_prob(e.actions) for e in first])
    return -(weights(first) * log_prob).sum() / len(first)


class Replay:
    """REINFORCE from the last 32 episodes, whichever policy played them."""

    def __init__(self) -> None:
        self.memory: deque[Episode] = deque(maxlen=32)

    def __call__(self, batch: EpisodeBatch, policy: Policy) -> Tensor:
        """Uses all remembered episodes as if the current policy had played them."""
        self.memory.extend(batch)
        observations = torch.cat([e.observations for e in self.memory])
        actions = torch.cat([e.actions for e in self.memory])
        log_prob: Tensor = policy(observations).log_prob(actions)
        return -(weights(self.memory) * log_prob).sum() / len(self.memory)


replay = Replay()


def entropy_sign(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Adds the entropy to the loss in place of subtracting it."""
    entropy: Tensor = policy(batch.observations).entropy().sum() / len(batch)
    return right(batch, policy) + 0.05 * entropy
