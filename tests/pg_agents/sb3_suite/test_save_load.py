"""Model files, beyond what SB3's own tests ask of A2C."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import TrajectoryBuffer
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    VECTOR,
    same,
    sample_env,
    small,
    weights,
)


def vec_env(n_envs: int = 1) -> DummyVecEnv:
    return DummyVecEnv([lambda: sample_env(action_space=VECTOR)] * n_envs)


@pytest.mark.parametrize("agent", AGENTS)
def test_environments_can_be_replaced_and_steps_keep_counting(
    agent: Any, tmp_path: Path
) -> None:
    model = small(agent, vec_env(), n_steps=16).learn(32)
    model.set_env(vec_env(), force_reset=True)
    assert model._last_obs is None
    assert model.learn(32, reset_num_timesteps=True).num_timesteps == 32
    model.set_env(sample_env(action_space=VECTOR))
    model.learn(32)
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(vec_env(2))
    current = model.get_env()
    model.set_env(current, force_reset=False)
    assert model._last_obs is not None
    assert model.learn(32, reset_num_timesteps=False).num_timesteps == 64
    model.save(tmp_path / "model")
    kept = agent.load(tmp_path / "model", env=current, force_reset=False)
    assert kept._last_obs is not None
    assert kept.learn(32, reset_num_timesteps=False).num_timesteps == 96
    fresh = agent.load(tmp_path / "model", env=vec_env(), force_reset=True)
    assert fresh._last_obs is None
    # The steps keep counting, with a warning that the episode is another.
    with pytest.warns(UserWarning, match="is reset"):
        assert fresh.learn(32, reset_num_timesteps=False).num_timesteps == 96
    assert agent.load(tmp_path / "model", env=vec_env(2)).learn(32).n_envs == 2


class Rate:
    """A schedule whose class may be missing when the model is loaded."""

    def __call__(self, progress: float) -> float:
        return 0.25 * progress


@pytest.mark.parametrize("agent", AGENTS)
def test_an_object_that_cannot_be_unpickled_is_replaced(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(agent, vec_env(), learning_rate=Rate()).save(tmp_path / "model")
    monkeypatch.delattr(sys.modules[__name__], "Rate")
    with pytest.warns(UserWarning, match="custom_objects"):
        agent.load(tmp_path / "model")
    # As in SB3, the schedule made from the learning rate is saved too.
    replaced = {"learning_rate": 0.5, "lr_schedule": None}
    loaded = agent.load(tmp_path / "model", custom_objects=replaced)
    assert loaded.lr_schedule(1.0) == 0.5


@pytest.mark.parametrize("agent", AGENTS)
def test_files_are_closed_unless_they_are_the_callers(
    agent: Any, tmp_path: Path
) -> None:
    """A file left open raises a ResourceWarning, an error in the tests."""
    model = small(agent, vec_env())
    for path in (tmp_path / "model", str(tmp_path / "model")):
        model.save(path)
        agent.load(path)
    with tempfile.TemporaryFile() as file:
        model.save(file)
        file.seek(0)
        assert same(weights(model), weights(agent.load(file)))
        assert not file.closed


@pytest.mark.parametrize("agent", AGENTS)
def test_learning_rates_are_plain_floats(agent: Any, tmp_path: Path) -> None:
    model = small(
        agent, vec_env(), learning_rate=lambda progress: progress * np.sin(1.0)
    )
    model.save(tmp_path / "model")
    for each in (model, agent.load(tmp_path / "model")):
        assert type(each.lr_schedule(1.0)) is float
        assert each.lr_schedule(0.5) == pytest.approx(0.5 * np.sin(1.0))


@pytest.mark.parametrize("agent", AGENTS)
def test_net_arch_none_is_the_default(agent: Any, tmp_path: Path) -> None:
    model = agent("MlpPolicy", vec_env(), policy_kwargs={"net_arch": None})
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model")
    assert loaded.policy.net_arch is not None
    widths = [len(value) for name, value in weights(loaded).items() if "bias" in name]
    assert widths[:2] == [64, 64]


@pytest.mark.parametrize("agent", AGENTS)
def test_schedules_come_back(agent: Any, tmp_path: Path) -> None:
    schedules: dict[str, Any] = {
        "learning_rate": lambda _: 0.001,
        "clip_range": LinearSchedule(0.3, 0.1, 1.0),
        "ent_coef": lambda progress: 0.01 * progress,
    }
    model = small(agent, vec_env(), **schedules)
    model.learn(16).save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model", env=vec_env()).learn(16)
    for name in schedules:
        for progress in (1.0, 0.3):
            expected = getattr(model, name)(progress)
            assert getattr(loaded, name)(progress) == expected


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
            small(agent, rollout_buffer_class=wrong)
    kwargs: dict[str, Any] = {"rollout_buffer_kwargs": {"label": "mine"}}
    model = small(
        agent, rollout_buffer_class=LabelledBuffer, n_steps=16, **kwargs
    ).learn(16)
    model.save(tmp_path / "model")
    assert agent.load(tmp_path / "model").rollout_buffer.label == "mine"
    with pytest.raises(ValueError, match="rollout_buffer_class must be a subclass"):
        agent.load(tmp_path / "model", rollout_buffer_class=SB3Buffer)
