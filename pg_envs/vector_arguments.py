"""What every vector environment asks of its arguments: refusals that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

AUTORESET_MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


def check_count(name: str, given: int) -> None:
    """Raises a ValueError naming argument and value unless it is an integer >= 1."""
    if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {given!r}")


def checked_autoreset_mode(given: AutoresetMode | str) -> AutoresetMode:
    """Returns the mode, by its name too; raises a ValueError if it is not served."""
    accepted = {mode.value: mode for mode in AUTORESET_MODES}
    mode = accepted.get(given.value if isinstance(given, AutoresetMode) else given)
    if mode is None:
        raise ValueError(
            f"autoreset_mode must be one of {', '.join(accepted)}, got {given!r}"
        )
    return mode


def checked_mask(mask: object, num_envs: int, is_reset: bool) -> NDArray[np.bool_]:
    """Returns a `reset_mask` as an array `[N]`.

    Raises:
        ResetNeeded: if there has been no whole reset yet.
        ValueError: if it is not `[N]` bool.
    """
    if not is_reset:
        raise ResetNeeded("reset_mask was given before the first whole reset()")
    given = np.asarray(mask)
    if given.shape != (num_envs,) or given.dtype != np.bool_:
        raise ValueError(
            f"reset_mask must be [{num_envs}] bool, got {list(given.shape)} "
            f"{given.dtype}"
        )
    return given


def checked_actions(actions: object, num_envs: int, n_actions: int) -> NDArray[Any]:
    """Returns actions as an array `[N]` of integers from 0 to A - 1.

    Raises:
        InvalidAction: if they are none.
    """
    given = np.asarray(actions)
    if given.shape != (num_envs,) or given.dtype.kind not in "iu":
        raise InvalidAction(
            f"actions must be {num_envs} integers, one per environment, got shape "
            f"{list(given.shape)} of {given.dtype}"
        )
    if ((given < 0) | (given >= n_actions)).any():
        raise InvalidAction(
            f"actions must be integers from 0 to {n_actions - 1}, got {given.min()} to "
            f"{given.max()}"
        )
    return given
