"""RandomAgent: uniform random actions, and no learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from pg_agents import RandomAgent
from tests.pg_agents.envs import ScriptedEnv


@pytest.mark.parametrize(
    "policy", ["MlpPolicy", "TabularPolicy", "CnnPolicy", "MultiInputPolicy"]
)
def test_it_accepts_every_name_of_a_policy(policy: str) -> None:
    model = RandomAgent(policy, ScriptedEnv([3]), seed=0).learn(10)
    assert model.num_timesteps == 10
    assert model.ep_info_buffer is not None
    assert [info["l"] for info in model.ep_info_buffer] == [3, 3, 3]


def test_random_cartpole_lasts_22_steps() -> None:
    """About 22 steps, standard deviation 12: 4 standard errors over 200 episodes."""
    model = RandomAgent("MlpPolicy", "CartPole-v1", seed=0)
    assert model.env is not None
    mean, _ = evaluate_policy(model, model.env, n_eval_episodes=200)
    assert isinstance(mean, float)
    assert abs(mean - 22.2) < 4 * 12 / 200**0.5


def test_actions_depend_on_the_seed() -> None:
    def actions(seed: int) -> list[int]:
        model = RandomAgent("MlpPolicy", ScriptedEnv([3]), seed=seed)
        observations = np.zeros((20, 2), dtype=np.float32)
        return list(model.predict(observations, deterministic=True)[0])

    assert actions(1) == actions(1)
    assert actions(1) != actions(2)


def test_continuous_actions_cover_the_space() -> None:
    env = ScriptedEnv([3])
    env.action_space = spaces.Box(-2.0, 2.0, (3,))  # type: ignore[assignment]
    model = RandomAgent("MlpPolicy", env, seed=0).learn(6)
    action, _ = model.predict(np.zeros((500, 2), dtype=np.float32))
    assert action.shape == (500, 3)
    assert np.abs(action).max() > 1.9


def test_learning_changes_nothing() -> None:
    model = RandomAgent("MlpPolicy", ScriptedEnv([3]), seed=0)
    assert list(model.policy.parameters()) == []
    model.learn(5)
    assert isinstance(model.policy(torch.zeros((4, 2)))[0], torch.Tensor)
