"""What a reader of SB3's rollout buffer finds, before, during and after a rollout."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from tests.pg_agents.algorithms.argument_examples import make_env


def test_a_buffer_that_nobody_described_knows_its_rows_alone() -> None:
    buffer = TrajectoryBuffer()
    assert (buffer.pos, buffer.size(), len(buffer), buffer.full) == (0, 0, 0, False)
    for name in ("buffer_size", "n_envs", "obs_shape", "action_dim", "gamma"):
        assert getattr(buffer, name) is None, name
    with pytest.raises(AttributeError, match="no column 'next_values'"):
        buffer.next_values  # noqa: B018


def test_rows_are_counted_while_they_come() -> None:
    model = ActorCritic("MlpPolicy", make_env("scalar", 2), n_steps=4)
    buffer, counted = model.rollout_buffer, []

    def look(_locals: object, _globals: object) -> bool:
        counted.append((buffer.pos, buffer.size(), buffer.buffer_size))
        return True

    model.learn(8, look)
    assert counted == [(row, row, 4) for row in range(4)]
    assert (buffer.pos, buffer.full, buffer.n_envs) == (4, True, 2)


def test_the_size_of_a_rollout_of_episodes_is_known_when_it_is_complete() -> None:
    model = REINFORCE("MlpPolicy", make_env("box actions", 1), n_episodes=2)
    assert model.rollout_buffer.buffer_size is None
    model.learn(1)
    assert model.rollout_buffer.buffer_size == 6


def test_the_discount_is_the_one_that_the_returns_were_made_with() -> None:
    model = ActorCritic("MlpPolicy", make_env("scalar", 1), gamma=0.9, gae_lambda=0.8)
    assert (model.rollout_buffer.gamma, model.rollout_buffer.gae_lambda) == (0.9, 0.8)
    model.gamma = 0.5
    model.learn(5)
    assert model.rollout_buffer.gamma == 0.5


def test_columns_are_named_by_dir() -> None:
    model = ActorCritic("MlpPolicy", make_env("scalar", 1)).learn(5)
    buffer = model.rollout_buffer
    assert {"rewards", "returns", "episode_starts", "next_values"} <= set(dir(buffer))
    assert "values" not in dir(TrajectoryBuffer())
    np.testing.assert_array_equal(copy.deepcopy(buffer).rewards, buffer.rewards)


def test_sample_draws_recorded_steps_with_replacement() -> None:
    model = ActorCritic("MlpPolicy", make_env("box actions", 2), n_steps=3).learn(6)
    np.random.seed(0)
    sample = model.rollout_buffer.sample(200)
    assert len(sample) == 200
    stored = model.rollout_buffer.batch().actions
    assert {tuple(row) for row in sample.actions.tolist()} == {
        tuple(row) for row in stored.tolist()
    }
    tensor = model.rollout_buffer.to_torch(np.ones(2))
    assert torch.equal(tensor, torch.ones(2).double())
