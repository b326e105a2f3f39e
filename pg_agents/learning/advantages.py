"""From the facts of a rollout to the weight of each action: estimator and baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pg_agents.common.tree import Observation, map_observation
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

EstimatorName = Literal["reward_to_go", "full_return", "td", "n_step", "gae"]
BaselineName = Literal["none", "mean", "leave_one_out", "value"]


@dataclass(frozen=True)
class AdvantageSettings:
    """Which estimate of an action's worth.

    Attributes:
        gamma: discount factor in [0, 1].
        estimator: what the return is, see `pg_agents.learning.returns`.
        baseline: what is subtracted from it, see `pg_agents.learning.baselines`.
        gae_lambda: lambda of `"gae"`, in [0, 1].
        td_steps: n of `"n_step"`.
        bootstrap: whether returns go on with the critic's value where the data stop
            before the episode does. `"td"`, `"n_step"` and `"gae"` always do.
        bootstrap_truncated: whether they do so where an episode was truncated as well;
            if not, a time limit counts as an end by the task's own rules.
        standardize_returns: whether returns are standardised over the batch before the
            baseline is subtracted.
        normalize_advantage: whether the differences are.
        weight_by_gamma_t: whether step t of an episode counts gamma^t as much.
    """

    gamma: float
    estimator: EstimatorName = "reward_to_go"
    baseline: BaselineName = "none"
    gae_lambda: float = 1.0
    td_steps: int = 1
    bootstrap: bool = False
    bootstrap_truncated: bool = True
    standardize_returns: bool = False
    normalize_advantage: bool = False
    weight_by_gamma_t: bool = False

    @property
    def looks_beyond(self) -> bool:
        """Whether values of states that followed are asked for."""
        return self.bootstrap or self.estimator in ("td", "n_step", "gae")

    @property
    def asks_for_time(self) -> bool:
        """Whether it matters how far an episode had come at a step."""
        return self.weight_by_gamma_t or self.baseline in ("mean", "leave_one_out")

    def ends(self, facts: Facts) -> tuple[Tensor, Tensor]:
        """Returns which steps count as terminated, and which as truncated, `[T, N]`."""
        if self.bootstrap_truncated:
            return facts.terminated, facts.truncated
        return facts.terminated | facts.truncated, torch.zeros_like(facts.truncated)


@dataclass(frozen=True)
class Beyond:
    """What was seen last, where the value of the successor is not in the next row.

    Attributes:
        observations: `[N + K, *obs_shape]`, or a dict of such tensors: of every
            environment after the last row, then of every truncated episode.
        rows: `[K]` int64, the truncated steps.
        envs: `[K]` int64, their environments.
    """

    observations: Observation
    rows: Tensor
    envs: Tensor

    def successor_values(self, values: Tensor, beyond: Tensor) -> Tensor:
        """Returns the value of the state that truly followed each step.

        Args:
            values: `[T, N]`, V(s_t).
            beyond: `[N + K]`, V of `observations`.

        Returns:
            `[T, N]`.
        """
        n_envs = values.shape[1]
        following = torch.cat([values[1:], beyond[None, :n_envs]])
        if len(self.rows) > 0:
            following[self.rows, self.envs] = beyond[n_envs:]
        return following


@dataclass(frozen=True)
class Facts:
    """A complete rollout of T steps of N environments, as it happened.

    Attributes:
        observations: `[T, N, *obs_shape]`, or a dict of such tensors.
        actions: `[T, N, *action_shape]`.
        rewards: `[T, N]` float32.
        terminated: `[T, N]` bool.
        truncated: `[T, N]` bool.
        recorded: `[T, N]` bool, which steps are to be learnt from.
        episode_steps: `[T, N]` int64, actions taken before in the same episode; None if
            nobody will ask, see `AdvantageSettings.asks_for_time`.
        values: `[T, N]` float32, V(s_t).
        next_values: `[T, N]` float32, V of the state that truly followed; 0 if nobody
            will ask, see `AdvantageSettings.looks_beyond`.
        log_probs: `[T, N]` float32.
        n_episodes: number of whole episodes recorded; None if cut into steps.
        beyond: what was seen where the data stop before the episode does; None if
            nobody will ask again.
        all_recorded: whether `recorded` is known to be True everywhere, without asking
            the device.
    """

    observations: Observation
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    recorded: Tensor
    values: Tensor
    next_values: Tensor
    log_probs: Tensor
    n_episodes: int | None
    episode_steps: Tensor | None = None
    beyond: Beyond | None = None
    all_recorded: bool = False

    @property
    def time(self) -> Tensor:
        """`episode_steps`, which somebody asks for."""
        assert self.episode_steps is not None, "AdvantageSettings.asks_for_time"
        return self.episode_steps

    def flat(self, values: Tensor) -> Tensor:
        """Returns what belongs to the recorded steps, `[B, ...]` of `[T, N, ...]`."""
        return values.flatten(0, 1) if self.all_recorded else values[self.recorded]

    def steps(self) -> tuple[Observation, Tensor]:
        """Returns observations and actions of the recorded steps, `[B, ...]`."""
        return map_observation(self.flat, self.observations), self.flat(self.actions)

    def masked(self, values: Tensor) -> Tensor:
        """Returns `[T, N]` with 0 where a step is not recorded."""
        return values if self.all_recorded else torch.where(self.recorded, values, 0.0)

    def unflat(self, values: Tensor) -> Tensor:
        """Returns `[T, N]` of `[B]`, with 0 where a step is not recorded."""
        if self.all_recorded:
            return values.reshape(self.recorded.shape)
        table = values.new_zeros(self.recorded.shape)
        return table.masked_scatter(self.recorded, values)


def complete_facts(
    columns: dict[str, Any],
    known: dict[str, Tensor | None],
    beyond: Beyond,
    n_episodes: int | None,
    all_recorded: bool,
) -> Facts:
    """Returns facts from columns, and from what came to be known of recorded steps.

    Args:
        columns: fields of `Facts` by name, `[T, N, ...]`; without `values` and
            `log_probs`, those are 0.
        known: `[B]` by name, for recorded steps; None where the column has it.
        beyond: what was seen where the data stop.
        n_episodes: number of whole episodes, or None.
        all_recorded: whether all steps are recorded.
    """
    rewards: Tensor = columns["rewards"]
    nothing = torch.zeros((), device=rewards.device).expand(rewards.shape)
    facts = Facts(
        **{"values": nothing, "log_probs": nothing, **columns},
        next_values=nothing,
        n_episodes=n_episodes,
        beyond=beyond,
        all_recorded=all_recorded,
    )
    told: dict[str, Any] = {
        name: facts.unflat(each) for name, each in known.items() if each is not None
    }
    return replace(facts, **told) if told else facts


def estimate_advantages(
    facts: Facts, settings: AdvantageSettings
) -> tuple[Tensor, Tensor]:
    """Returns what the critic should predict, and the weight of each action.

    Args:
        facts: a complete rollout.
        settings: estimator, baseline and so on.

    Returns:
        Returns and advantages, `[T, N]` float32; 0 where a step is not recorded.
    """
    returns = facts.flat(_returns(facts, settings))
    if settings.standardize_returns:
        returns = standardize(returns)
    advantages = returns
    if settings.baseline != "none":
        advantages = returns - _baseline(facts, settings, returns)
    if settings.normalize_advantage:
        advantages = standardize(advantages)
    if settings.weight_by_gamma_t:
        advantages = advantages * settings.gamma ** facts.flat(facts.time)
    return facts.unflat(returns), facts.unflat(advantages)


def _returns(facts: Facts, settings: AdvantageSettings) -> Tensor:
    gamma, end = settings.gamma, settings.ends(facts)
    # What is not recorded can be anything: 0 times NaN would be NaN.
    rewards, beyond = facts.masked(facts.rewards), facts.masked(facts.next_values)
    if settings.estimator == "td":
        return td_target(rewards, gamma, *end, beyond)
    if settings.estimator == "n_step":
        return n_step_return(rewards, gamma, settings.td_steps, *end, beyond)
    if settings.estimator == "gae":
        values = facts.masked(facts.values)
        return values + generalized_advantage(
            rewards, values, gamma, settings.gae_lambda, *end, beyond
        )
    monte_carlo = full_return if settings.estimator == "full_return" else reward_to_go
    return monte_carlo(rewards, gamma, *end, beyond if settings.bootstrap else None)


def _baseline(facts: Facts, settings: AdvantageSettings, returns: Tensor) -> Tensor:
    """Returns the baseline of each recorded step, `[B]`."""
    if settings.baseline == "value":
        return facts.flat(facts.values)
    n_rows, n_envs = facts.recorded.shape
    if facts.n_episodes is not None:
        time_index, n_trajectories = facts.flat(facts.time), facts.n_episodes
    else:
        rows = torch.arange(n_rows, device=facts.recorded.device)
        time_index = facts.flat(rows[:, None].expand(n_rows, n_envs))
        n_trajectories = n_envs
    average = mean_baseline if settings.baseline == "mean" else leave_one_out_baseline
    return average(returns, time_index, n_trajectories)
