"""Runs and spaces: what SB3's test_run, test_spaces and test_predict ask of A2C."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.baselines import standardize
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    SMALL,
    THREE,
    VECTOR,
    VECTOR64,
    same,
    sample_env,
    weights,
)


# test_run::test_a2c
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_discrete_and_continuous_actions(agent: Any, env_id: str) -> None:
    model = agent("MlpPolicy", env_id, seed=0, policy_kwargs=SMALL)
    before = weights(model)
    model.learn(64)
    assert not same(before, weights(model))
    assert all(torch.isfinite(value).all() for value in weights(model).values())


def test_actor_critic_stops_with_the_rollout_that_reaches_the_steps() -> None:
    model = ActorCritic("MlpPolicy", sample_env(), n_steps=5, policy_kwargs=SMALL)
    assert model.learn(10).num_timesteps == 10
    assert model.learn(11).num_timesteps == 15
    assert model.learn(1, reset_num_timesteps=False).num_timesteps == 20


def test_reinforce_stops_with_the_episodes_that_reach_the_steps() -> None:
    model = REINFORCE("MlpPolicy", sample_env(length=8), policy_kwargs=SMALL)
    assert model.learn(16).num_timesteps == 16
    assert model.learn(17).num_timesteps == 24
    assert model.learn(1, reset_num_timesteps=False).num_timesteps == 32


@pytest.mark.parametrize("agent", AGENTS)
def test_an_environment_that_never_ends_does_not_hang(agent: Any) -> None:
    env = sample_env(length=0)
    model = agent("MlpPolicy", env, policy_kwargs=SMALL, max_episode_steps=20)
    if agent is REINFORCE:
        with pytest.warns(UserWarning, match="still running after 20 steps"):
            model.learn(30)
        assert model.num_timesteps == 40
    else:
        assert model.learn(30).num_timesteps == 30


# test_run::test_advantage_normalization
@pytest.mark.parametrize("normalize_advantage", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_advantages_are_standardised_if_asked(
    agent: Any, normalize_advantage: bool
) -> None:
    model = agent(
        "MlpPolicy",
        "CartPole-v1",
        n_steps=64,
        normalize_advantage=normalize_advantage,
        policy_kwargs=SMALL,
        seed=0,
    ).learn(64)
    advantages = model.rollout_buffer.batch().advantages
    standard = standardize(advantages)
    assert bool((advantages - standard).abs().max() < 1e-4) == normalize_advantage


# test_spaces::test_action_spaces, test_spaces::test_float64_action_space
@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiBinary(3),
        VECTOR,
        VECTOR64,
        spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "observation_space",
    [VECTOR64, spaces.Dict({"a": VECTOR, "b": VECTOR64})],
    ids=["float64", "dict"],
)
@pytest.mark.parametrize("agent", AGENTS)
def test_actions_arrive_in_their_space_and_dtype(
    agent: Any, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> None:
    env = sample_env(observation_space, action_space)
    of_dict = isinstance(observation_space, spaces.Dict)
    policy = "MultiInputPolicy" if of_dict else "MlpPolicy"
    model = agent(policy, env, n_steps=16, policy_kwargs=SMALL)
    # The environment refuses actions of another space or dtype.
    model.learn(32)
    action, _ = model.predict(env.reset()[0], deterministic=False)
    assert np.asarray(action).dtype == action_space.dtype
    assert action_space.contains(action)


# test_spaces::test_discrete_obs_space
@pytest.mark.parametrize("agent", AGENTS)
def test_discrete_observations_are_one_hot(agent: Any) -> None:
    env = DummyVecEnv([lambda: sample_env(spaces.Discrete(7))] * 2)
    model = agent("MlpPolicy", env, n_steps=8, policy_kwargs=SMALL).learn(32)
    observation, _ = model.policy.obs_to_tensor(np.arange(7))
    features = model.policy.extract_features(
        observation, model.policy.pi_features_extractor
    )
    np.testing.assert_array_equal(features, np.eye(7))


# test_spaces::test_multidim_binary_not_supported
@pytest.mark.parametrize("agent", AGENTS)
def test_tables_of_binary_actions_are_refused(agent: Any) -> None:
    env = sample_env(action_space=spaces.MultiBinary([2, 3]))
    with pytest.raises(AssertionError, match="Multi-dimensional MultiBinary"):
        agent("MlpPolicy", env)


# test_predict::test_auto_wrap, test_utils::test_env_auto_monitor_wrap
@pytest.mark.parametrize(
    "env",
    ["Pendulum-v1", sample_env(), Monitor(sample_env())],
    ids=["id", "plain", "monitored"],
)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_single_environment_is_wrapped_and_monitored_once(
    agent: Any, env: Any
) -> None:
    model = agent("MlpPolicy", env)
    wrapped = model.get_env()
    assert isinstance(wrapped, DummyVecEnv) and wrapped.num_envs == 1
    assert wrapped.env_is_wrapped(Monitor) == [True]
    inner: Any = wrapped.envs[0]
    assert not isinstance(inner.env, Monitor)


# test_predict::test_predict
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize("agent", AGENTS)
def test_predicts_for_one_environment_and_for_several(agent: Any, env_id: str) -> None:
    model = agent("MlpPolicy", env_id, device="auto", policy_kwargs=SMALL)
    assert model.policy.device == model.device
    space = model.action_space
    env = gymnasium.make(env_id)
    action, state = model.predict(env.reset(seed=0)[0])
    assert isinstance(action, np.ndarray) and space.contains(action) and state is None
    several = np.stack([env.reset(seed=seed)[0] for seed in range(3)])
    actions, _ = model.predict(several, deterministic=True)
    assert actions.shape == (3, *space.shape)
    for seen, action in zip(several, actions, strict=True):
        alone = model.predict(seen, deterministic=True)[0]
        np.testing.assert_allclose(action, alone, rtol=1e-5, atol=1e-6)


class MyBox(spaces.Box):
    """A user's own kind of space."""


# test_predict::test_subclassed_space_env
@pytest.mark.parametrize("agent", AGENTS)
def test_a_subclass_of_a_space_is_that_space(agent: Any) -> None:
    box = MyBox(-1.0, 1.0, (2,), np.float32)
    env = sample_env(box, box)
    model = agent("MlpPolicy", env, policy_kwargs=SMALL).learn(20)
    assert box.contains(model.predict(env.reset()[0])[0])


# test_predict::test_mixing_gym_vecenv_api
@pytest.mark.parametrize("agent", AGENTS)
def test_what_reset_returns_is_no_observation(agent: Any) -> None:
    env = sample_env(action_space=THREE)
    with pytest.raises(ValueError, match="mixing Gym API"):
        agent("MlpPolicy", env).predict(env.reset())
