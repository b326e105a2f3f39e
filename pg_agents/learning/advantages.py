"""From a rollout to returns and advantages: estimator, baseline, standardisation.

Two steps are elsewhere: `Learner.loss` standardises mini-batches, and
`replay.off_policy_batch` estimates the advantages of replayed rollouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pg_agents.common.tree import cast, zeros_like
from pg_agents.learning.baselines import (
    leave_one_out_baseline,
    mean_baseline,
    standardize,
)
from pg_agents.learning.returns import (
    full_return,
    generalized_advantage,
    n_step_return,
    reward_to_go,
    td_target,
)
from pg_agents.rollout.data import Column, Rollout

if TYPE_CHECKING:
    from pg_agents.algorithms.config import PolicyGradientConfig

_TRAJECTORY_BASELINES = {
    "mean": mean_baseline,
    "leave_one_out": leave_one_out_baseline,
}


def estimate_advantages(
    rollout: Rollout, config: PolicyGradientConfig
) -> tuple[Column, Column]:
    """Returns the targets of the critic, and the weight of each action.

    Args:
        rollout: a complete rollout.
        config: estimator, baseline and so on.

    Returns:
        Returns and advantages, `[T, N]` float32; 0 where a step is not recorded.
    """
    returns = rollout.flat(_returns(rollout, config))
    if config.standardize_returns:
        returns = standardize(returns)
    advantages = returns
    if config.baseline != "none":
        advantages = returns - _baseline(rollout, config, returns)
    if config.normalize_advantage and not config.standardizes_mini_batches:
        advantages = standardize(advantages)
    if config.weight_by_gamma_t:
        weights = config.gamma ** rollout.flat(rollout.episode_steps)
        advantages = advantages * cast(weights, advantages.dtype)
    return rollout.unflat(returns), rollout.unflat(advantages)


def effective_ends(
    rollout: Rollout, config: PolicyGradientConfig
) -> tuple[Column, Column]:
    """Returns the steps that count as terminated, and as truncated, `[T, N]` bool."""
    if config.bootstrap_truncated:
        return rollout.terminated, rollout.truncated
    never = zeros_like(rollout.truncated)
    return rollout.terminated | rollout.truncated, never


def _returns(rollout: Rollout, config: PolicyGradientConfig) -> Column:
    gamma, ends = config.gamma, effective_ends(rollout, config)
    rewards = rollout.masked(rollout.rewards)
    next_values = rollout.masked(rollout.next_values)
    if config.estimator == "td":
        return td_target(rewards, gamma, *ends, next_values)
    if config.estimator == "n_step":
        return n_step_return(rewards, gamma, config.td_steps, *ends, next_values)
    if config.estimator == "gae":
        values = rollout.masked(rollout.values)
        # The critic's target; the baseline subtracts the values again.
        return values + generalized_advantage(
            rewards, values, gamma, config.gae_lambda, *ends, next_values
        )
    monte_carlo = full_return if config.estimator == "full_return" else reward_to_go
    return monte_carlo(rewards, gamma, *ends, next_values if config.bootstrap else None)


def _baseline(
    rollout: Rollout, config: PolicyGradientConfig, returns: Column
) -> Column:
    """Returns the baseline of each recorded step, `[B]`."""
    if config.baseline == "value":
        return rollout.flat(rollout.values)
    if rollout.n_episodes is not None:
        time_index = rollout.flat(rollout.episode_steps)
        n_trajectories = rollout.n_episodes
    else:
        time_index = rollout.flat(rollout.row_indices())
        n_trajectories = rollout.recorded.shape[1]
    baseline = _TRAJECTORY_BASELINES[config.baseline]
    return baseline(returns, time_index, n_trajectories)
