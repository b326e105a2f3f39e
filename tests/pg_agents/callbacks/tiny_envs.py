"""Environments whose episodes are written out in advance."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.type_aliases import GymEnv

Observation = NDArray[np.float32]


class ScriptedEnv(gym.Env[Observation, np.int64]):
    """Plays the given rewards, whatever the actions, then starts again."""

    def __init__(
        self, episodes: list[list[float]], reward_threshold: float | None = None
    ) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.spec = EnvSpec(
            "Scripted-v0", entry_point="x:y", reward_threshold=reward_threshold
        )
        self.episodes = episodes
        self.episode = -1
        self.step_number = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = (self.episode + 1) % len(self.episodes)
        self.step_number = 0
        return self._observation(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        rewards = self.episodes[self.episode]
        reward = rewards[self.step_number]
        self.step_number += 1
        ended = self.step_number == len(rewards)
        return self._observation(), reward, ended, False, {}

    def _observation(self) -> Observation:
        return np.array([0.5, -0.1 * (self.step_number % 10)], np.float32)


def a2c(env: GymEnv | str) -> A2C:
    """A small A2C that updates every 5 steps of each environment."""
    return A2C("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]})


def ppo(env: GymEnv | str) -> PPO:
    """A small PPO that updates every 5 steps of each environment."""
    return PPO("MlpPolicy", env, n_steps=5, batch_size=5, seed=0, device="cpu")
