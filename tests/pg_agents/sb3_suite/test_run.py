"""Lengths of runs and action spaces, beyond what SB3's own tests ask of A2C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.baselines import standardize
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    SMALL,
    VECTOR,
    VECTOR64,
    sample_env,
)


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
