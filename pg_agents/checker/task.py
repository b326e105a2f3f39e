"""What is asked: an MDP, a discount, a time limit, and the exact answer to it."""

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

Table = NDArray[np.float64]

# Wrappers that leave the task as it is.
_HARMLESS = (
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RecordEpisodeStatistics,
)
DEFAULT_HORIZON = 100


@dataclass(frozen=True)
class Task:
    """An MDP and the objective on it.

    Attributes:
        mdp: the tables.
        name: for people.
        gamma: discount factor in [0, 1].
        horizon: time limit H: an episode is truncated after H steps.
        bootstrap: False: the limit is part of the task, and what would come after it
            counts for nothing. True: it is not; a return goes on, with a value.
    """

    mdp: TabularMDP
    name: str
    gamma: float
    horizon: int
    bootstrap: bool = False

    def values(self, policy: Table) -> Table:
        """Returns the exact values at each time, `[H + 1, S]`, as an ideal critic's.

        Row t is for a state reached after t steps. With the limit as part of the task
        row H is 0; without, all rows are the same.
        """
        if self.bootstrap:
            values = oracle.state_values(self.mdp, policy, self.gamma)
            return np.tile(values, (self.horizon + 1, 1))
        to_go = oracle.values_to_go(self.mdp, policy, self.gamma, self.horizon)
        return to_go[::-1]

    def return_gradient(self, policy: Table) -> Table:
        """Returns the exact derivative of the objective by every entry of the policy.

        Where the limit is not part of the task, states beyond it are never seen. The
        objective is then that of the policy in the first H steps:
        `sum_{t < H} gamma^t P(s_t = s) Q(s, a)`.

        Args:
            policy: `[S, A]`, pi(a|s).

        Returns:
            `[S, A]` float64, in units of reward.
        """
        if not self.bootstrap:
            return oracle.return_gradient(self.mdp, policy, self.gamma, self.horizon)
        visits = oracle.occupancy(self.mdp, policy, self.gamma, self.horizon)
        worth = oracle.action_values(self.mdp, policy, self.gamma)
        gradient: Table = visits[:, None] * worth
        return gradient

    def mean_length(self, policy: Table) -> float:
        """Returns the expected number of steps of an episode."""
        return float(oracle.occupancy(self.mdp, policy, 1.0, self.horizon).sum())


def resolve_task(
    env: str | TabularMDP | gymnasium.Env[Any, Any],
    gamma: float,
    horizon: int | None,
    bootstrap: bool,
) -> Task:
    """Returns the task of an id, an environment or an MDP.

    Args:
        env: an id such as `"PGToy-Sequence-v0"` or `"FrozenLake-v1"`, a tabular
            environment, or a `TabularMDP`.
        gamma: discount factor in [0, 1].
        horizon: time limit; None for the environment's own, or 100 where it has none.
        bootstrap: see `Task`.

    Raises:
        TypeError: if it is none of these, or not tabular.
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
            f"instance, not a vector of them) or a TabularMDP, got {env!r}"
        )
    made = gymnasium.make(env) if isinstance(env, str) else env
    try:
        spec = made.spec
        own_limit = _limit_of(made)
        if own_limit is None and spec is not None:
            own_limit = spec.max_episode_steps
        name = type(made.unwrapped).__name__ if spec is None else spec.id
        mdp = _tables_of(made, name)
    finally:
        if made is not env:
            made.close()
    return Task(mdp, name, gamma, horizon or own_limit or DEFAULT_HORIZON, bootstrap)


def _limit_of(env: gymnasium.Env[Any, Any]) -> int | None:
    """Returns the shortest of the time limits around an environment.

    Raises:
        TypeError: if there is another wrapper that may change the task.
    """
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, wrappers.TimeLimit):
            limits.append(env._max_episode_steps)
        elif not isinstance(env, _HARMLESS):
            raise TypeError(
                f"the environment is wrapped in {type(env).__name__}, of which its "
                "tables know nothing: check it without"
            )
        env = env.env
    return min(limits, default=None)


def _tables_of(env: gymnasium.Env[Any, Any], name: str) -> TabularMDP:
    try:
        return mdp_from_env(env)
    except TypeError as error:
        raise TypeError(
            f"{name} is not tabular: the exact gradient is known for environments with "
            "tables, such as PGToy-Sequence-v0, FrozenLake-v1 or a TabularMDP"
        ) from error
