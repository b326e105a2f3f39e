"""Returns of finished episodes, read at as little cost to the training as possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from torch import Tensor

from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.rollout.buffer import Outcomes, TrajectoryBuffer
from pg_agents.rollout.steppers import steps_natively
from pg_agents.vec_env.arrays import to_numpy

Array = NDArray[np.float64]

# Of an episode that goes on and on, at most so many rewards are shown.
_MAX_RUNNING = 1000


@dataclass(frozen=True)
class EpisodeNews:
    """What has ended since the last news.

    Attributes:
        returns: undiscounted returns of finished episodes, `[E]`.
        timesteps: number of steps of the training at the end of each, `[E]`.
        rewards: rewards of the last finished episode of the first environment, `[T]`;
            None if none has ended.
        running_rewards: rewards of its present episode while no episode has ended at
            all, `[T]`; None afterwards.
    """

    returns: Array
    timesteps: NDArray[np.int64]
    rewards: Array | None
    running_rewards: Array | None


class EpisodeLog:
    """Follows the episodes of a training.

    Where a learner of this package steps a native vector environment, which reports no
    infos, or monitored environments in turn, `add_rows` takes many steps at once from
    the rollout buffer: single steps cost nothing, and a GPU is not waited for.
    Otherwise `add_step` reads the infos of every step.

    Attributes:
        reads_rows: whether the steps come from the rollout buffer.
    """

    reads_rows = False

    def __init__(self) -> None:
        self._returns: list[float] = []
        self._timesteps: list[int] = []
        self._last: Array | None = None
        self._has_ended = False
        self._rewards: list[Any] = []

    def start(self, model: BaseAlgorithm) -> None:
        """Begins to follow a call of `learn`, once the environment has been reset."""
        self._normalize = model.get_vec_normalize_env()
        # Rollouts of whole episodes do not continue an episode that was left.
        self._clears = getattr(model, "n_episodes", None) is not None
        if self._clears:
            self._rewards.clear()
        # Rows of rollouts that were not read yet, and timesteps before the first one.
        self._parts: list[Outcomes] = []
        self._first_timestep = self._n_read = 0
        # Sums of the rewards of the present episodes.
        self._sums: Array = np.zeros(model.n_envs)
        env, buffer = model.get_env(), getattr(model, "rollout_buffer", None)
        assert env is not None, "a model that learns has an environment"
        self._buffer = None
        statistics = _statistics(env)
        if isinstance(buffer, TrajectoryBuffer) and statistics is not None:
            self._buffer = buffer
            if not self._clears:
                self._sums, lengths = statistics
                if lengths[0] == 0:
                    self._rewards.clear()
        self.reads_rows = self._buffer is not None

    def start_rollout(self, n_timesteps: int) -> None:
        """Begins a rollout.

        Args:
            n_timesteps: steps of the training so far.
        """
        self._n_read = 0
        if not self._parts:
            self._first_timestep = n_timesteps
        if self._clears and not self.reads_rows:
            self._rewards.clear()

    def add_step(self, values: Mapping[str, Any], n_timesteps: int) -> None:
        """Takes a step.

        Args:
            values: SB3's local variables.
            n_timesteps: steps of the training so far, this one included.
        """
        if "rewards" not in values:
            return  # ARS of sb3-contrib reports steps without them.
        normalize: VecNormalize | None = self._normalize
        if normalize is None or not normalize.norm_reward:
            self._rewards.append(values["rewards"][0])
        else:
            self._rewards.append(normalize.old_reward[0])
        dones = values["dones"]
        if not np.count_nonzero(dones):
            return
        for episode in finished_episodes(values):
            self._returns.append(episode.episode_return)
            self._timesteps.append(n_timesteps)
            self._has_ended = True
        if dones[0]:
            self._last, self._rewards = _numbers(self._rewards), []

    def add_rows(self) -> None:
        """Takes the steps that are new in the rollout buffer, if `reads_rows`."""
        buffer, start = self._buffer, self._n_read
        if buffer is None or len(buffer) == start:
            return
        self._n_read = len(buffer)
        # A rollout's arrays stay valid after it: they are read once for many rollouts.
        self._parts.append(buffer.outcomes(start))

    def news(self) -> EpisodeNews:
        """Returns what has ended since the last call."""
        self._read_rows()
        found = EpisodeNews(
            np.array(self._returns, np.float64),
            np.array(self._timesteps, np.int64),
            self._last,
            None if self._has_ended else _numbers(self._rewards[:_MAX_RUNNING]),
        )
        self._returns, self._timesteps, self._last = [], [], None
        return found

    def _read_rows(self) -> None:
        """Reads the rows that `add_rows` has taken."""
        parts, self._parts = self._parts, []
        if not parts:
            return
        *given, masks = zip(*parts, strict=True)
        if isinstance(parts[0][0], Tensor):
            given = [tuple(map(to_numpy, column)) for column in given]
        rewards, terminated, truncated = map(np.concatenate, given)
        rewards, ended = rewards.astype(np.float64), terminated | truncated
        recorded = np.ones_like(ended)
        if any(mask is not None for mask in masks):
            recorded = np.concatenate(
                [
                    np.ones(part.shape, np.bool_) if mask is None else to_numpy(mask)
                    for part, mask in zip(given[0], masks, strict=True)
                ]
            )
            rewards, ended = np.where(recorded, rewards, 0.0), ended & recorded
        rows, returns, self._sums = finished_returns(rewards, ended, self._sums)
        # As SB3's Monitor rounds them.
        self._returns += np.round(returns, 6).tolist()
        steps = self._first_timestep + (rows + 1) * len(self._sums)
        self._timesteps += steps.tolist()
        self._first_timestep += rewards.size
        self._has_ended = self._has_ended or len(rows) > 0
        self._follow_first(rewards[:, 0], ended[:, 0], recorded[:, 0])

    def _follow_first(
        self, rewards: Array, ended: NDArray[np.bool_], recorded: NDArray[np.bool_]
    ) -> None:
        """Follows the rewards of the first environment, `[T]` each."""
        ends = np.flatnonzero(ended)
        start = 0
        if len(ends):
            stop = ends[-1] + 1
            start = ends[-2] + 1 if len(ends) > 1 else 0
            before = self._rewards if len(ends) == 1 else []
            own = rewards[start:stop][recorded[start:stop]]
            self._last, self._rewards = np.append(_numbers(before), own), []
            start = stop
        self._rewards += rewards[start:][recorded[start:]].tolist()


def _statistics(env: VecEnv) -> tuple[Array, NDArray[np.int64]] | None:
    """Returns return and length of each environment's present episode, `[N]` each.

    None unless the rewards of its steps add up to the returns that are reported: a
    wrapper around SB3's Monitor may change them.
    """
    if steps_natively(env):
        returns, lengths = map(to_numpy, env.statistics)
        return returns.astype(np.float64), lengths
    if type(env) is not DummyVecEnv or any(type(e) is not Monitor for e in env.envs):
        return None
    rewards = [monitor.rewards for monitor in env.envs if isinstance(monitor, Monitor)]
    return np.array([*map(sum, rewards)], np.float64), np.array([*map(len, rewards)])


def finished_returns(
    rewards: Array, ended: NDArray[np.bool_], before: Array
) -> tuple[NDArray[np.int64], Array, Array]:
    """Computes the returns of the episodes that end in consecutive steps.

    Args:
        rewards: `[T, N]`.
        ended: `[T, N]`, steps that end an episode.
        before: `[N]`, sum of the rewards of each environment's episode before them.

    Returns:
        Row and undiscounted return of each finished episode, `[E]`, in the order in
        which they end; and the sums after the last step, `[N]`.
    """
    totals = np.cumsum(rewards, axis=0) + before
    # By environment, and in each by time.
    envs, rows = np.nonzero(ended.T)
    at_end = totals[rows, envs]
    is_first = np.diff(envs, prepend=-1) != 0
    previous = np.where(is_first, 0.0, np.roll(at_end, 1))
    is_last = np.diff(envs, append=-1) != 0
    after = totals[-1].copy()
    after[envs[is_last]] -= at_end[is_last]
    order = np.argsort(rows, kind="stable")
    return rows[order], (at_end - previous)[order], after


def _numbers(values: list[Any]) -> Array:
    return np.array([float(value) for value in values])
