"""Common mistakes in policy gradients: the catalogue, and their estimators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pg_agents.checker.episodes import IntArray
from pg_agents.checker.estimators import Estimator, Sample, Weights
from pg_agents.checker.task import Array


def probability(sample: Sample, discount: Array) -> Weights:
    """`grad pi = pi grad log pi`."""
    prob = sample.policy[sample.steps.state, sample.steps.action]
    return discount * sample.returns * prob


def sign_flipped(sample: Sample, discount: Array) -> Weights:
    """The loss without its minus sign."""
    return -discount * sample.returns


def off_by_one(sample: Sample, discount: Array) -> Weights:
    """`G_{t+1}` in place of `G_t`, 0 at the end."""
    next_returns = np.append(sample.returns[1:], 0.0)
    return discount * np.where(sample.last_step, 0.0, next_returns)


def next_state(sample: Sample, discount: Array) -> Weights:
    """The score of the action in the next state."""
    return discount * sample.returns, sample.steps.next_state


def gamma_twice(sample: Sample, discount: Array) -> Weights:
    """`gamma^{2t} G_t`."""
    return discount * sample.gamma_t * sample.returns


def mean_over_steps(sample: Sample, discount: Array) -> Weights:
    """The mean over the steps of the batch instead of its episodes."""
    return discount * sample.returns * sample.batch_size / sample.steps_per_batch


def baseline_per_time_step(sample: Sample, discount: Array) -> Weights:
    """The batch's mean return at the same time as baseline; ended episodes count 0."""
    n_times = int(sample.steps.time.max()) + 1
    group = sample.batch * n_times + sample.steps.time
    means: Array = np.bincount(group, sample.returns)[group] / sample.batch_size
    advantages: Array = discount * (sample.returns - means)
    return advantages


def baseline_over_steps(sample: Sample, discount: Array) -> Weights:
    """The mean return of all steps of the batch as baseline."""
    return discount * (sample.returns - sample.group_mean(sample.batch, sample.returns))


def baseline_over_episodes(sample: Sample, discount: Array) -> Weights:
    """The mean return of the batch's episodes as baseline, at every step."""
    episode_returns = np.where(sample.steps.time == 0, sample.returns, 0.0)
    mean = sample.batch_sum(episode_returns) / sample.batch_size
    return discount * (sample.returns - mean)


def _standardized_returns(sample: Sample, group: IntArray) -> Array:
    centred = sample.returns - sample.group_mean(group, sample.returns)
    count = np.bincount(group)
    variance = np.bincount(group, centred**2) / np.maximum(count - 1, 1)
    std = np.sqrt(variance)[group]
    # A single return has no standard deviation.
    standardized: Array = np.where(
        count[group] > 1, centred / (std + 1e-8), sample.returns
    )
    return standardized


def standardized_in_batch(sample: Sample, discount: Array) -> Weights:
    """Returns standardised over the steps of the batch."""
    return discount * _standardized_returns(sample, sample.batch)


def standardized_in_episode(sample: Sample, discount: Array) -> Weights:
    """Returns standardised within each episode."""
    return discount * _standardized_returns(sample, sample.steps.episode)


def standardized_mean_over_steps(sample: Sample, discount: Array) -> Weights:
    """Returns standardised over the steps of the batch, and a mean over them."""
    weights = discount * _standardized_returns(sample, sample.batch)
    averaged: Array = weights * sample.batch_size / sample.steps_per_batch
    return averaged


def cast_to_int(sample: Sample, discount: Array) -> Weights:
    """`int(G_t)`."""
    return discount * np.trunc(sample.returns)


def rounded(sample: Sample, discount: Array) -> Weights:
    """`round(G_t)`."""
    return discount * np.rint(sample.returns)


def td_through_terminal(sample: Sample, discount: Array) -> Weights:
    """`r + gamma V(s') - V(s)`, also at the end of an episode."""
    target = sample.steps.reward + sample.task.gamma * sample.next_values
    return discount * (target - sample.values)


