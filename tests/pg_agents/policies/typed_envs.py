"""Environments of any spaces, single and vectorised, that record actions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.pg_agents.vec_env.native_envs import NativeVectorEnv

Space = spaces.Space[Any]
N_ENVS, LENGTH = 2, 3


def sample_at(space: Space, env: int, time: int) -> Any:
    """Returns the observation of an environment after `time` steps and resets."""
    space.seed(1000 * env + time)
    return space.sample()


class TypedEnv(gymnasium.Env[Any, Any]):
    """Episodes truncated after three steps; asserts that actions are in the space.

    Args:
        observation_space: any space.
        action_space: any space.
        number: index among several environments.
    """

    def __init__(
        self, observation_space: Space, action_space: Space, number: int = 0
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.number, self.time, self.steps = number, -1, 0
        self.received: list[Any] = []
        self.shown: list[Any] = []
        # Observations before each action.
        self.acted_on: list[Any] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        action = np.asarray(action)
        assert self.action_space.contains(action), (action, self.action_space)
        assert action.dtype == self.action_space.dtype
        self.received.append(action.copy())
        self.acted_on.append(self.shown[-1])
        self.steps += 1
        return self._obs(), 1.0, False, self.steps == LENGTH, {}

    def _obs(self) -> Any:
        self.time += 1
        self.shown.append(sample_at(self.observation_space, self.number, self.time))
        return self.shown[-1]


def _makers(obs_space: Space, action_space: Space) -> list[Callable[[], Any]]:
    return [partial(TypedEnv, obs_space, action_space, i) for i in range(N_ENVS)]


def _native(**kwargs: Any) -> Callable[..., Any]:
    return lambda *both: NativeVectorEnv([make() for make in _makers(*both)], **kwargs)


# Every kind of environment that an agent accepts, by observation and action space.
WAYS: dict[str, Callable[[Space, Space], Any]] = {
    "single": TypedEnv,
    "dummy": lambda *both: DummyVecEnv(_makers(*both)),
    "sync": lambda *both: SyncVectorEnv(_makers(*both)),
    "same_step": _native(mode=AutoresetMode.SAME_STEP),
    "next_step": _native(mode=AutoresetMode.NEXT_STEP),
    "dummy_steps": _native(mode=AutoresetMode.NEXT_STEP, reset_mask=False),
    "disabled": _native(mode=AutoresetMode.DISABLED),
    "torch": _native(mode=AutoresetMode.SAME_STEP, as_tensors=True),
}


def typed_envs(env: Any) -> list[TypedEnv]:
    """Returns the single environments of one of `WAYS`."""
    return [env] if isinstance(env, TypedEnv) else list(env.envs)
