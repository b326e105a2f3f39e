"""Which vector environments return fresh arrays, and copies for those that may not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

# Their environments return fresh arrays, which the project's tests check.
_FRESH_PACKAGES = ("pg_envs",)


def returns_fresh_arrays(env: VectorEnv[Any, Any, Any]) -> bool:
    """Whether an environment is known never to write into what it has returned.

    Any other may return the same array from every step, as simulators that fill a
    buffer do. A subclass or a wrapper may do so too, and is not known.

    Args:
        env: a Gymnasium vector environment, in wrappers or not.
    """
    kind = type(env)
    if kind in (SyncVectorEnv, AsyncVectorEnv):
        return bool(env.copy)  # type: ignore[attr-defined]
    package = kind.__module__.partition(".")[0]
    return kind is CartPoleVectorEnv or package in _FRESH_PACKAGES


def copied(values: Any) -> Any:  # noqa: ANN401
    """Returns nested dicts, lists and tuples with copies of the arrays in them.

    Args:
        values: of any type. Arrays of objects are copied with the arrays in them;
            objects of other types are returned as they are.
    """
    if isinstance(values, dict):
        return {key: copied(each) for key, each in values.items()}
    if isinstance(values, np.ndarray):
        copy = values.copy()
        if copy.dtype == object:
            for index in np.ndindex(copy.shape):
                copy[index] = copied(copy[index])
        return copy
    if isinstance(values, Tensor):
        return values.clone()
    # Exactly these: a named tuple takes its entries one by one.
    if type(values) in (list, tuple):
        return type(values)(copied(each) for each in values)
    return values


def warn_if_overwritten(
    env: VectorEnv[Any, Any, Any],
    final_observations: NDArray[Any],
    truncated: NDArray[np.bool_],
) -> bool:
    """Warns where a restart may have written over what was seen last of an episode.

    Gymnasium's SyncVectorEnv with SAME_STEP keeps the last observation without a copy,
    and restarts: where the environment inside returns one array again and again, the
    last observation is the first of the next episode.

    Args:
        env: the vector environment, in wrappers or not, after its step.
        final_observations: `[N]` objects, its `infos["final_obs"]`.
        truncated: `[N]` bool, episodes of which the last observation is valued.

    Returns:
        Whether it has warned.
    """
    base: Any = env.unwrapped
    if not isinstance(base, SyncVectorEnv):
        return False
    for i in np.flatnonzero(truncated):
        if _share_memory(final_observations[i], base._env_obs[i]):
            warnings.warn(
                f"environment {i} of {env} returned the same array before and after "
                "its restart: if it writes into arrays that it has returned, the last "
                "observation of each truncated episode is lost. Let it return copies, "
                "or make the vector environment without AutoresetMode.SAME_STEP",
                stacklevel=4,
            )
            return True
    return False


def _share_memory(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_share_memory(one[key], other[key]) for key in one)
    both = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return both and np.may_share_memory(one, other)
