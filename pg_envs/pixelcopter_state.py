"""The state of Pixelcopters as plain data, and the picture of one of them as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_envs import pixelcopter_games as games
from pg_envs import pixelcopter_rules as rules
from pg_envs.pixelcopter_games import Array, Copters
from pg_envs.rendering.pixelcopter_scene import PixelcopterSnapshot
from pg_envs.state import check_state, column

# What is kept; the other rows of `Copters.numbers` follow from these.
_ROWS = {
    "y": games.Y,
    "momentum": games.MOMENTUM,
    "ceiling": games.CEILING,
    "floor": games.FLOOR,
    "block_x": games.BLOCK_X,
    "block_y": games.BLOCK_Y,
    "passed_x": games.PASSED_X,
    "passed_y": games.PASSED_Y,
}


def game_columns(
    copters: Copters, to_numpy: Callable[[Any], NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Returns all that decides how games go on.

    Args:
        copters: the games.
        to_numpy: copies an array of theirs to NumPy.

    Returns:
        By name, `[N]` float64 each, `clock` `[N]` int64 and `centres`
        `[N, SLOTS]` int32.
    """
    columns = {name: to_numpy(copters.numbers[row]) for name, row in _ROWS.items()}
    columns["clock"] = to_numpy(copters.clock)
    columns["centres"] = to_numpy(games.centres_of(copters.corridors))
    return columns


def checked_columns(
    given: Any,  # noqa: ANN401
    num_envs: int,
    others: dict[str, type[np.generic]],
) -> dict[str, NDArray[Any]]:
    """Returns copies of the columns of a state, once they are known to be right.

    Args:
        given: what `game_columns` returned, and further columns.
        num_envs: N.
        others: names and types of the further columns, `[N]` each.

    Raises:
        TypeError: if it is no dict.
        ValueError: if a column is missing or unknown, or holds what can't be.
    """
    dtypes: dict[str, type[np.generic]] = dict.fromkeys(_ROWS, np.float64)
    dtypes |= {"clock": np.int64, **others}
    check_state(given, {}, {*dtypes, "centres"})
    columns: dict[str, NDArray[Any]] = {
        name: column(name, given[name], num_envs, dtype)
        for name, dtype in dtypes.items()
    }
    clock: NDArray[Any] = columns["clock"]
    last = len(rules.schedule().fresh) - 2
    if ((clock < 0) | (clock > last)).any():
        raise ValueError(
            f"state['clock'] must be integers from 0 to {last}, got {clock.tolist()}"
        )
    columns["centres"] = _checked_centres(given["centres"], num_envs)
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise ValueError(f"state[{name!r}] must be finite, got {values.tolist()}")
    return columns


def _checked_centres(given: object, num_envs: int) -> NDArray[Any]:
    shape = num_envs, rules.SLOTS
    if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != (
        shape,
        np.int32,
    ):
        raise ValueError(f"state['centres'] must be an array {list(shape)} of int32")
    highest, lowest = rules.HIGHEST_CENTRE, rules.LOWEST_CENTRE
    if ((given < highest) | (given > lowest)).any():
        raise ValueError(
            f"state['centres'] must be from {highest} to {lowest}, got {given.min()} "
            f"to {given.max()}"
        )
    return given.copy()


def put_columns(
    copters: Copters, columns: dict[str, NDArray[Any]], everyone: Array
) -> None:
    """Puts back what `game_columns` returned, in place.

    Args:
        copters: the games.
        columns: by name, checked.
        everyone: all environments, see `Arrays`.
    """
    table, numbers = copters.arrays.table, copters.numbers
    for name, row in _ROWS.items():
        numbers[row][:] = table(columns[name])
    copters.distance[:] = copters.block_x - rules.PLAYER_X
    numbers[games.BLOCK_BOTTOM][:] = copters.block_y + rules.BLOCK_HEIGHT
    copters.clock[:] = table(columns["clock"])
    games.put_centres(copters, everyone, table(columns["centres"]))


def snapshot(
    copters: Copters, i: int, score: float, step: int, terminated: bool
) -> PixelcopterSnapshot:
    """Returns what a picture of game i shows.

    Args:
        copters: the games.
        i: which of them.
        score: sum of the rewards of its episode.
        step: steps of its episode.
        terminated: whether it has crashed.
    """
    numbers = copters.numbers[:, i].tolist()
    corridors = copters.corridors[i : i + 1]
    centres = games.centres_of(corridors)[0].tolist()
    x = rules.schedule().x[int(copters.clock[i])].tolist()
    columns = [
        (int(place), int(centre))
        for place, centre in zip(x, centres, strict=True)
        if -rules.COLUMN_WIDTH < place < rules.SIDE + rules.COLUMN_WIDTH
    ]
    blocks = [
        (int(numbers[row_x]), int(numbers[row_y]))
        for row_x, row_y in (
            (games.BLOCK_X, games.BLOCK_Y),
            (games.PASSED_X, games.PASSED_Y),
        )
    ]
    y = numbers[games.Y]
    return PixelcopterSnapshot(
        int(y), tuple(columns), tuple(blocks), score, step, terminated
    )
