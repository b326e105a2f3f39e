"""Environments that reuse arrays."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.vec_env.arrays import copied


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
