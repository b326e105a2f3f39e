"""Arrays and tensors of vector environments: copies, rows, masks and conversions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.common.tree import Observation, tree_map

# Packages whose environments return new arrays from every step; tests check it.
_FRESH_PACKAGES = ("pg_envs",)


def to_numpy(values: Any) -> Any:  # noqa: ANN401
    """Converts a tensor, array or list, or a dict of these, to NumPy arrays."""
    return tree_map(_array, values)


def _array(values: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(values, Tensor):
        values = values.cpu().numpy()
    return np.asarray(values)


def copied(values: Any) -> Any:  # noqa: ANN401
    """Copies every array in nested dicts, lists and tuples.

    Args:
        values: of any type. Object arrays are copied with the arrays they contain;
            objects of other types are returned unchanged.
    """
    if isinstance(values, dict):
        return {key: copied(value) for key, value in values.items()}
    if isinstance(values, np.ndarray):
        copy = values.copy()
        if copy.dtype == object:
            for index in np.ndindex(copy.shape):
                copy[index] = copied(copy[index])
        return copy
    if isinstance(values, Tensor):
        return values.clone()
    # The exact types: named tuples take their entries as separate arguments.
    if type(values) in (list, tuple):
        return type(values)(copied(value) for value in values)
    return values


def with_rows(
    obs: Observation,
    new_obs: Observation,
    mask: Any,  # noqa: ANN401
) -> Observation:
    """Returns a copy of `obs` with the rows of a mask `[N]` taken from `new_obs`."""

    def merge(old: Any, new: Any) -> Any:  # noqa: ANN401
        merged = copied(old)
        merged[mask] = new[mask]
        return merged

    return tree_map(merge, obs, new_obs)


def single_observation(obs: Observation, space: spaces.Space[Any]) -> Observation:
    """Copies one environment's observation to arrays of the space's dtype."""
    if isinstance(space, spaces.Dict):
        return {
            key: single_observation(obs[key], part)
            for key, part in space.spaces.items()
        }
    return np.array(to_numpy(obs), dtype=space.dtype)


def zero_where(mask: Any, values: Any) -> Any:  # noqa: ANN401
    """Returns `[N]` values, 0 where a mask `[N]` bool is True, even if not finite."""
    if isinstance(values, Tensor):
        return values.masked_fill(torch.as_tensor(mask), 0)
    return np.where(mask, 0, values)


def is_any(mask: Any) -> bool:  # noqa: ANN401
    """Whether a mask `[N]` bool is True anywhere."""
    # Reducing bytes is many times faster in torch than reducing bools.
    if isinstance(mask, Tensor):
        return bool(mask.view(torch.uint8).max())
    return bool(np.count_nonzero(mask))


def returns_fresh_arrays(env: VectorEnv[Any, Any, Any]) -> bool:
    """Whether an environment is known not to write into arrays it has returned.

    Any other may return the same array from every step, as simulators do that fill a
    buffer. Subclasses and wrappers are treated as unknown.
    """
    kind = type(env)
    if kind in (SyncVectorEnv, AsyncVectorEnv):
        return bool(env.copy)  # type: ignore[attr-defined]
    package = kind.__module__.partition(".")[0]
    return kind is CartPoleVectorEnv or package in _FRESH_PACKAGES


def warn_if_overwritten(
    env: VectorEnv[Any, Any, Any],
    final_obs: NDArray[Any],
    truncated: NDArray[np.bool_],
    stacklevel: int,
) -> bool:
    """Warns if a restart may have overwritten the final observation of an episode.

    Gymnasium's SyncVectorEnv in SAME_STEP mode stores the final observation without
    copying it. If a sub-environment always returns the same array, its final
    observation then shows the first one of the next episode.

    Args:
        env: the vector environment after its step, wrapped or not.
        final_obs: `[N]` objects, its `infos["final_obs"]`.
        truncated: `[N]` bool, episodes whose final observation is bootstrapped from.
        stacklevel: of the warning, counted from the caller.

    Returns:
        Whether it has warned.
    """
    base: Any = env.unwrapped
    if not isinstance(base, SyncVectorEnv):
        return False
    for i in np.flatnonzero(truncated):
        if _share_memory(final_obs[i], base._env_obs[i]):
            warnings.warn(
                f"environment {i} of {env} returned the same array before and after "
                "its reset: if it writes into arrays it has returned, the final "
                "observation of each truncated episode is lost. Return copies from "
                "it, or do not use AutoresetMode.SAME_STEP",
                stacklevel=stacklevel + 1,
            )
            return True
    return False


def _share_memory(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_share_memory(one[key], other[key]) for key in one)
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return both and np.may_share_memory(one, other)
