"""Ways to act: each returns actions, and what it knows of them at no further cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from pg_agents.common.tree import Observation
from pg_agents.policies.base import OurPolicy

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
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, observations: Observation) -> Drawn:
        """Returns actions; the rest is for later."""
        with torch.enable_grad():
            actions, *found = self._policy.act_and_value(observations)
        self._kept.append((found[0], found[1]))
        return actions, None, None

    def evaluated(self, actions: Tensor, recorded: Tensor | None) -> Evaluated:
        """Returns what the policy made of the steps of a rollout.

        Args:
            actions: `[B, *action_shape]`, those of recorded steps, in order of time.
            recorded: `[T, N]` bool, which these are; None: all.
        """
        values, outputs = (torch.cat(each) for each in zip(*self._kept, strict=True))
        if recorded is not None:
            steps = recorded.flatten().nonzero().flatten()
            values, outputs = values[steps], outputs[steps]
        return values, *self._policy.evaluate_outputs(outputs, actions)


def joined(parts: list[Evaluated]) -> Evaluated:
    """Returns what was found of several batches, as of one."""
    if len(parts) == 1:
        return parts[0]
    values, log_probs, entropies = zip(*parts, strict=True)
    entropy = None if entropies[0] is None else torch.cat(entropies)
    return torch.cat(values), torch.cat(log_probs), entropy


def act_and_value(policy: ActorCriticPolicy, observations: Observation) -> Drawn:
    """Runs the policy's whole `forward`; used for custom policies."""
    actions, values, log_prob = policy(observations)
    return actions, values.flatten(), log_prob
