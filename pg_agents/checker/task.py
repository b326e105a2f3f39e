"""The task of a check: an MDP, a discount and a time limit, with the exact gradient."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import wrappers
from numpy.typing import NDArray

from pg_agents.common.checks import check_count, check_unit_interval
from pg_envs import TabularMDP, mdp_from_env, oracle

Array = NDArray[np.float64]

# Wrappers that do not change the task.
_TRANSPARENT_WRAPPERS = (
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RecordEpisodeStatistics,
)
DEFAULT_HORIZON = 100


@dataclass(frozen=True)
class Task:
    """An MDP and the objective on it.

    Attributes:
        mdp: transition, reward and termination tables.
        name: display name.
        gamma: discount factor in [0, 1].
        horizon: time limit H; episodes are truncated after H steps.
        bootstrap: False if the time limit is part of the task, so that nothing follows
            it. True if returns continue beyond it with a value.
    """

    mdp: TabularMDP
    name: str
    gamma: float
    horizon: int
    bootstrap: bool = False

    def values(self, policy: Array) -> Array:
        """Returns the exact state values at each time, `[H + 1, S]`.

        Row t holds the values after t steps. Row H is 0 if the time limit is part of
        the task; otherwise all rows are equal.
        """
        if self.bootstrap:
            values = oracle.state_values(self.mdp, policy, self.gamma)
            return np.tile(values, (self.horizon + 1, 1))
        to_go = oracle.values_to_go(self.mdp, policy, self.gamma, self.horizon)
        return to_go[::-1]

    def return_gradient(self, policy: Array) -> Array:
        """Returns the derivative of the objective by each entry of the policy.

        With `bootstrap`, states beyond the time limit are never visited, and the
        gradient is that of the policy in the first H steps only:
        `sum_{t < H} gamma^t P(s_t = s) Q(s, a)`.

        Args:
            policy: `[S, A]`, pi(a|s).

        Returns:
            `[S, A]` float64, in units of reward.
        """
        if not self.bootstrap:
            return oracle.return_gradient(self.mdp, policy, self.gamma, self.horizon)
        visits = oracle.occupancy(self.mdp, policy, self.gamma, self.horizon)
        q_values = oracle.action_values(self.mdp, policy, self.gamma)
        gradient: Array = visits[:, None] * q_values
        return gradient

    def undiscounted_gradient(self, policy: Array) -> Array:
        """Returns `return_gradient` without the factor gamma^t of each step.

        `sum_{t < H} P(s_t = s) Q_t(s, a)`, Q_t discounted: what most implementations
        follow in expectation, since they leave gamma^t out.

        Reference: Thomas (2014), "Bias in natural actor-critic algorithms".

        Args:
            policy: `[S, A]`, pi(a|s).

        Returns:
            `[S, A]` float64, in units of reward.
        """
        mdp = self.mdp
        continuing = mdp.transition * ~mdp.terminal
        rewards = (mdp.transition * mdp.reward).sum(axis=-1)
        step = np.einsum("sa,sax->sx", policy, continuing)
        visits = mdp.initial_distribution
        gradient: Array = np.zeros(policy.shape)
        for later in self.values(policy)[1:]:
            gradient += visits[:, None] * (rewards + self.gamma * continuing @ later)
            visits = visits @ step
        return gradient

    def mean_length(self, policy: Array) -> float:
        """Returns the expected number of steps of an episode."""
        return float(oracle.occupancy(self.mdp, policy, 1.0, self.horizon).sum())


def resolve_task(
    env: str | TabularMDP | gymnasium.Env[Any, Any],
    gamma: float,
    horizon: int | None,
    bootstrap: bool,
) -> Task:
    """Returns the task of an environment id, an environment or an MDP.

    Args:
        env: an id such as `"PGToy-Sequence-v0"` or `"FrozenLake-v1"`, a tabular
            environment, or a `TabularMDP`.
        gamma: discount factor in [0, 1].
        horizon: time limit; None for the environment's own, or 100 if it has none.
        bootstrap: see `Task`.

    Raises:
        TypeError: if `env` is none of these, or is not tabular.
        ValueError: if a number is out of range.
    """
    check_unit_interval("gamma", gamma)
    if horizon is not None:
        check_count("horizon", horizon)
        horizon = operator.index(horizon)
    if isinstance(env, TabularMDP):
        return Task(env, "TabularMDP", gamma, horizon or DEFAULT_HORIZON, bootstrap)
    if not isinstance(env, str | gymnasium.Env):
        raise TypeError(
            "env must be the id of an environment, a Gymnasium environment (an "
            f"instance, not a vector environment) or a TabularMDP, got {env!r}"
        )
    made = gymnasium.make(env) if isinstance(env, str) else env
    try:
        spec = made.spec
        env_horizon = _time_limit(made)
        if env_horizon is None and spec is not None:
            env_horizon = spec.max_episode_steps
        name = type(made.unwrapped).__name__ if spec is None else spec.id
        mdp = _tables(made, name)
    finally:
        if made is not env:
            made.close()
    horizon = horizon or env_horizon or DEFAULT_HORIZON
    return Task(mdp, name, gamma, horizon, bootstrap)


def _time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Returns the shortest time limit among the wrappers of an environment.

    Raises:
        TypeError: if another wrapper may change the task.
    """
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, wrappers.TimeLimit):
            limits.append(env._max_episode_steps)
        elif not isinstance(env, _TRANSPARENT_WRAPPERS):
            raise TypeError(
                f"the environment is wrapped in {type(env).__name__}, which may change "
                "the task that its tables describe: check it without this wrapper"
            )
        env = env.env
    return min(limits, default=None)


def _tables(env: gymnasium.Env[Any, Any], name: str) -> TabularMDP:
    try:
        return mdp_from_env(env)
    except TypeError as error:
        raise TypeError(
            f"{name} is not tabular: the exact gradient can only be computed for "
            "environments with transition tables, such as PGToy-Sequence-v0, "
            "FrozenLake-v1 or a TabularMDP"
        ) from error
