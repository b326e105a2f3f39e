"""Both agents learn SB3's identity tasks and the value of an endless task."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.sb3_suite.agents import AGENTS, VECTOR, small

IDENTITY: dict[str, Any] = {
    "discrete": lambda: IdentityEnv(4, ep_length=10),
    "multi_discrete": lambda: IdentityEnvMultiDiscrete(4, ep_length=10),
    "multi_binary": lambda: IdentityEnvMultiBinary(4, ep_length=10),
    # Actions within 0.5 of the observation in [-1, 1] pay: 0 pays half of the time.
    "box": lambda: IdentityEnvBox(eps=0.5, ep_length=10),
}


def identity(name: str) -> DummyVecEnv:
    """Returns environments that pay 1 for the action that equals the observation."""

    def made(seed: int) -> Any:
        env = IDENTITY[name]()
        # Observations are drawn from the action space, which reset() does not seed.
        env.action_space.seed(seed)
        return env

    return DummyVecEnv([partial(made, seed) for seed in range(16)])


@pytest.mark.parametrize("name", ["discrete", "multi_binary", "multi_discrete"])
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_to_repeat_the_observation(agent: Any, name: str) -> None:
    env = identity(name)
    # RMSprop's first steps are ten times as large as Adam's.
    rate = 0.004 if agent is ActorCritic else 0.01
    model = agent("MlpPolicy", env, gamma=0.0, learning_rate=rate, seed=3)
    before = evaluate_policy(model, env, 16, warn=False)[0]
    model.learn(16 * 300)
    after = evaluate_policy(model, env, 16, warn=False)[0]
    assert before < 6.0  # type: ignore[operator]
    assert after > 8.0  # type: ignore[operator]
    obs = env.envs[0].reset()[0]
    assert np.shape(model.predict(obs)[0]) == np.shape(obs)


@pytest.mark.parametrize("agent", AGENTS)
def test_learns_to_repeat_a_number(agent: Any) -> None:
    env = identity("box")
    kwargs = {"net_arch": [16], "log_std_init": -0.5}
    model = agent(
        "MlpPolicy", env, gamma=0.0, learning_rate=0.01, seed=0, policy_kwargs=kwargs
    )
    model.learn(16 * 300)
    assert evaluate_policy(model, env, 16, warn=False)[0] > 9.0  # type: ignore[operator]


class Endless(gymnasium.Env[Any, Any]):
    """Pays 1 a step, never ends, and always returns the same observation."""

    observation_space = spaces.Discrete(1)
    action_space = VECTOR

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        return 0, 1.0, False, False, {}


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        (ActorCritic, {}),
        (REINFORCE, {"n_steps": 5, "baseline": "value", "bootstrap": True}),
    ],
)
def test_a_time_limit_does_not_change_the_value_of_an_endless_task(
    agent: Any, settings: Any
) -> None:
    env = DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(Endless(), 8)] * 8)
    kwargs = {"net_arch": [16]}
    model = agent(
        "MlpPolicy",
        env,
        gamma=0.9,
        learning_rate=0.01,
        seed=1,
        policy_kwargs=kwargs,
        **settings,
    ).learn(8 * 5 * 100)
    obs, _ = model.policy.obs_to_tensor(np.array([0]))
    # 1 + 0.9 + 0.81 + ... = 10; eight steps alone are worth 5.7.
    assert model.policy.predict_values(obs).item() == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize(
    ("agent", "settings", "length"),
    # A rollout of 5 steps; an episode of 8.
    [(ActorCritic, {"n_steps": 5}, 5), (REINFORCE, {}, 8)],
)
def test_learn_stops_with_the_rollout_that_reaches_the_steps(
    agent: Any, settings: dict[str, Any], length: int
) -> None:
    model = small(agent, **settings)
    assert model.learn(2 * length).num_timesteps == 2 * length
    assert model.learn(2 * length + 1).num_timesteps == 3 * length
    assert model.learn(1, reset_num_timesteps=False).num_timesteps == 4 * length
