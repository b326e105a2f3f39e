"""The buffer keeps facts, and hands out what was recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents import TrajectoryBuffer
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.learning.advantages import estimate_advantages

VALUES = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
REWARDS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
# Environment 0 is truncated in row 1, environment 1 terminates in row 0.
TERMINATED = np.array([[0, 1], [0, 0], [0, 0]], dtype=np.bool_)
TRUNCATED = np.array([[0, 0], [1, 0], [0, 0]], dtype=np.bool_)
RECORDED = np.array([[1, 1], [1, 0], [1, 1]], dtype=np.bool_)


def filled_buffer() -> TrajectoryBuffer:
    buffer = TrajectoryBuffer()
    for t in range(3):
        buffer.add(
            observations=np.full((2, 3), t, dtype=np.float32),
            actions=np.array([t, 10 + t]),
            rewards=REWARDS[t],
            terminated=TERMINATED[t],
            truncated=TRUNCATED[t],
            recorded=RECORDED[t],
            episode_steps=np.array([t, 0]),
            values=VALUES[t],
            log_probs=torch.zeros(2),
            final_obs=np.full((2, 3), 99.0) if t == 1 else None,
        )
    return buffer


def finished_buffer(**settings: Any) -> TrajectoryBuffer:
    buffer = filled_buffer()
    config = PolicyGradientConfig(gamma=0.5, n_steps=3, baseline="value", **settings)
    states = buffer.bootstrap_states(np.full((2, 3), 3.0))
    rollout = buffer.collected(states, None)
    next_values = states.successor_values(
        rollout.values, torch.tensor([7.0, 8.0, 50.0])
    )
    rollout = replace(rollout, next_values=next_values)
    buffer.complete(rollout, *estimate_advantages(rollout, config))
    return buffer


def test_rewards_at_a_time_limit_stay_what_the_environment_gave() -> None:
    """SB3's buffer adds gamma * V to them."""
    buffer = finished_buffer(estimator="td")
    np.testing.assert_array_equal(buffer.rewards, REWARDS)
    assert isinstance(buffer.rewards, np.ndarray)


@pytest.mark.parametrize(
    "rewards", [np.array([0.1, 2.0]), torch.tensor([0.1, 2.0], dtype=torch.double)]
)
def test_rewards_in_double_precision_are_kept_in_single(rewards: Any) -> None:
    """SubprocVecEnv's are such."""
    buffer = TrajectoryBuffer()
    buffer.add(
        observations=np.zeros((2, 3), dtype=np.float32),
        actions=np.zeros(2, dtype=np.int64),
        rewards=rewards,
        terminated=np.zeros(2, dtype=np.bool_),
        truncated=np.zeros(2, dtype=np.bool_),
        episode_steps=np.zeros(2, dtype=np.int64),
    )
    assert buffer.column("rewards").dtype is torch.float32
    np.testing.assert_array_equal(buffer.rewards, np.array([[0.1, 2.0]], np.float32))


def test_the_successor_of_a_truncated_state_is_what_was_seen_last() -> None:
    buffer = finished_buffer(estimator="td")
    states = buffer.bootstrap_states(np.full((2, 3), 3.0))
    assert states.observations.tolist() == [[3.0] * 3, [3.0] * 3, [99.0] * 3]
    assert states.rows.tolist() == [1] and states.envs.tolist() == [0]
    assert buffer.next_values.tolist() == [[3.0, 4.0], [50.0, 6.0], [7.0, 8.0]]
    # r + gamma * v', and the reward alone where the episode terminated.
    assert buffer.returns[:, 0].tolist() == [1 + 1.5, 3 + 25.0, 5 + 3.5]
    assert buffer.returns[0, 1] == 2.0


def test_batch_holds_the_recorded_steps_in_order_of_time() -> None:
    batch = finished_buffer(estimator="td").batch()
    assert batch.actions.tolist() == [0, 10, 1, 2, 12]
    assert batch.observations.shape == (5, 3)
    assert batch.n_samples == 5
    assert batch.old_values.tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]
    torch.testing.assert_close(batch.advantages, batch.returns - batch.old_values)


def test_a_step_that_is_not_recorded_counts_for_nothing() -> None:
    buffer = finished_buffer(estimator="gae")
    assert buffer.advantages[1, 1] == buffer.returns[1, 1] == 0.0


def test_columns_read_from_outside_are_arrays_of_rows_and_environments() -> None:
    buffer = finished_buffer(estimator="gae")
    for name in ("rewards", "values", "log_probs", "returns", "advantages", "actions"):
        column = getattr(buffer, name)
        assert isinstance(column, np.ndarray), name
        assert column.shape == (3, 2), name
    assert buffer.observations.shape == (3, 2, 3)
    starts = [[True, True], [False, True], [False, True]]
    assert buffer.episode_starts.tolist() == starts


def test_rows_are_copies() -> None:
    buffer = TrajectoryBuffer()
    rewards = np.zeros(1, dtype=np.float32)
    no = np.zeros(1, dtype=np.bool_)
    buffer.add(
        observations=np.zeros((1, 1)),
        actions=np.zeros(1),
        rewards=rewards,
        terminated=no,
        truncated=no,
        recorded=~no,
        episode_steps=np.zeros(1, dtype=np.int64),
        values=torch.zeros(1),
        log_probs=torch.zeros(1),
    )
    rewards[0] = 5.0
    assert buffer.rewards[0, 0] == 0.0


def test_an_incomplete_rollout_is_not_learnt_from() -> None:
    buffer = filled_buffer()
    assert not buffer.full
    assert len(buffer) == 3
    with pytest.raises(RuntimeError, match="rollout is not complete"):
        buffer.batch()


def test_reset_forgets_everything() -> None:
    buffer = finished_buffer(estimator="gae")
    buffer.reset()
    assert len(buffer) == 0
    assert not buffer.full
    with pytest.raises(AttributeError, match="no column 'rewards'"):
        buffer.rewards  # noqa: B018


def test_an_unknown_column_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'reward'"):
        finished_buffer(estimator="gae").reward  # type: ignore[attr-defined] # noqa: B018
