from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import pg_envs
from pg_envs import pixelcopter
from tests.pg_envs.tabular_examples import BANDIT, SEQUENCE

TABULAR = [BANDIT, SEQUENCE]
IDS = [*TABULAR, pixelcopter.ID, pixelcopter.TIME_LIMIT_ID]


def _python(program: str) -> str:
    """Runs a program in a fresh interpreter and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_registers_the_ids() -> None:
    program = f"""
import gymnasium, pg_envs
for env_id in {IDS}:
    gymnasium.make(env_id).reset()
"""
    assert _python(program) == ""


def test_without_the_import_the_module_form_does_it() -> None:
    # A fresh interpreter for all: gymnasium knows nothing of us before.
    program = f"""
import sys, gymnasium
for env_id in {IDS}:
    assert env_id not in gymnasium.registry
assert "pg_envs" not in sys.modules
print(gymnasium.make("pg_envs:{SEQUENCE}").spec.id)
print(gymnasium.make_vec("pg_envs:{BANDIT}", num_envs=2).num_envs)
"""
    assert _python(program).split() == [SEQUENCE, "2"]


@pytest.mark.parametrize("prefix", ["", "pg_envs:"])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("env_id", TABULAR)
def test_make_vec_is_native(env_id: str, mode: AutoresetMode, prefix: str) -> None:
    for arguments in ({}, {"vectorization_mode": "vector_entry_point"}):
        options: dict[str, Any] = {"autoreset_mode": mode, **arguments}
        env = gymnasium.make_vec(prefix + env_id, num_envs=3, **options)
        assert isinstance(env, pg_envs.TabularVectorEnv)
        assert env.spec is not None
        assert env.spec.id == env_id
        assert env.metadata["autoreset_mode"] is mode
        assert env.max_episode_steps == 100
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()


def test_sb3_subprocesses_know_the_module_form() -> None:
    """A worker that is not forked imports only the module of the id."""
    env = make_vec_env(
        f"pg_envs:{SEQUENCE}",
        n_envs=2,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "forkserver"},
    )
    try:
        assert np.asarray(env.reset()).tolist() == [[-1.0], [-1.0]]
        for actions, obs in (([2, 0], [[0.0], [-1.0]]), ([2, 1], [[1.0], [-1.0]])):
            observations, rewards, dones, _ = env.step(np.array(actions))
            assert np.asarray(observations).tolist() == obs
            np.testing.assert_allclose(rewards, -0.05)
            assert not dones.any()
        _, rewards, dones, infos = env.step(np.array([1, 1]))
        np.testing.assert_allclose(rewards, [1.0, -0.05])
        assert dones.tolist() == [True, False]
        assert infos[0]["terminal_observation"].tolist() == [1.0]
        assert infos[0]["TimeLimit.truncated"] is False
        env.env_method("set_action_probabilities", [0.2, 0.3, 0.5])
    finally:
        env.close()


@pytest.mark.parametrize("algorithm", [A2C, PPO])
@pytest.mark.parametrize(("env_id", "best"), [(BANDIT, 0), (SEQUENCE, 2)])
def test_sb3_learns(algorithm: type[A2C] | type[PPO], env_id: str, best: int) -> None:
    arguments: dict[str, Any] = {"learning_rate": 0.01, "seed": 0}
    arguments |= {"n_steps": 64, "batch_size": 64} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", f"pg_envs:{env_id}", device="cpu", **arguments)
    assert isinstance(model, BaseAlgorithm)
    before = _probability_of(model, env_id, best)
    model.learn(768)
    # Uniform at the start; after a few hundred steps it has learnt what to do there.
    assert before == pytest.approx(1 / 3, abs=0.02)
    assert _probability_of(model, env_id, best) > 0.45


def _probability_of(model: A2C | PPO, env_id: str, action: int) -> float:
    """The policy's probability of an action at the start of an episode."""
    observation, _ = gymnasium.make(env_id).reset(seed=0)
    tensor, _ = model.policy.obs_to_tensor(observation)
    with torch.no_grad():
        log_prob = model.policy.get_distribution(tensor).log_prob(torch.tensor(action))
    return float(log_prob.exp())


def test_the_import_is_light() -> None:
    """What Gymnasium has loaded, and hardly more; environments need nothing else."""
    program = f"""
import sys
import gymnasium, gymnasium.vector
before = set(sys.modules)
import pg_envs
gymnasium.make({SEQUENCE!r}).reset(seed=0)
gymnasium.make_vec({BANDIT!r}, num_envs=2).reset(seed=0)
packages = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(packages - sys.stdlib_module_names))
"""
    assert _python(program) == "lazy_loader pg_envs\n"


def test_names_that_need_torch_are_loaded_when_asked_for() -> None:
    for name in pg_envs.__all__:
        assert getattr(pg_envs, name).__name__ == name
    program = """
import sys, pg_envs
assert "torch" not in sys.modules
from pg_envs import make_torch_vec
assert "torch" in sys.modules and "stable_baselines3" not in sys.modules
"""
    assert _python(program) == ""
    with pytest.raises(AttributeError, match="pg_envs attribute nothing"):
        pg_envs.nothing  # noqa: B018
