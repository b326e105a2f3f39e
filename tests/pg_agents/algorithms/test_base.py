"""SB3's interface: learn, save, load, logs and callbacks."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, ActorCritic, RandomAgent
from tests.pg_agents.envs import ScriptedEnv

SEQUENCE = "pg_envs:PGToy-Sequence-v0"
AGENTS = [REINFORCE, ActorCritic, RandomAgent]
LEARNERS = [REINFORCE, ActorCritic]


class RecordLogs(KVWriter):
    """Stores what the logger writes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        """Nothing to close."""


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.clone() for name, p in model.policy.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_repr_of_a_model_is_one_line(agent: Any) -> None:
    model = (
        agent("MlpPolicy", SEQUENCE, n_steps=5)
        if agent is ActorCritic
        else agent("MlpPolicy", SEQUENCE)
    )
    model.learn(5)
    policy = type(model.policy).__name__
    steps = model.num_timesteps
    assert repr(model) == (
        f"{agent.__name__}({policy}, 1 environment of PGToy-Sequence-v0, "
        f"{steps} steps trained)"
    )
    vector = agent("MlpPolicy", gymnasium.make_vec("CartPole-v1", num_envs=3))
    assert ", 3 environments of CartPole-v1, 0 steps trained)" in repr(vector)


def test_a_model_without_policy_or_environment_has_a_repr() -> None:
    model = REINFORCE("MlpPolicy", None, _init_setup_model=False)
    assert repr(model) == "REINFORCE(no policy yet, 0 steps trained)"


@pytest.mark.parametrize("agent", AGENTS)
def test_a_loaded_model_predicts_the_same(agent: Any, tmp_path: Path) -> None:
    model = agent("MlpPolicy", SEQUENCE, seed=0).learn(50)
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model")
    assert equal(weights(model), weights(loaded))
    if agent is not RandomAgent:
        obs = np.linspace(-1, 1, 7, dtype=np.float32)[:, None]
        first, _ = model.predict(obs, deterministic=True)
        second, _ = loaded.predict(obs, deterministic=True)
        np.testing.assert_array_equal(first, second)
    loaded.set_env(gymnasium.make(SEQUENCE))
    loaded.learn(20)


@pytest.mark.parametrize("agent", LEARNERS)
def test_attributes_of_a_checkpoint_contain_no_tensors_or_generators(
    agent: Any, tmp_path: Path
) -> None:
    """SB3 pickles everything in `__dict__` that is not excluded."""
    model = agent("MlpPolicy", SEQUENCE, seed=0).learn(50)
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))
    assert "rollout_buffer" not in data
    assert "policy" not in data
    pickled = [
        name
        for name, value in data.items()
        if isinstance(value, dict)
        and ":serialized:" in value
        and any(word in value[":type:"] for word in ("Tensor", "Generator"))
    ]
    assert pickled == []
    # Nor in pickled lists and dataclasses.
    with_tensors = [
        name
        for name, value in data.items()
        if isinstance(value, dict)
        and b"_rebuild_tensor" in base64.b64decode(value.get(":serialized:", ""))
    ]
    assert with_tensors == []


@pytest.mark.parametrize("agent", AGENTS)
def test_a_checkpoint_of_another_class_is_refused(agent: Any, tmp_path: Path) -> None:
    for other in (*AGENTS, A2C):
        if other is agent:
            continue
        other("MlpPolicy", SEQUENCE).save(tmp_path / "other")
        by = other.__name__ if other is not A2C else "a class that is not one of"
        message = f"was saved by {by}.*{agent.__name__}.load accepts"
        with pytest.raises(ValueError, match=message):
            agent.load(tmp_path / "other")


def test_a_subclass_loads_a_checkpoint_of_its_base(tmp_path: Path) -> None:
    class Subclass(REINFORCE):
        pass

    REINFORCE("MlpPolicy", SEQUENCE).save(tmp_path / "model")
    assert isinstance(Subclass.load(tmp_path / "model"), Subclass)


@pytest.mark.parametrize("agent", LEARNERS)
def test_set_parameters_copies_the_weights_of_another_model(agent: Any) -> None:
    model = agent("MlpPolicy", SEQUENCE, seed=0).learn(50)
    other = agent("MlpPolicy", SEQUENCE, seed=1)
    assert not equal(weights(model), weights(other))
    other.set_parameters(model.get_parameters())
    assert equal(weights(model), weights(other))


def logged(model: Any, steps: int, **arguments: Any) -> list[dict[str, Any]]:
    writer = RecordLogs()
    model.set_logger(Logger(None, [writer]))
    model.learn(steps, **arguments)
    return writer.rows


def test_the_last_update_is_logged() -> None:
    rows = logged(REINFORCE("MlpPolicy", SEQUENCE, seed=0), 300, log_interval=1000)
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0).learn(300)
    assert rows[-1]["train/n_updates"] == model._n_updates > 1


def test_the_progress_of_a_learning_rate_runs_from_1_to_0() -> None:
    model = ActorCritic("MlpPolicy", ScriptedEnv([5]), learning_rate=lambda p: 0.1 * p)
    rows = logged(model, 20, log_interval=1)
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    np.testing.assert_allclose(rates, [0.075, 0.05, 0.025, 0.0], atol=1e-9)


def test_set_env_needs_the_same_spaces_and_number() -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE)
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(gymnasium.make("CartPole-v1"))
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(DummyVecEnv([lambda: gymnasium.make(SEQUENCE)] * 2))
