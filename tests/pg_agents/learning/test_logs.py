"""What is logged of an update."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.utils import explained_variance as of_sb3

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.learner import explained_variance


@pytest.mark.parametrize("seed", range(3))
def test_explained_variance_is_sb3s(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, targets = torch.randn((2, 50), generator=generator)
    expected = of_sb3(values.numpy(), targets.numpy())
    assert explained_variance(values, targets).item() == pytest.approx(expected, 1e-5)


def test_of_equal_targets_nothing_is_explained() -> None:
    assert math.isnan(explained_variance(torch.tensor([1.0, 2.0]), torch.ones(2)))


@pytest.mark.parametrize("algorithm", [A2C, ActorCritic, REINFORCE])
@pytest.mark.parametrize("log_interval", [1, 3, 100, None])
def test_what_the_last_update_logged_can_be_read_after_learn(
    algorithm: Any, log_interval: int | None
) -> None:
    """As in A2C, which leaves it unwritten; ours is written out as well."""
    model = algorithm("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    model.learn(60, log_interval=log_interval)
    logged = model.logger.name_to_value
    assert logged["train/n_updates"] == model._n_updates
    names = {"train/n_updates", "train/entropy_loss", "train/learning_rate"}
    assert names <= logged.keys()
