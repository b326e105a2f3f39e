"""Native vector environments of single ones, and environments that reuse arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.vec_env.arrays import copied


class NativeVectorEnv(VectorEnv[Any, Any, Any]):
    """Steps single environments by hand, on NumPy or torch.

    Args:
        envs: with equal spaces.
        mode: autoreset mode.
        reset_mask: whether partial resets are supported.
        as_tensors: whether it takes and returns tensors.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env[Any, Any]],
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        reset_mask: bool = True,
        as_tensors: bool = False,
    ) -> None:
        self.envs, self.num_envs = list(envs), len(envs)
        self.mode, self.as_tensors = mode, as_tensors
        self.metadata = {"autoreset_mode": mode, "reset_mask": reset_mask}
        if as_tensors:
            self.metadata["torch"], self.device = True, torch.device("cpu")
        self.single_observation_space = envs[0].observation_space
        self.single_action_space = envs[0].action_space
        self.observation_space = batch_space(envs[0].observation_space, len(envs))
        self.action_space = batch_space(envs[0].action_space, len(envs))
        self.obs: list[Any] = [None] * len(envs)
        self.ended = np.zeros(len(envs), np.bool_)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._reset(np.asarray(mask))
        return self._batch(self.obs), {}

    def step(self, actions: Any) -> Any:
        assert isinstance(actions, torch.Tensor) == self.as_tensors, type(actions)
        rewards = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        dummy = self.ended & (self.mode is AutoresetMode.NEXT_STEP)
        self._reset(dummy)
        for i in np.flatnonzero(~dummy):
            results = self.envs[i].step(np.asarray(actions)[i])
            self.obs[i], rewards[i], terminated[i], truncated[i], _ = results
        self.ended = terminated | truncated
        infos: dict[str, Any] = {}
        if self.mode is AutoresetMode.SAME_STEP and self.ended.any():
            infos["final_obs"] = self._batch(self.obs)
            infos["_final_obs"] = self.ended
            self._reset(self.ended)
        obs = self._batch(self.obs)
        return tuple(map(self._values, (obs, rewards, terminated, truncated, infos)))

    def _reset(self, mask: Any) -> None:
        for i in np.flatnonzero(mask):
            self.obs[i], _ = self.envs[i].reset()
        self.ended = self.ended & ~mask

    def _batch(self, rows: list[Any]) -> Any:
        if isinstance(rows[0], dict):
            return {key: self._batch([row[key] for row in rows]) for key in rows[0]}
        return self._values(np.stack(rows))

    def _values(self, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: self._values(value) for key, value in values.items()}
        return torch.as_tensor(values) if self.as_tensors else values


class Walk(gymnasium.Env[Any, Any]):
    """The observation is [position, steps]; terminates beyond 1, or is truncated.

    Args:
        limit: steps until truncation.
    """

    observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, limit: int = 3) -> None:
        self.limit, self.episode = limit, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.position, self.steps = 0.05 * self.episode % 0.5, 0
        self.episode += 1
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        momentum = 0.4 * float(action) - 0.1
        self.position += momentum
        self.steps += 1
        terminated = self.position > 1.0
        truncated = not terminated and self.steps >= self.limit
        reward = 2.0 * self.position - 0.3 * self.steps
        info = {"momentum": np.array([momentum])}
        return self._obs(), reward, terminated, truncated, info

    def _obs(self) -> Any:
        return np.array([self.position, self.steps], np.float32)


class OtherVecEnv(DummyVecEnv):
    """An SB3 vector environment of an unknown class."""


def reusing(env: Any) -> Any:
    """Makes an environment return the same arrays and dicts from every call."""
    memory: dict[tuple[Any, ...], Any] = {}

    def reused(values: Any, key: tuple[Any, ...]) -> Any:
        if isinstance(values, list):
            return [reused(value, (*key, i)) for i, value in enumerate(values)]
        if isinstance(values, dict):
            store = memory.setdefault(key, {})
            store.clear()
            store.update({k: reused(v, (*key, k)) for k, v in values.items()})
            return store
        if isinstance(values, np.ndarray | torch.Tensor):
            store = memory.setdefault(key, copied(values))
            store[...] = values
            return store
        return values

    def patched(method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            results = method(*args, **kwargs)
            for store in memory.values():
                if not isinstance(store, dict):
                    store[...] = 0
            if not isinstance(results, tuple):
                return reused(results, ("obs",))
            # Observations of step() and reset() share an array.
            keys = [("obs",), *((len(results), i) for i in range(1, len(results)))]
            return tuple(map(reused, results, keys))

        return call

    env.reset = patched(env.reset)
    name = "step_wait" if isinstance(env, DummyVecEnv) else "step"
    setattr(env, name, patched(getattr(env, name)))
    return env
