"""Results of a Gymnasium vector environment as SB3 wants them: arrays, a dict each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

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
    if isinstance(values, dict):
        return {key: to_numpy(value) for key, value in values.items()}
    if isinstance(values, torch.Tensor):
        return values.cpu().numpy()
    return np.asarray(values)


def copied(observations: Any) -> Any:  # noqa: ANN401
    """Returns a copy of an array or of a dict of arrays."""
    if isinstance(observations, dict):
        return {key: value.copy() for key, value in observations.items()}
    return observations.copy()


def row_of(observations: Any, i: int) -> Any:  # noqa: ANN401
    """Returns what environment i saw, out of `[N, ...]` or a dict of such."""
    if isinstance(observations, dict):
        return {key: value[i] for key, value in observations.items()}
    return observations[i]


def single_observation(seen: Any, space: Space) -> Any:  # noqa: ANN401
    """Returns one environment's observation as fresh arrays of the space's dtype."""
    if isinstance(space, spaces.Dict):
        return {
            key: single_observation(seen[key], part)
            for key, part in space.spaces.items()
        }
    return np.array(to_numpy(seen), dtype=space.dtype)


def with_rows(
    observations: Any,  # noqa: ANN401
    others: Any,  # noqa: ANN401
    mask: NDArray[np.bool_],
) -> Any:  # noqa: ANN401
    """Returns observations with the rows of a mask `[N]` taken from others."""
    if isinstance(observations, dict):
        return {
            key: with_rows(value, others[key], mask)
            for key, value in observations.items()
        }
    merged = observations.copy()
    merged[mask] = others[mask]
    return merged


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
        N new dicts; numbers in them are Python's.
    """
    if isinstance(infos, list):
        return [dict(info) for info in infos]
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        has = range(num_envs) if mask is None else np.flatnonzero(to_numpy(mask))
        # Nothing is taken off a device that nobody asks for.
        if len(has) > 0:
            column = _column(values, num_envs)
            for i in has:
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
