"""Data of rollouts: `Rollout`, `[T, N]`, and `Batch`, its recorded steps, `[B]`.

Their columns are NumPy arrays where gradients are in closed form, and tensors on the
model's device elsewhere; `with_tensors` returns the same data as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.common.tree import (
    Observation,
    Rows,
    as_tensors,
    namespace,
    select,
    take,
    tree_map,
)

# An array or a tensor.
Column = Any


# These are not frozen: making a frozen dataclass takes four times as long.
@dataclass
class BootstrapStates:
    """Observations after the last row, and final observations of truncated episodes.

    The value of any other successor state is in the next row.

    Attributes:
        observations: `[N + K, *obs_shape]`, or a dict of such tensors: of every
            environment after the last row, then of every truncated episode.
        rows: `[K]` int64, rows of the truncated steps.
        envs: `[K]` int64, their environments.
    """

    observations: Observation
    rows: Column
    envs: Column

    def successor_values(self, values: Column, bootstrap_values: Column) -> Column:
        """Returns the value of the state that followed each step, `[T, N]`.

        Args:
            values: `[T, N]`, V(s_t).
            bootstrap_values: `[N + K]`, V of `observations`.
        """
        n_envs = values.shape[1]
        concat = namespace(values).concat
        next_values = concat([values[1:], bootstrap_values[None, :n_envs]])
        if len(self.rows) > 0:
            next_values[self.rows, self.envs] = bootstrap_values[n_envs:]
        return next_values


@dataclass
class Rollout:
    """T steps of N environments, as they happened: nothing is edited.

    Attributes:
        observations: `[T, N, *obs_shape]`, or a dict of such tensors.
        actions: `[T, N, *action_shape]`.
        rewards: `[T, N]` float32.
        terminated: `[T, N]` bool.
        truncated: `[T, N]` bool, and not terminated.
        recorded: `[T, N]` bool, steps to learn from. Steps of idle environments and
            dummy steps of NEXT_STEP autoreset are not recorded.
        values: `[T, N]` float32, V(s_t); 0 without a critic.
        next_values: `[T, N]` float32, V of the state that followed; 0 if returns do not
            bootstrap.
        log_probs: `[T, N]` float32.
        episode_steps: `[T, N]` integers, earlier actions in the same episode.
        n_episodes: number of whole episodes; None for a rollout of `n_steps`.
        bootstrap_states: observations that successor values are computed from.
        all_recorded: whether `recorded` is True everywhere, known without a
            synchronisation with the device.
    """

    observations: Observation
    actions: Column
    rewards: Column
    terminated: Column
    truncated: Column
    recorded: Column
    values: Column
    next_values: Column
    log_probs: Column
    episode_steps: Column
    n_episodes: int | None
    bootstrap_states: BootstrapStates | None = None
    all_recorded: bool = False

    def flat(self, values: Column) -> Column:
        """Returns the recorded entries, `[B, ...]` of `[T, N, ...]`, in time order."""
        if self.all_recorded:
            return values.reshape(-1, *values.shape[2:])
        return values[self.recorded]

    def unflat(self, values: Column) -> Column:
        """Returns `[T, N]` of `[B]`, with 0 where a step is not recorded."""
        return unflat(values, self.recorded, self.all_recorded)

    def masked(self, values: Column) -> Column:
        """Returns `[T, N]` with 0 where a step is not recorded.

        Multiplying by the mask would not do: `0 * NaN` is NaN.
        """
        if self.all_recorded:
            return values
        return namespace(values).where(self.recorded, values, 0.0)

    def row_indices(self) -> Column:
        """Returns t at `[t, n]`, int64."""
        xp = namespace(self.recorded)
        return xp.cumsum(xp.ones_like(self.recorded, dtype=xp.int64), 0) - 1

    def with_tensors(self) -> Rollout:
        """Returns the same data as tensors, which share their memory with arrays."""
        rollout: Rollout = as_tensors(self)
        return rollout

    def steps(self) -> tuple[Observation, Column]:
        """Returns observations and actions of the recorded steps, `[B, ...]`."""
        return tree_map(self.flat, self.observations), self.flat(self.actions)


def unflat(values: Column, recorded: Column, all_recorded: bool) -> Column:
    """Returns `[T, N]` of `[B]`, with 0 where a step is not recorded.

    Args:
        values: of the recorded steps, in time order.
        recorded: `[T, N]` bool.
        all_recorded: whether it is True everywhere.
    """
    if all_recorded:
        return values.reshape(recorded.shape)
    if isinstance(values, Tensor):
        table = values.new_zeros(recorded.shape)
        return table.masked_scatter(recorded, values)
    array = np.zeros(recorded.shape, values.dtype)
    array[recorded] = values
    return array


@dataclass
class Batch:
    """Recorded steps, flat: the data of one gradient.

    Attributes:
        observations: `[B, *obs_shape]`, dtype of the observation space; a dict of such
            tensors for a Dict space.
        actions: `[B, *action_shape]`, int64 for discrete actions, float otherwise.
        advantages: `[B]` float32, weight of each action's log-probability.
        returns: `[B]` float32, targets of the critic.
        old_values: `[B]` float32, V(s_b) when the action was taken.
        old_log_prob: `[B]` float32, log-probability of the action when it was taken.
        n_samples: divisor of sums over the batch: the number of episodes for rollouts
            of whole episodes, else the number of steps, B. A mini-batch has its share,
            which need not be an integer.
        standardized: whether the advantages were standardised as a mini-batch.
    """

    observations: Observation
    actions: Column
    advantages: Column
    returns: Column
    old_values: Column
    old_log_prob: Column
    n_samples: float
    standardized: bool = False

    def __len__(self) -> int:
        """Number of steps, B."""
        return len(self.actions)

    def with_tensors(self) -> Batch:
        """Returns the same data as tensors, which share their memory with arrays."""
        batch: Batch = as_tensors(self)
        return batch

    def take(self, index: Rows | slice) -> Batch:
        """Returns the steps at `index`, `[B']` int64, or of a slice."""
        actions = take(self.actions, index)
        return Batch(
            observations=select(self.observations, index),
            actions=actions,
            advantages=take(self.advantages, index),
            returns=take(self.returns, index),
            old_values=take(self.old_values, index),
            old_log_prob=take(self.old_log_prob, index),
            n_samples=self.n_samples * len(actions) / len(self),
        )


def make_batch(
    rollout: Rollout,
    returns: Column,
    advantages: Column,
    steps: tuple[Observation, Column] | None = None,
) -> Batch:
    """Returns the recorded steps in time order.

    Args:
        rollout: a complete rollout.
        returns: `[T, N]`, targets of the critic.
        advantages: `[T, N]`.
        steps: `rollout.steps()`, if known.
    """
    observations, actions = rollout.steps() if steps is None else steps
    return Batch(
        observations=observations,
        actions=actions,
        advantages=rollout.flat(advantages),
        returns=rollout.flat(returns),
        old_values=rollout.flat(rollout.values),
        old_log_prob=rollout.flat(rollout.log_probs),
        n_samples=rollout.n_episodes or len(actions),
    )


def concatenate(batches: list[Batch]) -> Batch:
    """Returns the steps of several batches as one batch."""
    first = batches[0]
    names = ("actions", "advantages", "returns", "old_values", "old_log_prob")
    columns: dict[str, Tensor] = {
        name: torch.cat([getattr(batch, name) for batch in batches]) for name in names
    }
    observations = [batch.observations for batch in batches]
    return replace(
        first,
        observations=tree_map(lambda *obs: torch.cat(obs), *observations),
        **columns,  # type: ignore[arg-type]
        n_samples=sum(batch.n_samples for batch in batches),
    )


def shuffled_indices(rollout: Rollout, n_steps: int) -> Column:
    """Returns a permutation of the recorded steps, `[B]` int64, by NumPy's generator.

    As in SB3, the permutation is over the steps ordered by environment, then time: the
    same seed gives the same mini-batches.

    Args:
        rollout: a complete rollout.
        n_steps: number of recorded steps, B.
    """
    order: Any = np.random.permutation(n_steps)
    indices: Any = np.arange(n_steps)
    if isinstance(rollout.recorded, Tensor):
        device = rollout.recorded.device
        order, indices = (torch.as_tensor(x, device=device) for x in (order, indices))
    indices = rollout.unflat(indices).T
    if rollout.all_recorded:
        return take(indices.reshape(-1), order)
    return indices[rollout.recorded.T][order]
