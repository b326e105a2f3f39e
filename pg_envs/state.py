"""The state of an environment as plain data: what get_state() and set_state() share.

Plain data is numbers, strings, None, NumPy arrays, and dicts of them: it can be pickled
without any class of this package, and says what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pg_envs.mdp import TabularMDP
from pg_envs.rendering.scene import Snapshot

# The tables never change, and those of Taxi take 30 ms.
_DIGESTS: WeakKeyDictionary[TabularMDP, str] = WeakKeyDictionary()


def digest(mdp: TabularMDP) -> str:
    """Returns the SHA-256 of all that decides what happens and what is seen."""
    if mdp not in _DIGESTS:
        _DIGESTS[mdp] = _digest(mdp)
    return _DIGESTS[mdp]


def _digest(mdp: TabularMDP) -> str:
    sha = hashlib.sha256()
    tables = (
        mdp.transition,
        mdp.reward,
        mdp.terminal,
        mdp.initial_distribution,
        mdp.observations,
    )
    for table in tables:
        sha.update(f"{table.shape} {table.dtype.str}".encode())
        sha.update(np.ascontiguousarray(table).tobytes())
    sha.update(f"{mdp.reward_noise} {float(mdp.noise_scale)!r}".encode())
    return sha.hexdigest()


def check_state(given: object, expected: Mapping[str, Any], names: set[str]) -> None:
    """Raises unless a state has the right parts and is of the same environment.

    Args:
        given: what was handed to `set_state`.
        expected: parts that say which environment it is; they have to be equal.
        names: the other parts that have to be there.

    Raises:
        TypeError: if it is no dict.
        ValueError: if parts are missing or unknown, or it is of another environment.
    """
    if not isinstance(given, dict):
        raise TypeError(
            f"state must be a dict as get_state() returns, got {type(given).__name__}"
        )
    accepted = names | set(expected)
    if set(given) != accepted:
        raise ValueError(
            f"state must have the parts {', '.join(sorted(accepted))}, as get_state() "
            f"returns, got {', '.join(sorted(map(str, given)))}"
        )
    for name, value in expected.items():
        if given[name] != value:
            raise ValueError(
                f"state is one of another environment: its {name} is {given[name]!r}, "
                f"here it is {value!r}"
            )


def generator_from(given: Any) -> np.random.Generator:  # noqa: ANN401
    """Returns a generator in a given state.

    Args:
        given: `bit_generator.state` of a generator of Gymnasium's.

    Raises:
        ValueError: if it is no such state.
    """
    bits = np.random.PCG64(0)
    try:
        bits.state = given
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(
            "state['generator'] must be the state of a PCG64, as get_state() returns, "
            f"got {given!r}"
        ) from error
    return np.random.Generator(bits)


def check_index(name: str, given: object, below: int) -> None:
    """Raises a ValueError unless a value is None or an integer from 0 to below - 1."""
    is_integer = isinstance(given, int) and not isinstance(given, bool)
    if given is not None and not (is_integer and 0 <= given < below):  # type: ignore[operator]
        raise ValueError(
            f"state[{name!r}] must be None or an integer from 0 to {below - 1}, got "
            f"{given!r}"
        )


def column(
    name: str, given: object, n: int, dtype: type[np.generic]
) -> NDArray[np.generic]:
    """Returns a copy of a column `[n]`; raises a ValueError if it is none."""
    if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != ((n,), dtype):
        found = (
            f"{list(given.shape)} {given.dtype}"
            if isinstance(given, np.ndarray)
            else repr(given)
        )
        raise ValueError(
            f"state[{name!r}] must be an array [{n}] of {np.dtype(dtype)}, got {found}"
        )
    return given.copy()


def snapshot_data(snapshot: Snapshot | None) -> dict[str, Any] | None:
    """Returns a snapshot as plain data."""
    return None if snapshot is None else asdict(snapshot)


def snapshot_from(given: Any, n_states: int, n_actions: int) -> Snapshot | None:  # noqa: ANN401
    """Returns the snapshot that `snapshot_data` made plain.

    Raises:
        ValueError: if it is not one, or names a state or action that there is not.
    """
    if given is None:
        return None
    try:
        snapshot = Snapshot(**given)
    except TypeError as error:
        raise ValueError(
            "state['snapshot'] must be None or the fields of a Snapshot, as "
            f"get_state() returns, got {given!r}"
        ) from error
    check_index("snapshot", snapshot.state, n_states)
    check_index("snapshot", snapshot.previous_state, n_states)
    check_index("snapshot", snapshot.action, n_actions)
    return snapshot
