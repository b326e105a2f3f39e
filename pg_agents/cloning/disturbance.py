"""Noise on what a demonstrator's actions become, so that it shows how to come back."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents.common.checks import check_not_negative


class Disturbance:
    """Adds Gaussian noise to actions, and clips them to their space.

    Args:
        space: of the actions.
        noise: standard deviation, in units of an action; 0 changes nothing.
        seed: of the noise; None for an unknown one.

    Raises:
        ValueError: if `noise` is negative, or not 0 and the actions are no real
            numbers.
    """

    def __init__(
        self, space: spaces.Space[Any], noise: float, seed: int | None
    ) -> None:
        check_not_negative("noise", noise)
        real = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
        if noise > 0 and not real:
            raise ValueError(
                f"noise={noise} needs actions that are real numbers, a Box of floats, "
                f"got {space}"
            )
        self._space, self._noise = space, noise
        self._rng = np.random.default_rng(seed)

    def __call__(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Returns what is executed of actions `[N, *action_shape]`: a new array."""
        if self._noise == 0:
            return actions
        assert isinstance(self._space, spaces.Box), "checked before"
        moved = actions + self._noise * self._rng.standard_normal(actions.shape)
        low, high = self._space.low, self._space.high
        return np.clip(moved, low, high).astype(actions.dtype)