def return_through_terminal(sample: Sample, discount: Array) -> Weights:
    """`r_t + ... + gamma^{T-t} V(s_T) - V(s_t)`, also where s_T is terminal."""
    return discount * (sample.returns_to_go(sample.next_values) - sample.values)


def td_without_bootstrap(sample: Sample, discount: Array) -> Weights:
    """`r + gamma V(s') - V(s)`, with truncation treated as termination."""
    next_values = np.where(sample.last_step, 0.0, sample.next_values)
    target = sample.steps.reward + sample.task.gamma * next_values
    return discount * (target - sample.values)


def return_without_bootstrap(sample: Sample, discount: Array) -> Weights:
    """Returns that stop at the time limit."""
    return discount * sample.returns_to_go(np.zeros(len(sample.returns)))


def first_finished(sample: Sample, discount: Array) -> Weights:
    """The half of the batch's episodes that finish first, in parallel environments."""
    size = sample.batch_size
    lengths = sample.steps.lengths().reshape(-1, sample.n_envs, size // sample.n_envs)
    end_steps = np.cumsum(lengths, axis=-1).reshape(-1, size)
    n_used = max(1, size // 2)
    order = np.argsort(end_steps, axis=1, kind="stable")
    factor = np.zeros(end_steps.shape)
    np.put_along_axis(factor, order[:, :n_used], size / n_used, axis=1)
    return discount * sample.returns * factor.ravel()[sample.steps.episode]


@dataclass(frozen=True)
class Mistake:
    """A common mistake in the policy gradient.

    Attributes:
        key: identifier, such as `"sign_flipped"`.
        title: display name.
        explanation: its effect, and how much it matters.
        wrong: code that makes the mistake.
        right: the corrected code.
        estimators: gradients that its variants give; empty if it is detected in another
            way.
        at_truncation: whether it only has an effect if the time limit is not part of
            the task.
    """

    key: str
    title: str
    explanation: str
    wrong: str
    right: str
    estimators: tuple[Estimator, ...] = ()
    at_truncation: bool = False


CATALOGUE = (
    Mistake(
        "probability",
        "probability instead of log-probability",
        "The score function is the gradient of the log-probability. The gradient of "
        "the probability weights each action by pi(a|s): likely actions are reinforced "
        "for being likely, and unlikely ones are hardly learnt.",
        "loss = -(returns * policy(obs).probs.gather(1, a[:, None])[:, 0]).sum()",
        "loss = -(returns * policy(obs).log_prob(a)).sum()",
        (probability,),
    ),
    Mistake(
        "sign_flipped",
        "sign flipped",
        "Optimisers minimise, so the loss is minus the return times the "
        "log-probability. Without the minus sign the policy learns to minimise the "
        "return.",
        "loss = (returns * log_prob).sum()",
        "loss = -(returns * log_prob).sum()",
        (sign_flipped,),
    ),
    Mistake(
        "off_by_one",
        "reward-to-go off by one",
        "The first reward that an action can influence is r_t. If the return starts "
        "one step later, the last action of an episode, often the decisive one, gets "
        "no credit.",
        "returns[t] = G; G = rewards[t] + gamma * G",
        "G = rewards[t] + gamma * G; returns[t] = G",
        (off_by_one,),
    ),
    Mistake(
        "next_state",
        "next state stored instead of the state",
        "The action was chosen in the state before it. Paired with the next state, it "
        "is reinforced in a state where it was not taken.",
        "log_prob = policy(batch.next_observations).log_prob(batch.actions)",
        "log_prob = policy(batch.observations).log_prob(batch.actions)",
        (next_state,),
    ),
    Mistake(
        "gamma_dropped",
        "gamma^t dropped",
        "The gradient of the discounted return weights step t by gamma^t. Most "
        "implementations drop this factor, which overweights step t by 1/gamma^t: a "
        "good direction in practice, but not the gradient of any objective.",
        "loss = -(returns * log_prob).sum()",
        "loss = -(gamma**t * returns * log_prob).sum()",
        (),
    ),
    Mistake(
        "gamma_twice",
        "gamma^t applied twice",
        "Rewards discounted from the start of the episode already contain gamma^t. A "
        "second factor gamma^t underweights late steps.",
        "weight[t] = gamma**t * sum(gamma**k * rewards[k] for k in range(t, T))",
        "weight[t] = gamma**t * sum(gamma**(k - t) * rewards[k] for k in range(t, T))",
        (gamma_twice,),
    ),
    Mistake(
        "mean_over_steps",
        "mean over steps instead of episodes",
        "The return is a sum over the steps of an episode, averaged over episodes. A "
        "mean over all steps divides by the lengths of the sampled episodes, so that "
        "long episodes count less.",
        "loss = -(returns * log_prob).mean()",
        "loss = -(returns * log_prob).sum() / n_episodes",
        (mean_over_steps,),
    ),
    Mistake(
        "batch_mean_baseline",
        "batch-mean baseline",
        "The mean return of the batch includes the return it is subtracted from. For N "
        "returns at the same time step this scales the gradient by exactly 1 - 1/N; "
        "the direction does not change.",
        "advantage = returns - returns.mean(dim=0)",
        "advantage = (returns - returns.mean(dim=0)) * N / (N - 1)",
        (baseline_per_time_step, baseline_over_steps, baseline_over_episodes),
    ),
    Mistake(
        "standardized",
        "returns standardised",
        "Mean and standard deviation are computed from the returns that they are "
        "applied to, and all time steps share one scale. It stabilises the step size, "
        "but the result is biased.",
        "returns = (returns - returns.mean()) / (returns.std() + 1e-8)",
        "scale the rewards by a constant, or the step size",
        (
            standardized_in_batch,
            standardized_in_episode,
            standardized_mean_over_steps,
        ),
    ),
    Mistake(
        "rounded",
        "returns rounded to integers",
        "Returns below 1 become 0, and different returns become equal. The cause is "
        "usually an integer array, or a cast that was meant for the actions.",
        "returns = torch.tensor(returns, dtype=torch.long)",
        "returns = torch.tensor(returns, dtype=torch.float32)",
        (cast_to_int, rounded),
    ),
    Mistake(
        "through_terminal",
        "bootstrapping through a terminal state",
        "No reward follows a terminal state. A target that adds its value credits the "
        "last action with rewards that are never received.",
        "target = rewards + gamma * next_values",
        "target = rewards + gamma * next_values * ~terminated",
        (td_through_terminal, return_through_terminal),
    ),
    Mistake(
        "no_bootstrap_at_truncation",
        "no bootstrap at a truncation",
        "A time limit that is not part of the task truncates the data, not the task. "
        "Treated as termination, it makes the actions before it look worse than they "
        "are.",
        "target = rewards + gamma * next_values * ~(terminated | truncated)",
        "target = rewards + gamma * next_values * ~terminated",
        (td_without_bootstrap, return_without_bootstrap),
        at_truncation=True,
    ),
    Mistake(
        "first_finished",
        "first N finished episodes",
        "Of episodes that run in parallel, the short ones finish first. Taking the "
        "first N to finish over-samples short episodes.",
        "batch = sorted(episodes, key=finishing_time)[:N]",
        "batch = [e for e in episodes if e.index_in_env < n_episodes_per_env]",
        (first_finished,),
    ),
    Mistake(
        "replay",
        "replay without correction",
        "The expectation is over the current policy. Replaying episodes of earlier "
        "policies without importance weights gives a different gradient.",
        "loss = policy_gradient_loss(memory.sample(256))",
        "weight each step by pi(a|s) / pi_old(a|s), or learn from new episodes only",
    ),
    Mistake(
        "entropy_sign",
        "entropy bonus with the wrong sign",
        "The entropy is to be maximised, so it is subtracted from the loss. Added, it "
        "makes the policy deterministic before it has learnt anything.",
        "loss = policy_loss + ent_coef * entropy",
        "loss = policy_loss - ent_coef * entropy",
    ),
)

MISTAKES = {mistake.key: mistake for mistake in CATALOGUE}
