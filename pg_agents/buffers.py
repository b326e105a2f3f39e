"""What happened in a rollout, as facts; nothing in here is edited afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.advantages import AdvantageSettings, Beyond, Facts, estimate_advantages
from pg_agents.buffer_view import BufferView
from pg_agents.observations import (
    Observation,
    concatenate_observations,
    copy_observation,
    map_observation,
    select,
    stack_observations,
)


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
    """

    observations: Observation
    actions: Tensor
    advantages: Tensor
    returns: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    n_samples: float

    def __len__(self) -> int:
        """Number of steps, B."""
        return len(self.actions)

    def take(self, index: Tensor) -> Batch:
        """Returns the steps at `index`, `[B']` int64."""
        return Batch(
            observations=select(self.observations, index),
            actions=self.actions[index],
            advantages=self.advantages[index],
            returns=self.returns[index],
            old_values=self.old_values[index],
            old_log_prob=self.old_log_prob[index],
            n_samples=self.n_samples * len(index) / len(self),
        )


class TrajectoryBuffer(BufferView):
    """The steps of N environments, row by row, on the model's device.

    Rewards are as the environment gave them: what lies beyond a time limit is kept
    apart, as a value (SB3's buffer adds it to the reward). Read from outside it is
    SB3's `RolloutBuffer`: see `BufferView`.

    Args:
        device: where the tensors live.

    Attributes:
        full: whether the rollout is complete and its advantages are computed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forgets the rollout."""
        self._columns: dict[str, list[Any]] = {}
        self._facts: Facts | None = None
        self._final: list[tuple[int, int, Observation]] = []
        self._returns = self._advantages = torch.empty(0)
        self.full = False

    def add(
        self,
        *,
        observations: Observation,
        actions: NDArray[Any],
        rewards: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        recorded: NDArray[np.bool_],
        episode_steps: NDArray[np.int64],
        values: Tensor,
        log_probs: Tensor,
        final_observations: dict[int, Observation],
    ) -> None:
        """Adds a row. The arrays are copied.

        Args:
            observations: `[N, *obs_shape]`, what was seen before the actions; a dict of
                arrays for a Dict space.
            actions: `[N, *action_shape]`, as the policy drew them.
            rewards: `[N]` float32, what followed.
            terminated: `[N]` bool, whether the episode ended by the task's own rules.
            truncated: `[N]` bool, whether it was cut off, by a time limit or the cap.
            recorded: `[N]` bool, False for steps that are not the learner's business:
                of idle environments, and the dummy step of NEXT_STEP autoreset.
            episode_steps: `[N]` int64, actions taken before this one in the episode.
            values: `[N]` float32, V of the observations.
            log_probs: `[N]` float32, log-probability of the actions.
            final_observations: by environment, what was seen last of a truncated one.
        """
        row = {
            "actions": actions,
            "rewards": rewards,
            "terminated": terminated,
            "truncated": truncated,
            "recorded": recorded,
            "episode_steps": episode_steps,
        }
        self._final += [(len(self), i, seen) for i, seen in final_observations.items()]
        columns = self._columns
        for name, values_of_row in row.items():
            columns.setdefault(name, []).append(np.array(values_of_row))
        columns.setdefault("observations", []).append(copy_observation(observations))
        columns.setdefault("values", []).append(values)
        columns.setdefault("log_probs", []).append(log_probs)

    def final_observations(self) -> Observation | None:
        """Returns what was seen last of truncated episodes, `[K, *obs_shape]`."""
        if not self._final:
            return None
        return stack_observations([seen for _, _, seen in self._final])

    def observations_beyond(self, last_observations: Observation) -> Beyond:
        """Returns what was seen where the data stop, on the model's device.

        Args:
            last_observations: `[N, *obs_shape]`, what was seen after the last row.
        """
        final = self.final_observations()
        seen = last_observations
        if final is not None:
            seen = concatenate_observations(last_observations, final)
        places = np.array([(t, i) for t, i, _ in self._final], dtype=np.int64)
        rows, envs = torch.as_tensor(places.reshape(-1, 2), device=self.device).T
        return Beyond(map_observation(self._tensor, seen), rows, envs)

    def finish(
        self,
        values_beyond: Tensor,
        beyond: Beyond,
        settings: AdvantageSettings,
        n_episodes: int | None,
        target_values: Tensor | None = None,
    ) -> None:
        """Completes the rollout and computes returns and advantages from it.

        Args:
            values_beyond: `[N + K]`, V of the observations beyond.
            beyond: what `observations_beyond` returned.
            settings: estimator, baseline and so on.
            n_episodes: number of whole episodes recorded, or None if the rollout is a
                number of steps.
            target_values: `[T, N]`, V of the recorded observations by the critic that
                values successors, if that is another one.
        """
        self._settings = settings
        columns = {name: self.column(name) for name in self._columns}
        values = columns["values"] if target_values is None else target_values
        self._facts = Facts(
            **columns,
            next_values=beyond.successor_values(values, values_beyond),
            n_episodes=n_episodes,
            beyond=beyond,
        )
        self._returns, self._advantages = estimate_advantages(self._facts, settings)
        self.full = True

    @property
    def facts(self) -> Facts:
        """The complete rollout.

        Raises:
            RuntimeError: if it is not complete.
        """
        if self._facts is None:
            raise RuntimeError(
                "the rollout is not complete: there is nothing to learn from before "
                "finish()"
            )
        return self._facts

    def batch(self) -> Batch:
        """Returns the recorded steps, flat, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        return flat_batch(self.facts, self._returns, self._advantages)

    def get(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yields every recorded step once, in mini-batches.

        The steps are shuffled by NumPy's global generator, environment by environment
        as in SB3: from the same seed the mini-batches are the same. The last one has
        what is left.

        Args:
            batch_size: steps of a mini-batch; None for all of them, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        batch = self.batch()
        if batch_size is None:
            yield batch
            return
        recorded = self.facts.recorded
        place = torch.zeros(recorded.shape, dtype=torch.int64, device=self.device)
        place[recorded] = torch.arange(len(batch), device=self.device)
        by_environment = place.T[recorded.T]
        order = torch.as_tensor(np.random.permutation(len(batch)), device=self.device)
        for index in by_environment[order].split(batch_size):
            yield batch.take(index)

    def sample(self, batch_size: int, env: object = None) -> Batch:
        """Returns recorded steps, drawn with replacement by NumPy's global generator.

        Args:
            batch_size: number of steps.
            env: not used; SB3's buffers have it.
        """
        batch = self.batch()
        drawn = np.random.randint(len(batch), size=batch_size)
        return batch.take(torch.as_tensor(drawn, device=self.device))

    def column(self, name: str) -> Any:  # noqa: ANN401
        """Returns what `add` was given, `[T, N, ...]`, as tensors.

        Args:
            name: an argument of `add`; not `final_observations`.
        """
        rows = self._columns[name]
        if isinstance(rows[0], Tensor):
            return torch.stack(rows)
        return map_observation(self._tensor, stack_observations(rows))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, device=self.device)


def flat_batch(facts: Facts, returns: Tensor, advantages: Tensor) -> Batch:
    """Returns the recorded steps, flat, in order of time.

    Args:
        facts: a complete rollout of T steps of N environments.
        returns: `[T, N]`, targets of the critic.
        advantages: `[T, N]`, weights of the actions.
    """
    recorded = facts.recorded
    return Batch(
        observations=select(facts.observations, recorded),
        actions=facts.actions[recorded],
        advantages=advantages[recorded],
        returns=returns[recorded],
        old_values=facts.values[recorded],
        old_log_prob=facts.log_probs[recorded],
        n_samples=facts.n_episodes or int(recorded.sum()),
    )


def join_batches(batches: list[Batch]) -> Batch:
    """Returns the steps of several batches as one, in their order."""
    first, *others = batches
    if not others:
        return first
    joined = {
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
