"""Results of a Gymnasium vector environment as SB3 wants them: arrays, a dict each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents.common.tree import Observation, tree_map
from pg_agents.vec_env.empty_info import NO_INFO
from pg_agents.vec_env.fresh_arrays import copied

Space = spaces.Space[Any]

_SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)

# Keys of Gymnasium's infos, with SAME_STEP, for what was there before the restart.
FINAL_OBS, FINAL_INFO = "final_obs", "final_info"


def check_spaces(observation_space: Space, action_space: Space) -> None:
    """Refuses spaces that SB3's algorithms have no policy for.

    Args:
        observation_space: of a single environment.
        action_space: of a single environment.

    Raises:
        ValueError: if one of them is a Tuple, a Dict in a Dict, or the like.
    """
    parts = (
        list(observation_space.spaces.values())
        if isinstance(observation_space, spaces.Dict)
        else [observation_space]
    )
    if not all(isinstance(part, _SIMPLE) for part in parts):
        raise ValueError(
            "the observation space must be Box, Discrete, MultiDiscrete, MultiBinary "
            f"or a Dict of these, got {observation_space}: "
            "gymnasium.wrappers.FlattenObservation makes a Box of any"
        )
    if not isinstance(action_space, _SIMPLE):
        raise ValueError(
            "the action space must be Box, Discrete, MultiDiscrete or MultiBinary, got "
            f"{action_space}"
        )


def to_numpy(values: Any) -> Any:  # noqa: ANN401
    """Returns tensors, arrays or lists, or a dict of these, as NumPy arrays."""
    return tree_map(_array, values)


def _array(values: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(values, torch.Tensor):
        values = values.cpu().numpy()
    return np.asarray(values)


def single_observation(seen: Observation, space: Space) -> Observation:
    """Returns one environment's observation as fresh arrays of the space's dtype."""
    if isinstance(space, spaces.Dict):
        return {
            key: single_observation(seen[key], part)
            for key, part in space.spaces.items()
        }
    return np.array(to_numpy(seen), dtype=space.dtype)


def with_rows(
    observations: Observation,
    others: Observation,
    mask: Any,  # noqa: ANN401
) -> Observation:
    """Returns observations with the rows of a mask `[N]` taken from others."""

    def merge(before: Any, after: Any) -> Any:  # noqa: ANN401
        merged = copied(before)
        merged[mask] = after[mask]
        return merged

    return tree_map(merge, observations, others)


def split_infos(infos: Any, num_envs: int) -> list[dict[str, Any]]:  # noqa: ANN401
    """Returns the infos of a vector environment as one dict per environment.

    Gymnasium keeps `[N]` values under a key, and under the key with an underscore
    before it the mask `[N]` of those that have one. What is not one value per
    environment goes to all.

    Args:
        infos: as from `VectorEnv.step`, or already a list of N dicts, as from
            Gymnasium's DictInfoToList.
        num_envs: N.

    Returns:
        N dicts; numbers in them are Python's. Those with nothing in them are one and
        the same.
    """
    if isinstance(infos, list):
        return [dict(info) for info in infos]
    rows = [NO_INFO] * num_envs
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        has = range(num_envs) if mask is None else np.flatnonzero(to_numpy(mask))
        # Nothing is taken off a device that nobody asks for.
        if len(has) > 0:
            column = _column(values, num_envs)
            for i in has:
                if rows[i] is NO_INFO:
                    rows[i] = {}
                rows[i][key] = column[i]
    return rows


def _column(values: Any, num_envs: int) -> Any:  # noqa: ANN401
    """Returns a sequence of one value per environment."""
    if isinstance(values, dict):
        return split_infos(values, num_envs)
    if isinstance(values, torch.Tensor):
        values = to_numpy(values)
    if isinstance(values, np.ndarray) and values.ndim > 0 and len(values) == num_envs:
        return (
            values.tolist() if values.ndim == 1 and values.dtype != object else values
        )
    if isinstance(values, list | tuple) and len(values) == num_envs:
        return values
    return [values] * num_envs
