"""Records the training of every learner, as `pg_agents.callbacks.Recorder` does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_agents.callbacks.recorder import TrainingRecord
from pg_agents.common.checks import check_count
from pg_agents.learners.batch import LearnerBatch

Array = NDArray[Any]


class BatchRecorder:
    """A callback of `LearnerBatch.learn` that makes a `TrainingRecord` per learner.

    The record begins where the batch stands when the recorder is made.

    Args:
        batch: the batch.
        observations: `[K, *obs_shape]`, observations whose action probabilities are
            recorded; None records no probabilities.
        every: updates of a learner between recordings of its probabilities, at least 1.
            Those of the initial and the final policy are always recorded.

    Raises:
        ValueError: if `every` is not an integer >= 1, or `observations` has another
            shape, or the actions are not those of a `Discrete` space.

    Example:
        >>> from pg_agents import REINFORCE
        >>> from pg_agents.learners import BatchRecorder, LearnerBatch
        >>> env = "pg_envs:PGToy-Sequence-v0"
        >>> batch = LearnerBatch(REINFORCE, "MlpPolicy", env, seeds=range(3))
        >>> recorder = BatchRecorder(batch)
        >>> batch = batch.learn(100, recorder)
        >>> len(recorder.records)
        3
    """

    def __init__(
        self, batch: LearnerBatch, observations: Array | None = None, every: int = 1
    ) -> None:
        check_count("every", every)
        self._batch, self._every = batch, every
        self._observations = None
        if observations is not None:
            self._observations = np.asarray(observations)
        n = len(batch.seeds)
        self._n_updates = np.zeros(n, np.int64)
        self._n_episodes = [len(episodes.returns) for episodes in batch.episodes]
        # One entry per event: learners, and numbers of theirs.
        self._rewards: list[tuple[Array, ...]] = []
        self._losses: list[tuple[Array, ...]] = []
        self._probabilities: list[tuple[Array, ...]] = []
        # Steps at the last update of each learner.
        self._updated_at = batch.num_timesteps.copy()
        self._record_probabilities(np.arange(n))

    def __call__(self, batch: LearnerBatch) -> None:
        """Records a step and the updates that followed it."""
        stepped = np.flatnonzero(batch.stepped)
        steps = batch.num_timesteps[stepped]
        self._rewards.append((stepped, batch.rewards[stepped].mean(1), steps))
        if not batch.updated.any():
            return
        updated = np.flatnonzero(batch.updated)
        self._n_updates[updated] += 1
        self._updated_at[updated] = batch.num_timesteps[updated]
        losses = batch.logs["policy_loss"][updated]
        self._losses.append((updated, losses, self._updated_at[updated]))
        due = updated[self._n_updates[updated] % self._every == 0]
        if self._observations is not None and len(due) > 0:
            self._record_probabilities(due)

    @property
    def records(self) -> list[TrainingRecord]:
        """A record of each learner so far; read it before the batch learns on alone."""
        n = len(self._batch.seeds)
        rewards, losses = _by_learner(self._rewards, n), _by_learner(self._losses, n)
        recorded_at = np.full(n, -1)
        for learners, _, steps in self._probabilities:
            recorded_at[learners] = steps
        probabilities = self._probabilities
        stale = np.flatnonzero(recorded_at != self._updated_at)
        if self._observations is not None and len(stale) > 0:
            probabilities = [*probabilities, self._now(stale)]
        tables = _by_learner(probabilities, n, (0, 0, 0))
        records = []
        for r, episodes in enumerate(self._batch.episodes):
            some = slice(self._n_episodes[r], None)
            records.append(
                TrainingRecord(
                    action_probabilities=tables[r][0],
                    probability_timesteps=tables[r][1].astype(np.int64),
                    rewards=rewards[r][0],
                    reward_timesteps=rewards[r][1].astype(np.int64),
                    episode_returns=episodes.returns[some],
                    episode_lengths=episodes.lengths[some],
                    episode_timesteps=episodes.steps[some],
                    policy_losses=losses[r][0],
                    loss_timesteps=losses[r][1].astype(np.int64),
                )
            )
        return records

    def _record_probabilities(self, learners: Array) -> None:
        if self._observations is not None:
            self._probabilities.append(self._now(learners))

    def _now(self, learners: Array) -> tuple[Array, ...]:
        found = self._batch.action_probabilities(self._observations, learners)  # type: ignore[arg-type]
        return learners, found, self._updated_at[learners]


def _by_learner(
    events: list[tuple[Array, ...]], n: int, shape: tuple[int, ...] = (0,)
) -> list[tuple[Array, Array]]:
    """Returns the numbers and steps of each of n learners, in order of time."""
    if not events:
        # As `Recorder` returns no probabilities.
        return [(np.empty(shape), np.empty(0))] * n
    learners, numbers, steps = (np.concatenate(c) for c in zip(*events, strict=True))
    order = np.argsort(learners, kind="stable")
    ends = np.cumsum(np.bincount(learners, minlength=n))[:-1]
    parts = (np.split(column[order], ends) for column in (numbers, steps))
    return list(zip(*parts, strict=True))
