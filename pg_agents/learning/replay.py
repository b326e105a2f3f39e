"""Experience replay: what is remembered of earlier rollouts, and how it is learnt from.

Old data were drawn by older policies. `replay="returns"` ignores that, as many course
notebooks do; the other two correct it by the ratio of probabilities, see
`pg_agents.learning.off_policy`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from pg_agents.common.devices import to_device
from pg_agents.learning.advantages import AdvantageSettings, Facts
from pg_agents.learning.baselines import standardize
from pg_agents.learning.batch import Batch, flat_batch, join_batches
from pg_agents.learning.off_policy import (
    importance_sampled_return,
    trajectory_weights,
    v_trace,
)

ReplayName = Literal["returns", "importance", "v_trace"]
Kept = TypeVar("Kept", Batch, Facts)
_BATCH_NUMBERS = ("advantages", "returns", "old_values", "old_log_prob")
_FACT_NUMBERS = ("rewards", "values", "log_probs")


@dataclass(frozen=True)
class MemorySettings:
    """How much is remembered, and how it is learnt from.

    Attributes:
        memory_size: largest number of steps kept; None for no memory.
        learning_starts: steps that must be there before the first update.
        gradient_steps: steps of the optimiser after each rollout.
        replay: `"returns"`: random steps with the advantages they had then.
            `"importance"`: whole old rollouts, weighted exactly. `"v_trace"`: whole old
            rollouts, with V-trace.
        rho_clip: largest weight of a temporal difference in V-trace.
        c_clip: largest weight of what lies beyond it in V-trace.
    """

    memory_size: int | None = None
    learning_starts: int = 1
    gradient_steps: int = 1
    replay: ReplayName = "importance"
    rho_clip: float = 1.0
    c_clip: float = 1.0


class Memory(Generic[Kept]):
    """The newest rollouts, up to a number of steps; at least one.

    Args:
        size: largest number of steps; the oldest rollouts go when there are more.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: deque[tuple[Kept, int]] = deque()

    def add(self, rollout: Kept, n_steps: int) -> None:
        """Remembers a rollout of `n_steps` recorded steps, and forgets the oldest."""
        self._kept.append((rollout, n_steps))
        # Stays while the others alone would not fill the memory.
        while len(self) - self._kept[0][1] >= self.size:
            self._kept.popleft()

    def __len__(self) -> int:
        """Number of steps; it can exceed `size` by a part of the oldest rollout."""
        return sum(n_steps for _, n_steps in self._kept)

    @property
    def rollouts(self) -> list[Kept]:
        """The rollouts, oldest first."""
        return [rollout for rollout, _ in self._kept]

    def numbers(self) -> dict[str, Tensor]:
        """Returns the numbers that must be finite for an update, by what to call them.

        Observations are not among them: a features extractor may handle infinite ones.
        """
        found: dict[str, Tensor] = {}
        for index, rollout in enumerate(self.rollouts):
            is_batch = isinstance(rollout, Batch)
            for name in _BATCH_NUMBERS if is_batch else _FACT_NUMBERS:
                numbers: Tensor = getattr(rollout, name)
                if isinstance(rollout, Facts):
                    numbers = numbers[rollout.recorded]
                found[f"{name} of rollout {index} in the replay memory"] = numbers
        return found

    def to(self, device: torch.device | str) -> None:
        """Moves everything to a device."""
        self._kept = deque((to_device(rollout, device), n) for rollout, n in self._kept)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what is saved: everything, on the CPU."""
        kept = [(to_device(rollout, "cpu"), n_steps) for rollout, n_steps in self._kept]
        return {**self.__dict__, "_kept": deque(kept)}


def random_steps(memory: Memory[Batch], batch_size: int | None) -> Batch:
    """Draws remembered steps, without replacement, by NumPy's global generator.

    Args:
        memory: batches of earlier rollouts.
        batch_size: number of steps; None for all.

    Returns:
        Steps of the newest `memory.size`.
    """
    everything = join_batches(memory.rollouts)
    n_kept = min(len(everything), memory.size)
    drawn = np.random.permutation(n_kept)[:batch_size]
    index = torch.as_tensor(drawn) + (len(everything) - n_kept)
    return everything.take(index.to(everything.actions.device))


def random_rollout(memory: Memory[Facts]) -> Facts:
    """Draws one of the remembered rollouts, each as likely."""
    rollouts = memory.rollouts
    return rollouts[np.random.randint(len(rollouts))]


def corrected_batch(
    facts: Facts,
    log_prob: Tensor,
    values: Tensor,
    next_values: Tensor,
    settings: AdvantageSettings,
    memory: MemorySettings,
) -> Batch:
    """Returns an old rollout, with the weights it has under the policy of now.

    Args:
        facts: the rollout, with the log-probabilities of the policy that drew it.
        log_prob: `[T, N]`, those of the policy of now.
        values: `[T, N]`, V(s_t) by the critic of now.
        next_values: `[T, N]`, V of the state that truly followed, likewise.
        settings: estimator, baseline and so on.
        memory: which correction.
    """
    end = settings.ends(facts)
    log_ratios = torch.where(facts.recorded, log_prob - facts.log_probs, 0.0)
    rewards, gamma = facts.masked(facts.rewards), settings.gamma
    next_values = facts.masked(next_values)
    if memory.replay == "v_trace":
        returns, weights = v_trace(
            rewards,
            values,
            gamma,
            log_ratios,
            *end,
            next_values,
            lambda_=0.0 if settings.estimator == "td" else settings.gae_lambda,
            rho_clip=memory.rho_clip,
            c_clip=memory.c_clip,
        )
    else:
        beyond = next_values if settings.bootstrap else None
        returns = importance_sampled_return(rewards, gamma, log_ratios, *end, beyond)
        baseline = values if settings.baseline == "value" else 0.0
        weights = trajectory_weights(log_ratios, *end) * (returns - baseline)
    if settings.normalize_advantage:
        weights = weights.masked_scatter(
            facts.recorded, standardize(weights[facts.recorded])
        )
    if settings.weight_by_gamma_t:
        weights = weights * gamma**facts.time
    return flat_batch(replace(facts, values=values), returns, weights)
