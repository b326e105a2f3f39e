"""Infos and episode results in SB3's form: one dict per environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from torch import Tensor

from pg_agents.common.tree import Rows, namespace, to_float64
from pg_agents.vec_env.arrays import to_numpy

Info = dict[str, Any]

# Gymnasium's keys, in SAME_STEP mode, for the observation and info before the reset.
FINAL_OBS, FINAL_INFO = "final_obs", "final_info"


def split_infos(infos: Any, n_envs: int) -> list[Info]:  # noqa: ANN401
    """Splits the infos of a vector environment into one dict per environment.

    Gymnasium stores `[N]` values under a key, and under the same key with a leading
    underscore the mask `[N]` of the environments that have one. A value that is not one
    per environment is given to all of them.

    Args:
        infos: from `VectorEnv.step`, or a list of N dicts, as Gymnasium's
            DictInfoToList returns.
        n_envs: number of environments, N.

    Returns:
        N new dicts. Numbers in them are Python numbers.
    """
    if isinstance(infos, list):
        return [dict(info) for info in infos]
    rows: list[Info] = [{} for _ in range(n_envs)]
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        envs = range(n_envs) if mask is None else np.flatnonzero(to_numpy(mask))
        # Copy from the device only if an environment has a value.
        if len(envs) > 0:
            column = _column(values, n_envs)
            for i in envs:
                rows[i][key] = column[i]
    return rows


def _column(values: Any, n_envs: int) -> Any:  # noqa: ANN401
    """Returns a sequence of one value per environment."""
    if isinstance(values, dict):
        return split_infos(values, n_envs)
    if isinstance(values, Tensor):
        values = to_numpy(values)
    if isinstance(values, np.ndarray) and values.ndim > 0 and len(values) == n_envs:
        plain = values.ndim == 1 and values.dtype != object
        return values.tolist() if plain else values
    if isinstance(values, list | tuple) and len(values) == n_envs:
        return values
    return [values] * n_envs


class LazyInfos(Sequence[Info]):
    """SB3's infos, one dict per environment, built on first access.

    Args:
        n_envs: number of environments, N.
        make: returns the list of N dicts.
    """

    def __init__(self, n_envs: int, make: Callable[[], list[Info]]) -> None:
        self._n_envs, self._make = n_envs, make

    @cached_property
    def made(self) -> list[Info]:
        """The list of N dicts."""
        return self._make()

    def __len__(self) -> int:
        """Number of environments, N."""
        return self._n_envs

    @overload
    def __getitem__(self, index: int) -> Info: ...

    @overload
    def __getitem__(self, index: slice) -> list[Info]: ...

    def __getitem__(self, index: int | slice) -> Info | list[Info]:
        """Returns the info of one environment, or a list for a slice."""
        return self.made[index]

    def __iter__(self) -> Iterator[Info]:
        """Iterates over the infos of all environments."""
        return iter(self.made)


def newest_results(
    rewards: Rows,
    dones: Rows,
    before: tuple[Rows, Rows],
    n: int,
) -> list[tuple[float, int]]:
    """Computes return and length of the last episodes that ended in a rollout.

    Rewards are summed for these episodes only, once the rollout is complete.

    Args:
        rewards: `[T, N]`, arrays or tensors, as the others.
        dones: `[T, N]` bool, steps that ended an episode.
        before: `[N]` each, return and length of the episodes in progress when the
            rollout began.
        n: maximum number of episodes.

    Returns:
        A pair (return, length) per episode, oldest first.
    """
    xp = namespace(dones)
    # With thousands of environments the last row usually suffices. Asking for each row
    # would wait for a GPU each time.
    start = len(dones) - 1 if int(dones[-1].sum()) >= n else 0
    ends = xp.argwhere(dones[start:])
    last, envs = ends[max(len(ends) - n, 0) :].T
    if len(envs) == 0:
        return []
    last = last + start
    row = xp.cumsum(xp.ones_like(dones[:, :1], dtype=xp.int64), 0) - 1
    # First row of the episode: the one after the end of the episode before it.
    first = xp.amax((row + 1) * (dones[:, envs] & (row < last)), 0)
    in_episode = (row >= first) & (row <= last)
    began_before = first == 0
    returns = xp.where(in_episode, to_float64(rewards[:, envs]), 0.0).sum(0)
    returns += xp.where(began_before, to_float64(before[0][envs]), 0.0)
    lengths = in_episode.sum(0) + before[1][envs] * began_before
    return list(zip(returns.tolist(), lengths.tolist(), strict=True))
