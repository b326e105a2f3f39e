"""Ways to act: each returns actions, and what it knows of them at no further cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from pg_agents.finite import FinitePolicy
from pg_agents.observations import Observation
from pg_agents.our_policy import OurPolicy

# Actions `[N, ...]`, and values and log-probabilities `[N]`, or None.
Drawn = tuple[Tensor, Tensor | None, Tensor | None]
Actor = Callable[[Observation], Drawn]
# Values `[B, 1]`, log-probabilities `[B]`, and entropies `[B]` or None.
Evaluated = tuple[Tensor, Tensor, Tensor | None]


def act_alone(
    policy: OurPolicy, with_log_prob: bool, observations: Observation
) -> Drawn:
    """Acts without asking the critic."""
    actions, log_prob = policy.act(observations, with_log_prob)
    return actions, None, log_prob


class ActAndKeep:
    """Acts, and keeps the way back from what it found to the parameters.

    What will be learnt from has then been computed, a vector step at a time, which a
    processor's cache has room for.

    Args:
        policy: of the rollout.
    """

    def __init__(self, policy: OurPolicy) -> None:
        self._policy = policy
        self._kept: list[Evaluated] = []

    def __call__(self, observations: Observation) -> Drawn:
        """Returns actions, values and log-probabilities."""
        with torch.enable_grad():
            actions, evaluated = self._policy.act_and_evaluate(observations)
        self._kept.append(evaluated)
        values, log_prob, _ = evaluated
        return actions, values.detach().flatten(), log_prob.detach()

    def evaluated(self) -> Evaluated:
        """Returns what was found in all steps, in order of time."""
        return joined(self._kept)


def joined(parts: list[Evaluated]) -> Evaluated:
    """Returns what was found of several batches, as of one."""
    if len(parts) == 1:
        return parts[0]
    values, log_probs, entropies = zip(*parts, strict=True)
    entropy = None if entropies[0] is None else torch.cat(entropies)
    return torch.cat(values), torch.cat(log_probs), entropy


def act_by_table(finite: FinitePolicy, index: Tensor) -> Drawn:
    """Acts by looking up what the policy does, `index` `[N]` int64 says where."""
    return finite.act(index), None, None


def act_and_value(policy: ActorCriticPolicy, observations: Observation) -> Drawn:
    """Acts as SB3 does, by a policy whose short ways nobody knows."""
    actions, values, log_prob = policy(observations)
    return actions, values.flatten(), log_prob
