"""Policy gradients: one is correct, each of the others has a known mistake.

Each is a function from a batch of episodes and a policy to a loss, as `pgtoy check`
takes it. Try them from this folder:

    pgtoy check pitfalls:right
    pgtoy check pitfalls:sign_flipped

docs/pitfalls.md explains each mistake and measures its effect. Mistakes that only a
training loop can make are in `IN_SCRIPTS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional

from pg_agents.checker import Episode, EpisodeBatch

Policy = Callable[[Tensor], Categorical]

IN_SCRIPTS = (
    "earlier_rewards",
    "return_across_workers",
    "reset_steps",
    "one_environment_only",
    "unfinished_dropped",
    "late_window",
    "limit_bootstrapped",
    "critic_sign_flipped",
    "gradient_clipped",
    "logit",
    "other_deviation",
    "action_not_detached",
    "clipped_action",
    "next_value_not_detached",
    "rows_mixed_up",
    "actions_not_sampled",
    "truncation_ignored",
    "gradients_not_zeroed",
    "log_prob_after_update",
)
"""Keys of the mistakes that a function `(batch, policy)` cannot make."""


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


# What multiplies the return, in place of log pi(a|s).


def weighted(batch: EpisodeBatch, log_prob: Tensor) -> Tensor:
    """Returns minus the sum of `gamma^t G_t` times something else, per episode."""
    return -(weights(batch) * log_prob).sum() / len(batch)


def taken(values: Tensor, actions: Tensor) -> Tensor:
    """Returns the entry of each row that belongs to its action, `[B]`."""
    return values.gather(1, actions[:, None])[:, 0]


def p_log_p(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Multiplies the logarithm by the probability, as in an entropy."""
    log_prob = log_probs(batch, policy)
    return weighted(batch, log_prob.exp() * log_prob)


