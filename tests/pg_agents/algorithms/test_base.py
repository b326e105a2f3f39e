"""SB3's interface: learn, save, load, logs and callbacks."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
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
def test_learn_returns_the_model_after_total_timesteps(agent: Any) -> None:
    model = agent("MlpPolicy", SEQUENCE, seed=0)
    assert model.learn(100) is model
    assert 100 <= model.num_timesteps < 100 + 100


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


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"text.zip is no checkpoint: expected a zip"):
        REINFORCE.load(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(ValueError, match=r"empty.zip is no checkpoint"):
        REINFORCE.load(tmp_path / "empty.zip")
    with pytest.raises(FileNotFoundError):
        REINFORCE.load(tmp_path / "missing")


def test_a_model_can_be_saved_to_an_open_file() -> None:
    file = io.BytesIO()
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0)
    model.save(file)
    file.seek(0)
    assert equal(weights(model), weights(REINFORCE.load(file)))


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


def test_logs_have_the_keys_of_a2c() -> None:
    keys = {
        agent.__name__: set().union(*logged(agent("MlpPolicy", SEQUENCE), 200))
        for agent in (A2C, ActorCritic, REINFORCE)
    }
    assert keys["A2C"] <= keys["ActorCritic"]
    of_the_critic = {"train/value_loss", "train/explained_variance"}
    assert keys["ActorCritic"] - of_the_critic <= keys["REINFORCE"]


def test_the_last_update_is_logged() -> None:
    rows = logged(REINFORCE("MlpPolicy", SEQUENCE, seed=0), 300, log_interval=1000)
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0).learn(300)
    assert rows[-1]["train/n_updates"] == model._n_updates > 1


def test_the_progress_of_a_learning_rate_runs_from_1_to_0() -> None:
    model = ActorCritic("MlpPolicy", ScriptedEnv([5]), learning_rate=lambda p: 0.1 * p)
    rows = logged(model, 20, log_interval=1)
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    np.testing.assert_allclose(rates, [0.075, 0.05, 0.025, 0.0], atol=1e-9)


def test_evaluate_policy_works() -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE, seed=0)
    assert model.env is not None
    mean, _ = evaluate_policy(model, model.env, n_eval_episodes=3)
    assert isinstance(mean, float)


def test_the_progress_bar_goes_with_other_callbacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One callback, a list of them, a function, or none."""

    class Callback(BaseCallback):
        def _on_step(self) -> bool:
            return True

    for callback in (None, Callback(), [Callback(), Callback()], lambda *_: True):
        model = REINFORCE("MlpPolicy", SEQUENCE, seed=0)
        model.learn(50, callback=callback, progress_bar=True)  # type: ignore[arg-type]
    assert "running" in capsys.readouterr().err


def test_set_env_needs_the_same_spaces_and_number() -> None:
    model = REINFORCE("MlpPolicy", SEQUENCE)
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(gymnasium.make("CartPole-v1"))
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(DummyVecEnv([lambda: gymnasium.make(SEQUENCE)] * 2))


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize("shape", [(1,), (2, 2)])
def test_continuous_actions_can_have_any_shape(
    agent: Any, shape: tuple[int, ...]
) -> None:
    env = ScriptedEnv([3])
    env.action_space = gymnasium.spaces.Box(-1.0, 1.0, shape)  # type: ignore[assignment]
    model = agent("MlpPolicy", env, seed=0).learn(12)
    action, _ = model.predict(np.zeros(2, dtype=np.float32))
    assert action.shape == shape


def test_gsde_with_new_noise_per_rollout_and_every_few_steps() -> None:
    for every in (-1, 2):
        model = REINFORCE(
            "MlpPolicy", "Pendulum-v1", use_sde=True, sde_sample_freq=every, seed=0
        )
        model.learn(1)
        assert model._n_updates == 1


def test_squashed_actions_reach_the_bounds_of_the_space() -> None:
    model = REINFORCE(
        "MlpPolicy",
        "Pendulum-v1",
        use_sde=True,
        seed=0,
        policy_kwargs={"squash_output": True, "log_std_init": 2.0},
    )
    actions: list[float] = []

    def on_step(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        actions.append(float(variables["clipped_actions"][0, 0]))
        return True

    model.learn(1, callback=on_step)
    # Pendulum's torque is in [-2, 2], a squashed action in [-1, 1].
    assert 1.0 < np.abs(actions).max() <= 2.0
