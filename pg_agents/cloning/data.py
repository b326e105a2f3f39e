"""Checks arrays of observations and actions against their spaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import maybe_transpose

from pg_agents.common.nonfinite import NonFiniteError

Array = NDArray[Any]
# A dict of arrays for Dict spaces.
Observations = Array | dict[str, Array]
# Names row i in error messages.
RowName = Callable[[int], str]


def row_name(i: int) -> str:
    """Returns the default name of a row."""
    return f"row {i}"


def check_observations(
    space: spaces.Space[Any],
    observations: Any,  # noqa: ANN401
) -> Observations:
    """Returns observations as arrays, after checking them.

    The bounds of a Box are not enforced: many environments exceed theirs. Nor are
    finite numbers, since some features extractors accept others.

    Args:
        space: the observation space.
        observations: `[B, *obs_shape]`, images with channels first or last; a dict of
            these for a Dict space.

    Raises:
        ValueError: if there are none, shapes or keys do not match, or numbers are
            outside a discrete space.
        TypeError: if a Dict space gets no dict, or the space is not supported.
    """
    if not isinstance(space, spaces.Dict):
        return _check_observation("observations", space, observations)
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
        key: _check_observation(f"observations[{key!r}]", part, observations[key])
        for key, part in space.items()
    }
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"observations must have equal lengths, got {lengths}")
    return arrays


def _check_observation(name: str, space: spaces.Space[Any], values: Any) -> Array:  # noqa: ANN401
    if isinstance(space, spaces.Box):
        return _as_array(name, space, values)
    return check_actions(space, values, name)


def check_actions(
    space: spaces.Space[Any],
    actions: Any,  # noqa: ANN401
    name: str = "actions",
    row_name: RowName = row_name,
) -> Array:
    """Returns actions as an array of the space's dtype, after checking them.

    Args:
        space: the action space: Box, Discrete, MultiDiscrete or MultiBinary.
        actions: `[B, *action_shape]`, as the environment takes them.
        name: name of the actions in messages.
        row_name: names a row in messages.

    Raises:
        NonFiniteError: (a ValueError) if a number is NaN or infinite.
        ValueError: if there are none, the shape does not match, or an action is not in
            the space.
        TypeError: if the space is not supported.
    """
    array = _as_array(name, space, actions)
    check_finite(name, array, np.isfinite(array), row_name)
    low, high = _bounds(space)
    compared = array
    if np.issubdtype(low.dtype, np.floating):
        # In float32, where 0.1 is equal in float32 and float64.
        compared, low, high = (x.astype(np.float32) for x in (array, low, high))
    else:
        _check_rows(name, array, array == np.floor(array), "whole numbers", row_name)
    inside = (compared >= low) & (compared <= high)
    _check_rows(name, array, inside, f"in {space}", row_name)
    return np.clip(array, *_bounds(space)).astype(space.dtype)


def check_finite(name: str, array: Array, finite: Array, row_name: RowName) -> None:
    """Raises a NonFiniteError that names the first row not all `finite`, `[B, ...]`."""
    _check_rows(name, array, finite, "finite numbers", row_name, NonFiniteError)


def check_same_space(
    name: str, recorded: spaces.Space[Any], expected: spaces.Space[Any]
) -> None:
    """Raises a ValueError unless two spaces are equal.

    Dtypes may differ, and images may have channels first or last.
    """
    if not _same_space(recorded, expected):
        raise ValueError(
            f"{name} were recorded in {recorded}, but the model's environment has "
            f"{expected}: record them in an environment with the same wrappers. If "
            "the values have the same meaning, pass demonstrations.observations and "
            "demonstrations.actions, whose spaces are not compared"
        )


def _same_space(one: spaces.Space[Any], other: spaces.Space[Any]) -> bool:
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return one.keys() == other.keys() and all(
            _same_space(one[key], other[key]) for key in one.keys()
        )
    if type(one) is not type(other) or len(one.shape or ()) != len(other.shape or ()):
        return False
    # Images may have channels first or last.
    bounds = [maybe_transpose(x[None], other)[0] for x in _bounds(one)]
    return bounds[0].shape == other.shape and np.allclose(bounds, _bounds(other))


def _bounds(space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Returns the least and the greatest values of a space, both included."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape, np.int64), np.ones(space.shape, np.int64)
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    n = space.n if isinstance(space, spaces.Discrete) else space.nvec
    low = np.asarray(space.start, np.int64)
    return low, low + n - 1


def _as_array(name: str, space: spaces.Space[Any], values: Any) -> Array:  # noqa: ANN401
    """Returns `[B, *shape]` numbers for a space."""
    if not isinstance(
        space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    ):
        raise TypeError(f"{name}: spaces of this kind are not supported: {space}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be one array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype} {values!r:.60}")
    if array.ndim == 0 or maybe_transpose(array, space).shape[1:] != space.shape:
        accepted = ", ".join(["B", *map(str, space.shape or ())])
        raise ValueError(
            f"{name} must have the shape [{accepted}] for {space}, got "
            f"{list(array.shape)}"
        )
    if len(array) == 0:
        raise ValueError(f"{name} must have at least one row, got none")
    return array


def _check_rows(
    name: str,
    array: Array,
    valid: Array,
    accepted: str,
    row_name: RowName,
    error: type[ValueError] = ValueError,
) -> None:
    rows = np.flatnonzero(~valid.reshape(len(array), -1).all(1))
    if len(rows) > 0:
        raise error(
            f"{name} must be {accepted}; {len(rows)} of {len(array)} are not, the "
            f"first is {row_name(int(rows[0]))}: {array[rows[0]]}"
        )
