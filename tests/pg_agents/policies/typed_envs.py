"""Environments of any spaces, single and vectorised, that record actions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.pg_agents.envs import NativeVectorEnv, SampleEnv

Space = spaces.Space[Any]
N_ENVS, LENGTH = 2, 3


def sample_at(space: Space, env: int, time: int) -> Any:
    """Returns the observation of an environment after `time` steps and resets."""
    space.seed(1000 * env + time)
    return space.sample()


class TypedEnv(SampleEnv):
    """Episodes truncated after three steps; records observations and actions.

    Args:
        observation_space: any space.
        action_space: any space; actions are asserted to be in it.
        number: index among several environments.
    """

    def __init__(
        self, observation_space: Space, action_space: Space, number: int = 0
    ) -> None:
        super().__init__(observation_space, action_space, [LENGTH], truncates=True)
        self.number, self.time = number, -1
        self.received: list[Any] = []
        self.shown: list[Any] = []
        # Observations before each action.
        self.acted_on: list[Any] = []

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.received.append(np.array(action))
        self.acted_on.append(self.shown[-1])
        return super().step(np.asarray(action))

    def _observation(self) -> Any:
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
