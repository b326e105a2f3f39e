"""Replay memory: earlier rollouts, and batches from them.

Old rollouts were collected by old policies. `replay="returns"` ignores that, as many
tutorials do; the other two correct for it with ratios of probabilities, see
`pg_agents.learning.off_policy`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from pg_agents.common.tree import to_device
from pg_agents.learning.advantages import effective_ends
from pg_agents.learning.baselines import standardize
from pg_agents.learning.off_policy import (
    importance_sampled_return,
    trajectory_weights,
    v_trace,
)
from pg_agents.rollout.data import Batch, Rollout, concatenate, make_batch

if TYPE_CHECKING:
    from pg_agents.algorithms.config import PolicyGradientConfig

Data = TypeVar("Data", Batch, Rollout)
_BATCH_COLUMNS = ("advantages", "returns", "old_values", "old_log_prob")
_ROLLOUT_COLUMNS = ("rewards", "values", "log_probs")


class ReplayMemory(Generic[Data]):
    """The most recent rollouts, up to a number of steps; at least one rollout.

    Args:
        size: maximum number of steps; the oldest rollouts are dropped beyond it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rollouts: deque[tuple[Data, int]] = deque()

    def add(self, rollout: Data, n_steps: int) -> None:
        """Adds a rollout of `n_steps` recorded steps, and drops the oldest."""
        self._rollouts.append((rollout, n_steps))
        # The oldest is needed while the others alone do not fill the memory.
        while len(self) - self._rollouts[0][1] >= self.size:
            self._rollouts.popleft()

    def __len__(self) -> int:
        """Number of steps; it can exceed `size` by a part of the oldest rollout."""
        return sum(n_steps for _, n_steps in self._rollouts)

    @property
    def rollouts(self) -> list[Data]:
        """The rollouts, oldest first."""
        return [rollout for rollout, _ in self._rollouts]

    def numbers(self) -> dict[str, Tensor]:
        """Returns the tensors that must be finite for an update, by description.

        Observations are not among them: a features extractor may handle infinite ones.
        """
        found: dict[str, Tensor] = {}
        for index, rollout in enumerate(self.rollouts):
            names = _BATCH_COLUMNS if isinstance(rollout, Batch) else _ROLLOUT_COLUMNS
            for name in names:
                column: Tensor = getattr(rollout, name)
                if isinstance(rollout, Rollout):
                    column = column[rollout.recorded]
                found[f"{name} of rollout {index} in the replay memory"] = column
        return found

    def to(self, device: torch.device | str) -> None:
        """Moves all tensors to a device."""
        self._rollouts = deque(
            (to_device(rollout, device), n) for rollout, n in self._rollouts
        )

    def __getstate__(self) -> dict[str, Any]:
        """Returns the pickled state, with tensors on the CPU."""
        rollouts = [(to_device(rollout, "cpu"), n) for rollout, n in self._rollouts]
        return {**self.__dict__, "_rollouts": deque(rollouts)}


def random_steps(memory: ReplayMemory[Batch], batch_size: int | None) -> Batch:
    """Draws steps of the newest `memory.size`, without replacement.

    Args:
        memory: batches of earlier rollouts.
        batch_size: number of steps; None for all.
    """
    batch = concatenate(memory.rollouts)
    n_steps = min(len(batch), memory.size)
    drawn = np.random.permutation(n_steps)[:batch_size]
    index = torch.as_tensor(drawn) + (len(batch) - n_steps)
    return batch.take(index.to(batch.actions.device))


def random_rollout(memory: ReplayMemory[Rollout]) -> Rollout:
    """Draws one of the rollouts, uniformly."""
    rollouts = memory.rollouts
    return rollouts[np.random.randint(len(rollouts))]


def off_policy_batch(
    rollout: Rollout, log_prob: Tensor, config: PolicyGradientConfig
) -> Batch:
    """Returns an old rollout with the weights that it has under the current policy.

    Args:
        rollout: an old rollout, with `values` and `next_values` by the current critic
            and `log_probs` by the policy that collected it.
        log_prob: `[T, N]`, log-probabilities by the current policy.
        config: estimator, correction and so on.
    """
    ends, gamma = effective_ends(rollout, config), config.gamma
    log_ratios = torch.where(rollout.recorded, log_prob - rollout.log_probs, 0.0)
    rewards = rollout.masked(rollout.rewards)
    next_values = rollout.masked(rollout.next_values)
    if config.replay == "v_trace":
        returns, weights = v_trace(
            rewards,
            rollout.values,
            gamma,
            log_ratios,
            *ends,
            next_values,
            lambda_=0.0 if config.estimator == "td" else config.gae_lambda,
            rho_clip=config.rho_clip,
            c_clip=config.c_clip,
        )
    else:
        bootstrap = next_values if config.bootstrap else None
        returns = importance_sampled_return(
            rewards, gamma, log_ratios, *ends, bootstrap
        )
        baseline = rollout.values if config.baseline == "value" else 0.0
        weights = trajectory_weights(log_ratios, *ends) * (returns - baseline)
    if config.normalize_advantage:
        recorded = weights[rollout.recorded]
        weights = weights.masked_scatter(rollout.recorded, standardize(recorded))
    if config.weight_by_gamma_t:
        weights = weights * gamma**rollout.episode_steps
    return make_batch(rollout, returns, weights)
