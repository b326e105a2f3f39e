"""Ways to act: each returns actions, and what it knows of them at no further cost."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from pg_agents.finite import FinitePolicy
from pg_agents.observations import Observation
from pg_agents.our_policy import OurPolicy

# Actions `[N, ...]`, and values and log-probabilities `[N]`, or None.
Drawn = tuple[Tensor, Tensor | None, Tensor | None]
Actor = Callable[[Observation], Drawn]


def act_alone(
    policy: OurPolicy, with_log_prob: bool, observations: Observation
) -> Drawn:
    """Acts without asking the critic."""
    actions, log_prob = policy.act(observations, with_log_prob)
    return actions, None, log_prob


def act_by_table(finite: FinitePolicy, index: Tensor) -> Drawn:
    """Acts by looking up what the policy does, `index` `[N]` int64 says where."""
    return finite.act(index), None, None


def act_and_value(policy: ActorCriticPolicy, observations: Observation) -> Drawn:
    """Acts as SB3 does, by a policy whose short ways nobody knows."""
    actions, values, log_prob = policy(observations)
    return actions, values.flatten(), log_prob
