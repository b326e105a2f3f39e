"""Models and demonstrations that the tests of cloning share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, equal

from pg_agents import Demonstrations, record_demonstrations
from tests.pg_agents.cloning.any_spaces import AnySpacesEnv

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
TWO = spaces.Discrete(2)
ARM = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([3.0, 1.0], np.float32))
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
PAIR = spaces.Dict({"place": BOX, "room": spaces.Discrete(3)})


def weights(model: BaseAlgorithm) -> dict[str, Tensor]:
    """Returns a copy."""
    return copy.deepcopy(model.policy.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(equal(one[name], other[name]) for name in one)


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
    """Random observations, and one and the same action."""
    action_space.seed(3)
    action = action_space.sample()
    env = AnySpacesEnv(observation_space, action_space)
    return record_demonstrations(env, lambda _: action, n_steps=n_steps, seed=0)
