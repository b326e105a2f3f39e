"""What an update learns from: recorded steps, flat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.common.tree import Observation, map_observation, select
from pg_agents.learning.advantages import Facts

# Steps of a part: their activations fit into a processor's cache.
PART = 8_192


@dataclass(frozen=True)
class Batch:
    """Recorded steps of a rollout, flat, ready for the update.

    Attributes:
        observations: `[B, *obs_shape]`, dtype of the observation space; a dict of such
            tensors if that is one.
        actions: `[B, *action_shape]`, int64 for discrete actions, float otherwise.
        advantages: `[B]` float32, the weight of each action's log-probability.
        returns: `[B]` float32, what the critic should have predicted.
        old_values: `[B]` float32, what it predicted when the action was taken.
        old_log_prob: `[B]` float32, log-probability of the action when it was taken.
        n_samples: what a sum over the batch is divided by: the number of episodes of a
            rollout of whole episodes, else the number of steps, B. A part of a batch
            has its share, which need not be whole.
        standardized: whether the advantages have been standardised as a mini-batch.
    """

    observations: Observation
    actions: Tensor
    advantages: Tensor
    returns: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    n_samples: float
    standardized: bool = False

    def __len__(self) -> int:
        """Number of steps, B."""
        return len(self.actions)

    def parts(self) -> list[Batch]:
        """Returns the batch in parts that fit into a processor's cache; most are one.

        A network's activations of a hundred thousand steps are fetched from memory for
        every operation. Losses are sums over steps: those of the parts add up, each
        weighted by its share of the steps.
        """
        on_gpu = self.actions.device.type != "cpu"
        if on_gpu or len(self) < 2 * PART:
            return [self]
        parts = (self.take(part) for part in parts_of(len(self)))
        return [replace(part, standardized=self.standardized) for part in parts]

    def take(self, index: Tensor | slice) -> Batch:
        """Returns the steps at `index`, `[B']` int64, or of a slice."""
        actions = self.actions[index]
        return Batch(
            observations=select(self.observations, index),
            actions=actions,
            advantages=self.advantages[index],
            returns=self.returns[index],
            old_values=self.old_values[index],
            old_log_prob=self.old_log_prob[index],
            n_samples=self.n_samples * len(actions) / len(self),
        )


def parts_of(n_steps: int) -> list[slice]:
    """Returns the parts that so many steps are computed in."""
    n_parts = max(n_steps // PART, 1)
    size = -(-n_steps // n_parts)
    return [slice(i, i + size) for i in range(0, n_steps, size)]


def flat_batch(
    facts: Facts,
    returns: Tensor,
    advantages: Tensor,
    steps: tuple[Observation, Tensor] | None = None,
) -> Batch:
    """Returns the recorded steps, flat, in order of time.

    Args:
        facts: a complete rollout of T steps of N environments.
        returns: `[T, N]`, targets of the critic.
        advantages: `[T, N]`, weights of the actions.
        steps: observations and actions of the recorded steps, `[B, ...]`, if they are
            at hand.
    """
    if steps is None:
        steps = facts.steps()
    observations, actions = steps
    return Batch(
        observations=observations,
        actions=actions,
        advantages=facts.flat(advantages),
        returns=facts.flat(returns),
        old_values=facts.flat(facts.values),
        old_log_prob=facts.flat(facts.log_probs),
        n_samples=facts.n_episodes or len(actions),
    )


def join_batches(batches: list[Batch]) -> Batch:
    """Returns the steps of several batches as one, in their order."""
    first, *others = batches
    if not others:
        return first
    joined: dict[str, Any] = {
        name: torch.cat([getattr(each, name) for each in batches])
        for name in ("actions", "advantages", "returns", "old_values", "old_log_prob")
    }
    return replace(
        first,
        observations=map_observation(
            lambda *each: torch.cat(each), *(each.observations for each in batches)
        ),
        **joined,
        n_samples=sum(each.n_samples for each in batches),
    )


def shuffled_by_environment(facts: Facts, n_steps: int) -> Tensor:
    """Returns numbers of recorded steps, `[B]` int64, shuffled by NumPy's generator.

    What is shuffled are the steps of one environment after those of another, as in
    SB3: from the same seed the mini-batches are the same.

    Args:
        facts: a complete rollout.
        n_steps: number of recorded steps, B.
    """
    device = facts.recorded.device
    places = facts.unflat(torch.arange(n_steps, device=device)).T
    by_environment = (
        places.flatten() if facts.all_recorded else places[facts.recorded.T]
    )
    order = torch.as_tensor(np.random.permutation(n_steps), device=device)
    return by_environment[order]
