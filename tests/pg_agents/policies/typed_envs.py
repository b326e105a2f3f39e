"""Environments of any spaces, single and vectorised, that record actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

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


class TypedVectorEnv(VectorEnv[Any, Any, Any]):
    """Several at once, on NumPy or torch.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        mode: autoreset mode.
        reset_mask: whether partial resets are supported.
        as_tensors: whether it takes and returns tensors.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        mode: AutoresetMode,
        reset_mask: bool = True,
        as_tensors: bool = False,
    ) -> None:
        self.num_envs, self.mode, self.as_tensors = N_ENVS, mode, as_tensors
        self.metadata = {"autoreset_mode": mode, "reset_mask": reset_mask}
        if as_tensors:
            self.metadata["torch"], self.device = True, torch.device("cpu")
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, N_ENVS)
        self.action_space = batch_space(action_space, N_ENVS)
        self.envs = [
            TypedEnv(observation_space, action_space, i) for i in range(N_ENVS)
        ]
        self.ended = np.zeros(N_ENVS, np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(N_ENVS, np.bool_))
        mask = np.asarray(mask)
        for env, chosen in zip(self.envs, mask, strict=True):
            if chosen:
                env.reset()
        self.ended = self.ended & ~mask
        return self._batch([env.shown[-1] for env in self.envs]), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert isinstance(actions, torch.Tensor) == self.as_tensors, type(actions)
        final = {}
        truncated = np.zeros(N_ENVS, np.bool_)
        rows = actions.numpy() if self.as_tensors else actions
        for i, env in enumerate(self.envs):
            if self.mode is AutoresetMode.NEXT_STEP and self.ended[i]:
                env.reset()
                continue
            _, _, _, truncated[i], _ = env.step(rows[i])
            final[i] = env.shown[-1]
            if self.mode is AutoresetMode.SAME_STEP and truncated[i]:
                env.reset()
        self.ended = truncated.copy()
        obs = [env.shown[-1] for env in self.envs]
        infos: dict[str, Any] = {}
        if self.mode is AutoresetMode.SAME_STEP and truncated.any():
            infos["final_obs"] = self._batch([final[i] for i in range(N_ENVS)])
            infos["_final_obs"] = self._values(truncated)
        ones = np.ones(N_ENVS, np.float32)
        return (
            self._batch(obs),
            self._values(ones),
            self._values(np.zeros(N_ENVS, np.bool_)),
            self._values(truncated),
            infos,
        )

    def _batch(self, rows: list[Any]) -> Any:
        if isinstance(rows[0], dict):
            return {key: self._batch([row[key] for row in rows]) for key in rows[0]}
        return self._values(np.stack(rows))

    def _values(self, values: NDArray[Any]) -> Any:
        return torch.as_tensor(values) if self.as_tensors else values


def _native(**kwargs: Any) -> Callable[[Space, Space], Any]:
    return lambda obs_space, action_space: TypedVectorEnv(
        obs_space, action_space, **kwargs
    )


def _makers(obs_space: Space, action_space: Space) -> list[Callable[[], Any]]:
    return [lambda i=i: TypedEnv(obs_space, action_space, i) for i in range(N_ENVS)]  # type: ignore[misc]


# Every kind of environment that an agent accepts.
WAYS: dict[str, Callable[[Space, Space], Any]] = {
    "single": TypedEnv,
    "dummy": lambda obs_space, action_space: DummyVecEnv(
        _makers(obs_space, action_space)
    ),
    "sync": lambda obs_space, action_space: SyncVectorEnv(
        _makers(obs_space, action_space)
    ),
    "same_step": _native(mode=AutoresetMode.SAME_STEP),
    "next_step": _native(mode=AutoresetMode.NEXT_STEP),
    "dummy_steps": _native(mode=AutoresetMode.NEXT_STEP, reset_mask=False),
    "disabled": _native(mode=AutoresetMode.DISABLED),
    "torch": _native(mode=AutoresetMode.SAME_STEP, as_tensors=True),
}


def typed_envs(env: Any) -> list[TypedEnv]:
    """Returns the single environments of one of `WAYS`."""
    return [env] if isinstance(env, TypedEnv) else list(env.envs)
