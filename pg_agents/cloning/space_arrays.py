"""Many observations or actions as arrays, held against the space they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import maybe_transpose

Array = NDArray[Any]
# A dict of arrays for Dict spaces.
Observations = Array | dict[str, Array]


def check_observations(
    space: spaces.Space[Any],
    observations: Any,  # noqa: ANN401
) -> Observations:
    """Returns observations as arrays, if they are observations of a space.

    The bounds of a Box are not held: environments themselves overstep them, and
    networks take any number.

    Args:
        space: the observation space; with images, channels first or last.
        observations: `[B, *obs_shape]`, images with channels first or last; a dict of
            these for a Dict space.

    Returns:
        The same numbers as NumPy arrays.

    Raises:
        ValueError: if there are none, if shapes or keys are others, or numbers are NaN,
            infinite or outside a finite space; the message names the argument.
        TypeError: if a Dict space gets no dict, or the space is not supported.
    """
    if not isinstance(space, spaces.Dict):
        return _check("observations", space, observations)
    if not isinstance(observations, dict):
        raise TypeError(
            "observations must be a dict of arrays [B, ...] with the keys "
            f"{sorted(space)}, got {type(observations).__name__}"
        )
    if set(observations) != set(space):
        raise ValueError(
            f"observations must have the keys {sorted(space)}, got "
            f"{sorted(observations)}"
        )
    arrays = {
        key: _check(f"observations[{key!r}]", part, observations[key])
        for key, part in space.items()
    }
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"observations must be equally many for each key: {lengths}")
    return arrays


def check_actions(
    space: spaces.Space[Any],
    actions: Any,  # noqa: ANN401
    name: str = "actions",
) -> Array:
    """Returns actions as an array, if they are actions of a space.

    Args:
        space: the action space: Box, Discrete, MultiDiscrete or MultiBinary.
        actions: `[B, *action_shape]`, as the environment takes them.
        name: what the messages call them.

    Returns:
        The same numbers as a NumPy array: int64, or a Box space's own type.

    Raises:
        ValueError: as `check_observations`, and for numbers outside the bounds.
        TypeError: if the space is not supported.
    """
    array = _check(name, space, actions)
    if isinstance(space, spaces.Box):
        if np.issubdtype(space.dtype, np.integer):
            _refuse(name, array != np.floor(array), array, "whole numbers")
        # 0.1 in float32 lies above 0.1 in float64, and is as good a bound.
        single = [part.astype(np.float32) for part in (array, space.low, space.high)]
        _check_bounds(name, space, *single)
        array = np.clip(array, space.low, space.high).astype(space.dtype)
    return array


def _check(name: str, space: spaces.Space[Any], values: Any) -> Array:  # noqa: ANN401
    known = spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary
    if not isinstance(space, known):
        raise TypeError(f"{name}: spaces of this kind are not supported: {space}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be one array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype} {values!r:.60}")
    assert space.shape is not None
    if array.ndim == 0 or maybe_transpose(array, space).shape[1:] != space.shape:
        accepted = ", ".join(["B", *map(str, space.shape)])
        raise ValueError(
            f"{name} must have the shape [{accepted}] for {space}, got "
            f"{list(array.shape)}"
        )
    if len(array) == 0:
        raise ValueError(f"{name} must be at least one, got none")
    if array.dtype.kind == "f":
        _refuse(name, ~np.isfinite(array), array, "finite numbers")
    if isinstance(space, spaces.Box):
        return array
    _refuse(name, array != np.floor(array), array, "whole numbers")
    integers: Array = array.astype(np.int64)
    if isinstance(space, spaces.MultiBinary):
        _check_bounds(name, space, integers, 0, 1)
    else:
        n = space.n if isinstance(space, spaces.Discrete) else space.nvec
        _check_bounds(name, space, integers, space.start, space.start + n - 1)
    return integers


def _check_bounds(
    name: str,
    space: spaces.Space[Any],
    array: Array,
    low: Any,  # noqa: ANN401
    high: Any,  # noqa: ANN401
) -> None:
    _refuse(name, (array < low) | (array > high), array, f"in {space}")


def _refuse(name: str, wrong: Array, array: Array, accepted: str) -> None:
    rows = np.flatnonzero(wrong.reshape(len(array), -1).any(1))
    if len(rows) > 0:
        raise ValueError(
            f"{name} must be {accepted}; {len(rows)} of {len(array)} are not, the "
            f"first is row {rows[0]}: {array[rows[0]]}"
        )
