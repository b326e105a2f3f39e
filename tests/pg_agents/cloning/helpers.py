"""Environments, models, demonstrations and policies for the tests of cloning."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from pg_agents import Demonstrations, record_demonstrations

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
TWO = spaces.Discrete(2)
ARM = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([3.0, 1.0], np.float32))
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
PAIR = spaces.Dict({"place": BOX, "room": spaces.Discrete(3)})


class AnySpacesEnv(gymnasium.Env[Any, Any]):
    """Random observations, a reward of 1 a step, episodes of five steps.

    Args:
        observation_space: any space.
        action_space: any space; an action outside it is an error.
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


def weights(model: BaseAlgorithm) -> dict[str, Tensor]:
    """Returns a copy."""
    return copy.deepcopy(model.policy.state_dict())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def assert_close(one: BaseAlgorithm, other: BaseAlgorithm, atol: float = 1e-4) -> None:
    for name, value in weights(one).items():
        torch.testing.assert_close(value, weights(other)[name], rtol=1e-3, atol=atol)


def a2c(
    observation_space: spaces.Space[Any] = BOX,
    action_space: spaces.Space[Any] = TWO,
    policy: str = "MlpPolicy",
    **kwargs: Any,
) -> A2C:
    env = AnySpacesEnv(observation_space, action_space)
    return A2C(policy, env, seed=0, device="cpu", **kwargs)


def sampled(
    observation_space: spaces.Space[Any] = BOX,
    action_space: spaces.Space[Any] = TWO,
    n_steps: int = 60,
) -> Demonstrations:
    """Random observations, all with the same action."""
    action_space.seed(3)
    action = action_space.sample()
    env = AnySpacesEnv(observation_space, action_space)
    return record_demonstrations(env, lambda _: action, n_steps=n_steps, seed=0)


class Noisy(BaseFeaturesExtractor):
    """Batch norm and dropout, which differ between training and evaluation mode."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 2)
        self.body = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))

    def forward(self, observations: Tensor) -> Tensor:
        out: Tensor = self.body(observations)
        return out
