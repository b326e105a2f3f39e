"""Many observations or actions as arrays, held against the space they belong to."""

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
# Says of which step row i is, for messages.
Place = Callable[[int], str]


def row_number(i: int) -> str:
    """Returns what a row is called of which no more is known."""
    return f"row {i}"


def check_observations(
    space: spaces.Space[Any],
    observations: Any,  # noqa: ANN401
) -> Observations:
    """Returns observations as arrays, if they are observations of a space.

    The bounds of a Box are not held: environments themselves overstep them, and
    networks take any number. Whether a policy can do with one that is not finite shows
    when it is asked.

    Args:
        space: the observation space; with images, channels first or last.
        observations: `[B, *obs_shape]`, images with channels first or last; a dict of
            these for a Dict space.

    Returns:
        The same numbers as NumPy arrays.

    Raises:
        ValueError: if there are none, if shapes or keys are others, or numbers are
            outside a finite space; the message names the argument.
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
        raise ValueError(f"observations must be equally many for each key: {lengths}")
    return arrays


def check_actions(
    space: spaces.Space[Any],
    actions: Any,  # noqa: ANN401
    name: str = "actions",
    place: Place = row_number,
) -> Array:
    """Returns actions as an array, if they are actions of a space.

    Args:
        space: the action space: Box, Discrete, MultiDiscrete or MultiBinary.
        actions: `[B, *action_shape]`, as the environment takes them.
        name: what the messages call them.
        place: what the messages call a row.

    Returns:
        The same numbers as a NumPy array: int64, or a Box space's own type.

    Raises:
        NonFiniteError: (a ValueError) if a number is NaN or infinite.
        ValueError: as `check_observations`, and for numbers outside the bounds.
        TypeError: if the space is not supported.
    """
    array = _check(name, space, actions)
    if array.dtype.kind == "f":
        check_finite(name, array, np.isfinite(array), place)
    if isinstance(space, spaces.Box):
        if np.issubdtype(space.dtype, np.integer):
            _refuse(name, array != np.floor(array), array, "whole numbers", place)
        # 0.1 in float32 lies above 0.1 in float64, and is as good a bound.
        single, low, high = (
            part.astype(np.float32) for part in (array, space.low, space.high)
        )
        _check_bounds(name, space, single, low, high, place)
        return np.clip(array, space.low, space.high).astype(space.dtype)
    return _integers(name, space, array, place)


def check_finite(name: str, array: Array, finite: Array, place: Place) -> None:
    """Raises a NonFiniteError that names the first row of `[B, ...]` not all finite.

    Args:
        name: what the message calls the rows.
        array: `[B, ...]`.
        finite: `[B, ...]` bool, where it is finite, or as good.
        place: what the message calls a row.
    """
    _refuse(name, ~finite, array, "finite numbers", place, NonFiniteError)


def check_same_space(
    name: str, recorded: spaces.Space[Any], accepted: spaces.Space[Any]
) -> None:
    """Raises a ValueError unless numbers of two spaces mean the same, as far as seen.

    Types of numbers may differ, and images have channels first or last.

    Args:
        name: what the message calls the numbers.
        recorded: where demonstrations are from.
        accepted: what they are for.
    """
    if not _alike(recorded, accepted):
        raise ValueError(
            f"{name} were recorded in {recorded}, and the model's environment has "
            f"{accepted}: record them in an environment with the same wrappers around "
            "it. If the numbers mean the same, pass demonstrations.observations and "
            "demonstrations.actions, which know nothing of spaces"
        )


def _alike(one: spaces.Space[Any], other: spaces.Space[Any]) -> bool:
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return one.keys() == other.keys() and all(
            _alike(one[key], other[key]) for key in one.keys()
        )
    if isinstance(one, spaces.Box) and isinstance(other, spaces.Box):
        return len(one.shape) == len(other.shape) and all(
            mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=1e-5)
            for mine, theirs in (
                (maybe_transpose(one.low[None], other)[0], other.low),
                (maybe_transpose(one.high[None], other)[0], other.high),
            )
        )
    return type(one) is type(other) and all(
        np.array_equal(getattr(one, name, 0), getattr(other, name, 0))
        for name in ("n", "nvec", "start")
    )


def _check_observation(name: str, space: spaces.Space[Any], values: Any) -> Array:  # noqa: ANN401
    array = _check(name, space, values)
    if isinstance(space, spaces.Box):
        return array
    if array.dtype.kind == "f":
        check_finite(name, array, np.isfinite(array), row_number)
    return _integers(name, space, array, row_number)


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
    return array


def _integers(
    name: str,
    space: spaces.Space[Any],
    array: Array,
    place: Place,
) -> Array:
    """Returns the int64 that an array has, if they are of a finite space."""
    _refuse(name, array != np.floor(array), array, "whole numbers", place)
    integers: Array = array.astype(np.int64)
    if isinstance(space, spaces.MultiBinary):
        _check_bounds(name, space, integers, 0, 1, place)
    else:
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete), "checked"
        n = space.n if isinstance(space, spaces.Discrete) else space.nvec
        _check_bounds(name, space, integers, space.start, space.start + n - 1, place)
    return integers


def _check_bounds(
    name: str,
    space: spaces.Space[Any],
    array: Array,
    low: Any,  # noqa: ANN401
    high: Any,  # noqa: ANN401
    place: Place,
) -> None:
    _refuse(name, (array < low) | (array > high), array, f"in {space}", place)


def _refuse(
    name: str,
    wrong: Array,
    array: Array,
    accepted: str,
    place: Place,
    error: type[ValueError] = ValueError,
) -> None:
    rows = np.flatnonzero(wrong.reshape(len(array), -1).any(1))
    if len(rows) > 0:
        raise error(
            f"{name} must be {accepted}; {len(rows)} of {len(array)} are not, the "
            f"first is {place(int(rows[0]))}: {array[rows[0]]}"
        )
