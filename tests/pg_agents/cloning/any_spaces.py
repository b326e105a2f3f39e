"""An environment of any spaces, for models that need one to be built."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces


class AnySpacesEnv(gymnasium.Env[Any, Any]):
    """Random observations, a reward of 1 a step, episodes of five steps.

    Args:
        observation_space: any.
        action_space: any; an action outside it is an error.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 5, False, {}
