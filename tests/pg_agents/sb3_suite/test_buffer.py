"""Custom rollout buffers."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.buffers import RolloutBuffer

from pg_agents import REINFORCE, TrajectoryBuffer
from tests.pg_agents.sb3_suite.agents import AGENTS, SMALL, sample_env


def build(agent: Any, **kwargs: Any) -> Any:
    kwargs = {"n_steps": 16, "policy_kwargs": SMALL, **kwargs}
    return agent("MlpPolicy", sample_env(), **kwargs)


class LabelledBuffer(TrajectoryBuffer):
    """A user's buffer with an argument."""

    def __init__(self, device: Any, *, label: str) -> None:
        super().__init__(device)
        self.label = label


class SB3Buffer(RolloutBuffer):
    """A subclass of SB3's buffer."""


@pytest.mark.parametrize("agent", AGENTS)
def test_custom_buffers_extend_trajectory_buffer(agent: Any, tmp_path: Any) -> None:
    for wrong in (SB3Buffer, dict, "RolloutBuffer", TrajectoryBuffer("cpu")):
        with pytest.raises(ValueError, match="rollout_buffer_class must be a subclass"):
            build(agent, rollout_buffer_class=wrong)
    kwargs = {"rollout_buffer_kwargs": {"label": "mine"}}
    model = build(agent, rollout_buffer_class=LabelledBuffer, **kwargs).learn(16)
    model.save(tmp_path / "model")
    assert agent.load(tmp_path / "model").rollout_buffer.label == "mine"
    with pytest.raises(ValueError, match="rollout_buffer_class must be a subclass"):
        agent.load(tmp_path / "model", rollout_buffer_class=SB3Buffer)


def test_a_buffer_knows_its_size() -> None:
    model = build(REINFORCE, n_steps=12).learn(12)
    assert model.rollout_buffer.size() == len(model.rollout_buffer.rewards) == 12
