"""Players of Pixelcopter for tests: by a simple rule, and by looking ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_envs.pixelcopter import game


def careful(obs: Any) -> NDArray[np.int64]:
    """Aims at the middle of the gap, or past the next block on the wider side.

    Args:
        obs: observations `[N, 7]`, as an array or as lists.

    Returns:
        Actions `[N]`.
    """
    y, momentum, above, below, distance, block, _ = np.asarray(obs, np.float64).T
    ceiling, floor = y - above, y + below
    middle = (ceiling + floor) / 2
    over, under = (ceiling + block - 4) / 2 + 1, (floor + block + 5) / 2
    aim = np.where(distance < 26, np.where(block > middle, over, under), middle)
    # Predicted a few steps ahead, since the player falls slowly and climbs fast.
    return np.where(y + 6 * momentum > aim + 1, game.UP, game.NOOP)
