"""The rollout buffer: what SB3's test_buffers asks of A2C."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from pg_agents import REINFORCE, TrajectoryBuffer
from tests.pg_agents.sb3_suite.agents import AGENTS, SMALL, sample_env


def build(agent: Any, **kwargs: Any) -> Any:
    given = {"n_steps": 16, "policy_kwargs": SMALL, **kwargs}
    return agent("MlpPolicy", sample_env(), **given)


class Kept(TrajectoryBuffer):
    """A user's own buffer, with an argument of its own."""

    def __init__(self, device: Any, *, label: str) -> None:
        super().__init__(device)
        self.label = label


# test_buffers::test_custom_rollout_buffer
@pytest.mark.parametrize("agent", AGENTS)
def test_sb3s_buffers_mean_the_ordinary_one(agent: Any) -> None:
    for given in (None, RolloutBuffer):
        model = build(agent, rollout_buffer_class=given, rollout_buffer_kwargs={})
        assert type(model.learn(16).rollout_buffer) is TrajectoryBuffer
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        build(agent, rollout_buffer_kwargs={"wrong": 1})
    for name in ("gamma", "gae_lambda", "n_envs", "buffer_size", "device"):
        with pytest.raises(TypeError, match=f"multiple values .* argument '{name}'"):
            build(agent, rollout_buffer_kwargs={name: 1})
    with pytest.raises(AssertionError, match="must be used with Dict obs space only"):
        build(agent, rollout_buffer_class=DictRolloutBuffer)


class Edited(RolloutBuffer):
    """A buffer of SB3's kind."""


# test_buffers::test_custom_rollout_buffer
@pytest.mark.parametrize("agent", AGENTS)
def test_a_users_buffer_extends_ours(agent: Any, tmp_path: Any) -> None:
    for given in (Edited, dict, "RolloutBuffer", TrajectoryBuffer("cpu")):
        with pytest.raises(ValueError, match="rollout_buffer_class must be a subclass"):
            build(agent, rollout_buffer_class=given)
    kwargs = {"rollout_buffer_kwargs": {"label": "mine"}}
    model = build(agent, rollout_buffer_class=Kept, **kwargs).learn(16)
    model.save(tmp_path / "model")
    assert agent.load(tmp_path / "model").rollout_buffer.label == "mine"
    with pytest.raises(ValueError, match="rollout_buffer_class must be a subclass"):
        agent.load(tmp_path / "model", rollout_buffer_class=Edited)


def test_a_buffer_knows_its_size() -> None:
    model = build(REINFORCE, n_steps=12).learn(12)
    assert model.rollout_buffer.size() == len(model.rollout_buffer.rewards) == 12
