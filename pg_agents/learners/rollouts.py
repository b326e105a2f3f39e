"""Rollouts of R learners in progress, and the random numbers of their actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents.common.spaces import sample_dtype
from pg_agents.learners.policies import Rows

Array = NDArray[Any]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Steps whose random numbers are drawn at once. Results do not depend on it.
_N_AHEAD = 256
_FIRST_CAPACITY = 16


class ActionNumbers:
    """Random numbers for actions, from a generator for each learner.

    Args:
        seeds: of the R learners.
        shape: of the numbers of one step, `[N, K]`.
        action_space: action space, which the distribution follows from.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        action_space: spaces.Space[Any],
    ) -> None:
        self._generators = [generator(seed, 1) for seed in seeds]
        self._kind = _kind(action_space)
        size = max(1, min(_N_AHEAD, 4096 // math.prod(shape)))
        self._ahead = np.empty((len(seeds), size, *shape), np.float32)
        self._used = np.full(len(seeds), size)
        self._learners = np.arange(len(seeds))
        self._now = self._ahead[:, 0]
        self._column = 0

    def next(self, active: Mask) -> None:
        """Takes the numbers of the next step of the active learners."""
        n_ahead = self._ahead.shape[1]
        is_empty = self._used == n_ahead
        if np.count_nonzero(is_empty):
            for i in np.flatnonzero(is_empty).tolist():
                draw = getattr(self._generators[i], self._kind)
                draw(dtype=np.float32, out=self._ahead[i])
            self._used[is_empty] = 0
        self._now = self._ahead[self._learners, self._used]
        self._used = self._used + active
        self._column = 0

    def draw(self, kind: str, shape: tuple[int, ...]) -> Array:
        """Returns the next numbers `[R, N, k]` of this step."""
        start, self._column = self._column, self._column + shape[-1]
        return self._now[..., start : self._column]


class RolloutStore:
    """The rollouts of R learners in progress, `[R, T, N, ...]`.

    Args:
        shape: R and N.
        observation_space: observation space.
        action_space: action space.
        n_steps: rows of a rollout; None if not known in advance.

    Attributes:
        n_rows: `[R]`, rows so far, T of each learner.
        finals: row, lane and last observation of the truncated episodes of each.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_steps: int | None,
    ) -> None:
        self.n_rows = np.zeros(shape[0], np.int64)
        self.finals: list[list[tuple[int, int, Array]]] = [[] for _ in range(shape[0])]
        self._has_finals = False
        self._n_lanes = shape[1]
        self._first = np.arange(shape[0])
        start = shape[0], n_steps or _FIRST_CAPACITY, shape[1]
        obs_shape: Any = observation_space.shape
        action_shape: Any = action_space.shape
        self._columns = {
            "observations": np.zeros((*start, *obs_shape), observation_space.dtype),
            "actions": np.zeros((*start, *action_shape), _sample_dtype(action_space)),
            "rewards": np.zeros(start, np.float32),
            "terminated": np.zeros(start, np.bool_),
            "truncated": np.zeros(start, np.bool_),
            "episode_steps": np.zeros(start, np.int64),
        }
        # Entries that nothing was written to are read, and not counted.
        self._columns["observations"][:] = getattr(observation_space, "start", 0)
        self._columns["actions"][:] = getattr(action_space, "start", 0)
        if n_steps is None and shape[1] > 1:
            self._columns["recorded"] = np.zeros(start, np.bool_)

    def add(
        self, active: Mask, final_obs: Array | None, **columns: Array | None
    ) -> None:
        """Adds a row to the rollouts of the active learners.

        Args:
            active: `[R]` bool.
            final_obs: `[R, N, *obs_shape]`, last observation of truncated episodes, if
                it is needed.
            **columns: `[R, N, ...]` each.
        """
        n_rows = self.n_rows
        last = int(np.maximum.reduce(n_rows))
        if last == self._columns["rewards"].shape[1]:
            self._columns = {
                name: np.concatenate([column, column], 1)
                for name, column in self._columns.items()
            }
        are_all_active = np.count_nonzero(active) == len(active)
        if are_all_active and np.count_nonzero(n_rows == last) == len(active):
            for name, column in self._columns.items():
                column[:, last] = columns[name]
        else:
            capacity = self._columns["rewards"].shape[1]
            learners: Any = slice(None) if are_all_active else np.flatnonzero(active)
            # One index for two axes is faster.
            rows = (self._first * capacity + n_rows)[learners]
            for name, column in self._columns.items():
                values: Any = columns[name]
                column.reshape(-1, *column.shape[2:])[rows] = values[learners]
        if final_obs is not None:
            truncated: Any = columns["truncated"]
            recorded = columns["recorded"]
            if recorded is not None:
                truncated = truncated & recorded
            for i, n in np.argwhere(truncated & active[:, None]).tolist():
                self.finals[i].append((int(n_rows[i]), n, final_obs[i, n]))
                self._has_finals = True
        self.n_rows = n_rows + active

    def n_recorded(self, learners: Indices) -> Indices:
        """Returns the number of recorded steps of some learners, `[K]`."""
        n_rows = self.n_rows[learners]
        if "recorded" not in self._columns:
            return n_rows * self._n_lanes
        pairs = zip(learners.tolist(), n_rows.tolist(), strict=True)
        recorded = self._columns["recorded"]
        return np.array([int(recorded[i, :n].sum()) for i, n in pairs])

    def rollouts(self, rows: Rows, n_rows: int) -> dict[str, Array]:
        """Returns the columns `[K, T, N, ...]` of rollouts of T rows each."""
        return {name: column[rows, :n_rows] for name, column in self._columns.items()}

    def clear(self, learners: Indices) -> None:
        """Starts new rollouts."""
        self.n_rows[learners] = 0
        if self._has_finals:
            for i in learners.tolist():
                self.finals[i] = []
            self._has_finals = any(self.finals)


def generator(seed: int, purpose: int) -> np.random.Generator:
    """Returns a generator of a learner; that of its environments has the seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose,)))


def _kind(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Box):
        return "standard_normal"
    if isinstance(space, spaces.MultiBinary):
        return "random"
    return "standard_exponential"


def _sample_dtype(space: spaces.Space[Any]) -> np.dtype[Any]:
    if isinstance(space, spaces.Box):
        return np.dtype(np.float32)
    return sample_dtype(space)
