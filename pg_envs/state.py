"""Checks of the states that `get_state` returns and `set_state` restores.

A state is plain data: numbers, strings, None, NumPy arrays and dicts of these. It can
be unpickled without this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pg_envs.mdp import TabularMDP

# Computing the digest of Taxi takes 30 ms, and tables never change.
_DIGESTS: WeakKeyDictionary[TabularMDP, str] = WeakKeyDictionary()


def digest(mdp: TabularMDP) -> str:
    """Returns the SHA-256 of everything in an MDP but the names of actions."""
    if mdp not in _DIGESTS:
        sha = hashlib.sha256()
        for table in (
            mdp.transition,
            mdp.reward,
            mdp.terminal,
            mdp.initial_distribution,
            mdp.observations,
        ):
            sha.update(f"{table.shape} {table.dtype.str}".encode())
            sha.update(np.ascontiguousarray(table).tobytes())
        sha.update(f"{mdp.reward_noise} {float(mdp.noise_scale)!r}".encode())
        _DIGESTS[mdp] = sha.hexdigest()
    return _DIGESTS[mdp]


def check_state(state: object, expected: Mapping[str, Any], names: set[str]) -> None:
    """Checks the parts of a state, and that it is of the same environment.

    Args:
        state: the argument of `set_state`.
        expected: parts that identify the environment, with the values required.
        names: the other parts.

    Raises:
        TypeError: if the state is no dict.
        ValueError: if parts are missing, unknown or of another environment.
    """
    if not isinstance(state, dict):
        raise TypeError(
            f"state must be a dict as get_state() returns, got {type(state).__name__}"
        )
    accepted = names | set(expected)
    if set(state) != accepted:
        raise ValueError(
            f"state must have the parts {', '.join(sorted(accepted))}, as get_state() "
            f"returns, got {', '.join(sorted(map(str, state)))}"
        )
    for name, value in expected.items():
        if state[name] != value:
            raise ValueError(
                f"state is one of another environment: its {name} is {state[name]!r}, "
                f"here it is {value!r}"
            )


def check_columns(
    columns: Any,  # noqa: ANN401
    templates: Mapping[str, NDArray[Any]],
    bounds: Mapping[str, tuple[int, int]],
) -> dict[str, NDArray[Any]]:
    """Returns copies of the columns of a state.

    Args:
        columns: arrays by name.
        templates: by name, an array of the shape and dtype required.
        bounds: for columns of whole numbers, the lowest and the highest one allowed.

    Raises:
        TypeError: if the columns are no dict.
        ValueError: if a column is missing or unknown, has another shape or dtype, is
            not finite, or out of range.
    """
    check_state(columns, {}, set(templates))
    for name, template in templates.items():
        array, place = columns[name], f"state['columns'][{name!r}]"
        if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (
            template.shape,
            template.dtype,
        ):
            found = (
                f"{list(array.shape)} of {array.dtype}"
                if isinstance(array, np.ndarray)
                else repr(array)
            )
            raise ValueError(
                f"{place} must be an array {list(template.shape)} of {template.dtype}, "
                f"got {found}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{place} must be finite, got {array.tolist()}")
        low, high = bounds.get(name, (-np.inf, np.inf))
        is_whole = name not in bounds or (array == np.trunc(array)).all()
        if not (is_whole and ((array >= low) & (array <= high)).all()):
            raise ValueError(
                f"{place} must be integers from {low} to {high}, got {array.tolist()}"
            )
    return {name: columns[name].copy() for name in templates}


def check_index(name: str, value: object, size: int) -> None:
    """Raises a ValueError unless a value is None or an integer from 0 to size - 1."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_integer and 0 <= value < size):  # type: ignore[operator]
        raise ValueError(
            f"state[{name!r}] must be None or an integer from 0 to {size - 1}, got "
            f"{value!r}"
        )


def generator_from_state(state: Any) -> np.random.Generator:  # noqa: ANN401
    """Returns a generator in a given state of its PCG64.

    Raises:
        ValueError: if it is no such state.
    """
    bit_generator = np.random.PCG64(0)
    try:
        bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(
            "state['generator'] must be the state of a PCG64, as get_state() returns, "
            f"got {state!r}"
        ) from error
    return np.random.Generator(bit_generator)
