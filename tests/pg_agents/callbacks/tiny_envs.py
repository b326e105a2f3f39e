"""Environments whose episodes are written out in advance."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.type_aliases import GymEnv

from tests.pg_agents import envs


class ScriptedEnv(envs.ScriptedEnv):
    """Pays the given rewards of each episode, whatever the actions, then repeats."""

    def __init__(
        self, episodes: list[list[float]], reward_threshold: float | None = None
    ) -> None:
        super().__init__([len(rewards) for rewards in episodes])
        self.action_space = spaces.Discrete(3)
        self.spec = EnvSpec(
            "Scripted-v0", entry_point="x:y", reward_threshold=reward_threshold
        )
        self.episodes = episodes

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, _, *end, info = super().step(action)
        rewards = self.episodes[self.episode % len(self.episodes)]
        terminated, truncated = end
        return obs, rewards[self.steps - 1], terminated, truncated, info

    def _observation(self) -> Any:
        return np.array([0.5, -0.1 * (self.steps % 10)], np.float32)


def a2c(env: GymEnv | str) -> A2C:
    """A small A2C that updates every 5 steps of each environment."""
    return A2C("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [8]})


def ppo(env: GymEnv | str) -> PPO:
    """A small PPO that updates every 5 steps of each environment."""
    return PPO("MlpPolicy", env, n_steps=5, batch_size=5, seed=0, device="cpu")