def inverse_probability(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Divides by the probability, as if the actions had been drawn uniformly."""
    log_prob = log_probs(batch, policy)
    return weighted(batch, log_prob / log_prob.detach().exp())


def all_actions(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Forgets to select the action: raises all of them alike."""
    return weighted(batch, policy(batch.observations).logits.sum(-1))


def wrong_gather(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Takes the first column, whichever action was taken."""
    return weighted(batch, policy(batch.observations).logits[:, 0])


def action_resampled(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Draws new actions for the update."""
    dist = policy(batch.observations)
    return weighted(batch, dist.log_prob(dist.sample()))


def double_softmax(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Gives probabilities to a loss that expects logits."""
    probs = policy(batch.observations).probs
    return weighted(
        batch, -functional.cross_entropy(probs, batch.actions, reduction="none")
    )


def softmax_over_batch(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Normalises over the states of the batch in place of the actions."""
    log_probs = functional.log_softmax(policy(batch.observations).logits, dim=0)
    return weighted(batch, taken(log_probs, batch.actions))


def binary_cross_entropy(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Treats each action as a coin of its own."""
    probs = policy(batch.observations).probs
    one_hot = functional.one_hot(batch.actions, probs.shape[-1]).float()
    entropy = functional.binary_cross_entropy(probs, one_hot, reduction="none")
    return weighted(batch, -entropy.sum(-1))


def squared_error(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Moves the probabilities towards the action by a squared distance."""
    probs = policy(batch.observations).probs
    one_hot = functional.one_hot(batch.actions, probs.shape[-1]).float()
    return weighted(batch, -((probs - one_hot) ** 2).sum(-1))


def clamped_probability(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Bounds the probabilities before the logarithm."""
    probs = taken(policy(batch.observations).probs, batch.actions)
    return weighted(batch, probs.clamp(0.2, 0.8).log())


# The return.


def no_return(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Imitates the actions, whatever they led to."""
    return loss(torch.ones(len(batch.time)), batch, policy)


def immediate_reward(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Uses the list of rewards where the returns belong."""
    return discounted_loss(batch.rewards, batch, policy)


def returns_forward(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Sums the rewards from the start of the episode to each step."""
    returns = torch.cat([(e.gamma**e.time * e.rewards).cumsum(0) for e in batch])
    return loss(returns, batch, policy)


def returns_reversed(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Leaves the returns in the order of their computation, last to first."""
    returns = torch.cat([reward_to_go(e).flip(0) for e in batch])
    return discounted_loss(returns, batch, policy)


def return_across_episodes(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Sums from the end of the batch, without a reset at the end of an episode."""
    total, returns = 0.0, []
    for reward in reversed(batch.rewards.tolist()):
        total = reward + batch.gamma * total
        returns.append(total)
    return discounted_loss(torch.tensor(returns[::-1]), batch, policy)


def last_step_lost(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Does not store the step that ends the episode."""
    done = batch.terminated | batch.truncated
    total, returns = 0.0, []
    for reward, last in zip(
        reversed(batch.rewards.tolist()), reversed(done.tolist()), strict=True
    ):
        total = 0.0 if last else reward + batch.gamma * total
        returns.append(total)
    return discounted_loss(torch.tensor(returns[::-1]), batch, policy)


def first_step_lost(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Starts the loop over the steps at 1."""
    return loss(weights(batch) * (batch.time > 0), batch, policy)


def one_step_only(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Assigns the loss in the loop over the steps instead of adding it up."""
    is_last = batch.terminated | batch.truncated
    return loss(weights(batch) * is_last, batch, policy)


def one_episode_only(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Assigns the loss in the loop over the episodes instead of adding it up."""
    is_last = batch.episode == len(batch) - 1
    return loss(weights(batch) * is_last, batch, policy)


def done_mask_shifted(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Resets the sum by the flag of the step before."""
    done = (batch.terminated | batch.truncated).roll(1)
    total, returns = 0.0, []
    for reward, last in zip(
        reversed(batch.rewards.tolist()), reversed(done.tolist()), strict=True
    ):
        total = reward + batch.gamma * total * (not last)
        returns.append(total)
    return discounted_loss(torch.tensor(returns[::-1]), batch, policy)


def other_gamma(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Does not discount the rewards."""
    returns = torch.cat([e.rewards.flip(0).cumsum(0).flip(0) for e in batch])
    return discounted_loss(returns, batch, policy)


def discount_across_episodes(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Counts the steps of the batch in place of those of the episode."""
    discounts = batch.gamma ** torch.arange(len(batch.time))
    return loss(discounts * all_returns(batch), batch, policy)


def discount_not_reset(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Sets the discount to 1 before the loop over the steps, not in it."""
    returns = []
    for episode in batch.rewards.split(batch.lengths):
        discount = 1.0
        for t in range(len(episode)):
            total = 0.0
            for reward in episode[t:].tolist():
                total += discount * reward
                discount *= batch.gamma
            returns.append(total)
    return loss(torch.tensor(returns), batch, policy)


def rewards_clipped(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Clips the rewards to [-0.5, 0.5]."""
    returns = [
        sum(batch.gamma**k * r for k, r in enumerate(episode[t:]))
        for episode in batch.rewards.clamp(-0.5, 0.5).split(batch.lengths)
        for t in range(len(episode))
    ]
    return discounted_loss(torch.tensor(returns), batch, policy)


def rewards_standardized(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Standardises the rewards before they are summed."""
    rewards = (batch.rewards - batch.rewards.mean()) / (batch.rewards.std() + 1e-8)
    returns = [
        sum(batch.gamma**k * r for k, r in enumerate(episode[t:]))
        for episode in rewards.split(batch.lengths)
        for t in range(len(episode))
    ]
    return discounted_loss(torch.tensor(returns), batch, policy)


# What is averaged over what.


def mean_in_episode(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Averages over the steps of each episode, then over episodes."""
    lengths = torch.tensor(batch.lengths)[batch.episode]
    return loss(weights(batch) / lengths, batch, policy)


def all_pairs(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Multiplies `[B, 1]` with `[B]`."""
    pairs = weights(batch)[:, None] * log_probs(batch, policy)
    return -pairs.sum() / len(batch)


def broadcast_advantage(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts values `[B, 1]` from returns `[B]`."""
    advantages = all_returns(batch) - batch.values[:, None]
    log_prob = batch.gamma**batch.time * log_probs(batch, policy)
    return -(advantages * log_prob[:, None]).mean(1).sum() / len(batch)


# Baselines.


def episode_mean_baseline(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts the mean return of the same episode."""
    returns = [reward_to_go(episode) for episode in batch]
    return discounted_loss(torch.cat([g - g.mean() for g in returns]), batch, policy)


def action_value_baseline(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts the exact value of the action."""
    action_values = batch.rewards + batch.gamma * batch.next_values * ~batch.terminated
    returns = all_returns(batch)
    return discounted_loss(returns - action_values, batch, policy)


def next_value_baseline(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts the value of the state that the action led to."""
    return discounted_loss(all_returns(batch) - batch.next_values, batch, policy)


def advantage_sign_lost(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Squares the advantage."""
    return discounted_loss((all_returns(batch) - batch.values) ** 2, batch, policy)


def state_value_weight(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Uses the critic's value in place of the return."""
    return discounted_loss(batch.values, batch, policy)


def advantages_standardized(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Standardises the advantages of an exact critic over the batch."""
    advantages = all_returns(batch) - batch.values
    standard = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    return discounted_loss(standard, batch, policy)


def scaled_by_batch(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Divides by the largest return of the batch."""
    returns = all_returns(batch)
    return discounted_loss(returns / returns.abs().max(), batch, policy)


def nan_deviation(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Standardises within each episode, also if it has one step."""
    returns = [reward_to_go(episode) for episode in batch]
    standard = torch.cat([(g - g.mean()) / (g.std() + 1e-8) for g in returns])
    return discounted_loss(standard, batch, policy)


# Critics.


def bootstrap_from_wrong_state(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Bootstraps from the state before the action."""
    target = batch.rewards + batch.gamma * batch.values * ~batch.terminated
    return discounted_loss(target - batch.values, batch, policy)


def learned_critic(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Bootstraps from a critic that has learnt half of each value so far."""
    target = batch.rewards + batch.gamma * 0.5 * batch.next_values * ~batch.terminated
    return discounted_loss(target - 0.5 * batch.values, batch, policy)


def value_not_detached(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Lets the gradient run through the value, which shares the policy's trunk."""
    dist = policy(batch.observations)
    # A linear value head on the last layer of the policy.
    values = dist.probs @ torch.linspace(-1, 1, dist.probs.shape[-1])
    advantages = all_returns(batch) - values
    log_prob: Tensor = dist.log_prob(batch.actions)
    return -(batch.gamma**batch.time * advantages * log_prob).sum() / len(batch)


# Entropy.


def entropy_bonus(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Subtracts the entropy from the loss, as A2C and PPO do."""
    entropy: Tensor = policy(batch.observations).entropy().sum() / len(batch)
    return right(batch, policy) - 0.05 * entropy


def taken_action_entropy(batch: EpisodeBatch, policy: Policy) -> Tensor:
    """Computes p log p of the action that was taken only."""
    log_prob = log_probs(batch, policy)
    entropy = -(log_prob.exp() * log_prob).sum() / len(batch)
    return right(batch, policy) - 0.05 * entropy
