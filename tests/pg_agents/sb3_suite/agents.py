"""Agents, spaces and helpers that the tests of SB3's interface share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.logger import KVWriter, Logger
from torch import Tensor, equal

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.envs import SampleEnv

AGENTS = [REINFORCE, ActorCritic]
# A cheap network.
SMALL: dict[str, Any] = {"net_arch": [8]}

VECTOR = spaces.Box(-1.0, 1.0, (2,), np.float32)
TWO = spaces.Discrete(2)
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
IMAGE_LAST = spaces.Box(0, 255, (36, 36, 1), np.uint8)


def sample_env(
    observation_space: spaces.Space[Any] = VECTOR,
    action_space: spaces.Space[Any] = TWO,
    length: int = 8,
    truncates: bool = False,
) -> SampleEnv:
    """Returns an environment that checks space and dtype of its actions."""
    return SampleEnv(observation_space, action_space, [length], truncates)


def small(agent: Any, env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> Any:
    """Returns a model with a cheap network and a seed."""
    kwargs = {"policy_kwargs": SMALL, "seed": 0, **kwargs}
    return agent(policy, sample_env() if env is None else env, **kwargs)


def weights(model: Any) -> dict[str, Tensor]:
    """Returns a copy."""
    return copy.deepcopy(model.policy.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)


class Rows(KVWriter):
    """Collects (step, row) of everything that is logged."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        self.rows.append((step, dict(key_values)))

    def close(self) -> None:
        """Nothing to close."""


def rows_of(model: Any) -> Rows:
    """Sets a logger and returns the rows that it collects."""
    rows = Rows()
    model.set_logger(Logger(folder=None, output_formats=[rows]))
    return rows
