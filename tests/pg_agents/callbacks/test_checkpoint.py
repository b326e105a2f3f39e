"""Checkpoints of runs that are stopped, killed or damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium import wrappers
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pg_agents import REINFORCE, ActorCritic, as_vec_env
from pg_agents.callbacks import (
    KeepCheckpoints,
    newest_checkpoint,
    remaining_timesteps,
    resume,
)
from pg_agents.callbacks.checkpoint import NORMALIZATION, checkpoints
from pg_agents.checkpoint.archive import with_manifest
from tests.pg_agents.callbacks import killed_run
from tests.pg_agents.checkpoint.foreign import UNKNOWN_CLASS, UNKNOWN_MODULE, foreign
from tests.pg_agents.checkpoint.resuming_examples import (
    MAKERS,
    assert_same,
    equal,
    remains,
    scramble,
    single,
)


def new(agent: Any, env: Any, **arguments: Any) -> Any:
    kwargs = {"net_arch": [8]}
    return agent("MlpPolicy", env, seed=3, policy_kwargs=kwargs, **arguments)


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


class StopAt(BaseCallback):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps < self.steps


def test_it_saves_at_rollout_starts_and_keeps_the_last_files(tmp_path: Path) -> None:
    """Rollouts of 7 steps: the first starts at or after 10, 20, 30, ..."""
    seen: list[list[str]] = []

    class Watch(BaseCallback):
        def _on_rollout_start(self) -> None:
            seen.append(names(tmp_path))

        def _on_step(self) -> bool:
            return True

    callback = KeepCheckpoints(10, tmp_path, keep=2, name_prefix="a_b")
    new(ActorCritic, single(), n_steps=7).learn(50, [callback, Watch()])

    def files(*steps: int) -> list[str]:
        return [f"a_b_{step}_steps.zip" for step in steps]

    assert checkpoints(tmp_path) == []
    found = [p.name for p in checkpoints(tmp_path, "a_b")]
    # Started at 0, 7, 14, 21, 28, 35, 42, 49; ended at 56.
    assert found == files(56, 42)
    assert callback.saved == tmp_path / "a_b_56_steps.zip"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_stopped_run_is_saved_at_its_last_step(tmp_path: Path) -> None:
    callbacks = [KeepCheckpoints(1000, tmp_path), StopAt(23)]
    new(ActorCritic, single(), n_steps=7).learn(50, callbacks)
    assert names(tmp_path) == ["model_23_steps.zip"]


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    agent: Any, tmp_path: Path
) -> None:
    make = MAKERS["normalized"]
    rate = {"learning_rate": lambda progress: 0.02 * progress}
    end = remains(new(agent, make(), **rate).learn(150))
    # As if the process had been killed at 100 steps.
    stopped = new(agent, make(), **rate)
    stopped.learn(150, KeepCheckpoints(25, tmp_path, keep=99))
    late, *_ = [p for p in checkpoints(tmp_path) if killed_steps(p) < 100]
    for path in checkpoints(tmp_path):
        if killed_steps(path) > killed_steps(late):
            path.unlink()
    scramble()
    model = resume(agent, tmp_path, make())
    assert 50 <= model.num_timesteps < 100
    assert remaining_timesteps(model) == 150 - model.num_timesteps
    assert remaining_timesteps(model, 40) == 0
    keep = KeepCheckpoints(50, tmp_path)
    model.learn(remaining_timesteps(model), keep, reset_num_timesteps=False)
    assert_same(end, remains(model))
    assert remaining_timesteps(model) == 0


def killed_steps(path: Path) -> int:
    return int(path.stem.split("_")[1])


@pytest.mark.parametrize("agent", [A2C, PPO])
def test_sb3_algorithms_are_saved_and_resumed(agent: Any, tmp_path: Path) -> None:
    def make() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))

    steps = {"n_steps": 8} | ({"batch_size": 8} if agent is PPO else {})
    model = new(agent, make(), **steps).learn(40, KeepCheckpoints(16, tmp_path))
    assert len(names(tmp_path)) == 3
    again = resume(agent, tmp_path, make(), tensorboard_log=None)
    assert again.num_timesteps == model.num_timesteps == 40
    kept, found = model.get_vec_normalize_env(), again.get_vec_normalize_env()
    assert equal(kept.obs_rms.mean, found.obs_rms.mean)
    assert kept.ret_rms.var == found.ret_rms.var
    again.learn(8, reset_num_timesteps=False)


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("agent", [A2C, ActorCritic])
def test_statistics_of_gymnasium_wrappers_are_restored(
    agent: Any, vectors: bool, tmp_path: Path
) -> None:
    def make() -> Any:
        if vectors:
            env = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
            return as_vec_env(wrappers.vector.NormalizeObservation(env))
        return wrappers.NormalizeReward(
            wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"))
        )

    model = new(agent, make(), n_steps=8).learn(40, KeepCheckpoints(16, tmp_path))
    again = resume(agent, tmp_path, make())
    names = ["obs_rms"] if vectors else ["obs_rms", "return_rms"]
    for name in names:
        kept, found = (each.get_env().get_attr(name)[0] for each in (model, again))
        assert found.count == kept.count > 40
        assert equal(found.mean, kept.mean) and equal(found.var, kept.var)


def test_statistics_are_those_at_the_time_of_the_checkpoint(tmp_path: Path) -> None:
    def make() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))

    counts = {}

    class Note(BaseCallback):
        def _on_rollout_start(self) -> None:
            env: Any = self.training_env
            counts[self.num_timesteps] = env.obs_rms.count

        def _on_step(self) -> bool:
            return True

    new(ActorCritic, make()).learn(50, [Note(), KeepCheckpoints(20, tmp_path, keep=9)])
    for path in checkpoints(tmp_path)[1:]:
        for later in checkpoints(tmp_path):
            if killed_steps(later) > killed_steps(path):
                later.unlink()
        model = resume(ActorCritic, tmp_path, make())
        normalize: Any = model.get_vec_normalize_env()
        # At once, so that the model can be evaluated as well.
        assert normalize.obs_rms.count == counts[model.num_timesteps]


def test_a_damaged_checkpoint_is_renamed_and_the_previous_one_loaded(
    tmp_path: Path,
) -> None:
    new(ActorCritic, single(), n_steps=7).learn(50, KeepCheckpoints(20, tmp_path))
    newest, second, _ = checkpoints(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    says = rf"{newest.name} is cut off.*renamed to {newest.name}.damaged"
    with pytest.warns(UserWarning, match=says):
        model = resume(ActorCritic, tmp_path, single())
    assert model.num_timesteps == killed_steps(second)
    assert Path(f"{newest}.damaged").exists() and not newest.exists()
    model.learn(10, KeepCheckpoints(20, tmp_path), reset_num_timesteps=False)


@pytest.mark.parametrize("agent", [A2C, ActorCritic])
def test_files_of_sb3s_callback_are_resumed(agent: Any, tmp_path: Path) -> None:
    new(agent, single()).learn(20, CheckpointCallback(10, str(tmp_path)))
    model = resume(agent, tmp_path, single(), "rl_model", verbose=1)
    assert (model.num_timesteps, model.verbose) == (20, 1)


FOREIGN = "Could not deserialize object learning_rate"


@pytest.mark.parametrize("pickled", [UNKNOWN_CLASS, UNKNOWN_MODULE])
@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic, A2C, PPO])
def test_a_file_with_an_attribute_that_cannot_be_unpickled_is_loaded(
    agent: Any, pickled: bytes, tmp_path: Path
) -> None:
    """With a warning, unless custom_objects replaces the attribute."""
    steps = {} if agent is REINFORCE else {"n_steps": 8}
    if agent is PPO:
        steps["batch_size"] = 8
    new(agent, single(), **steps).learn(50, KeepCheckpoints(20, tmp_path))
    newest, *_ = there = checkpoints(tmp_path)
    newest.write_bytes(foreign(newest.read_bytes(), "learning_rate", pickled))
    before = {path: path.read_bytes() for path in there}
    with pytest.warns(UserWarning) as seen:
        model = resume(agent, tmp_path, single())
    assert model.num_timesteps == killed_steps(newest)
    (said,) = [str(warning.message) for warning in seen]
    assert said.startswith(FOREIGN)
    # Warnings are errors here.
    custom = {"learning_rate": 0.5}
    model = resume(agent, tmp_path, single(), custom_objects=custom)
    assert model.learning_rate == 0.5 and model.num_timesteps == killed_steps(newest)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic, A2C])
def test_statistics_that_cannot_be_unpickled_are_an_error(
    agent: Any, tmp_path: Path
) -> None:
    """Without them the policy would get different inputs."""
    make = MAKERS["normalized"]
    new(agent, make()).learn(50, KeepCheckpoints(20, tmp_path))
    newest, *_ = there = names(tmp_path)
    path = tmp_path / newest
    content = with_manifest(path.read_bytes(), agent, {NORMALIZATION: UNKNOWN_MODULE})
    path.write_bytes(content)
    says = r"vec_normalize\.pkl .* cannot be unpickled \(ModuleNotFoundError"
    with pytest.raises(ValueError, match=says):
        resume(agent, tmp_path, make())
    assert names(tmp_path) == there
    assert agent.load(path, env=make()).num_timesteps == killed_steps(path)


def test_a_folder_without_valid_checkpoints_is_an_error(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "missing") is None
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            FileNotFoundError, match=r"has no valid checkpoint model_<step"
        ):
            resume(ActorCritic, folder, single())
    (tmp_path / "model_1_steps.zip").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is no checkpoint: expected a zip"),
        pytest.raises(FileNotFoundError, match="has no valid checkpoint"),
    ):
        resume(ActorCritic, tmp_path, single())


def test_a_checkpoint_of_another_class_is_an_error(tmp_path: Path) -> None:
    new(ActorCritic, single()).learn(20, KeepCheckpoints(10, tmp_path))
    with pytest.raises(ValueError, match="was saved by ActorCritic"):
        resume(REINFORCE, tmp_path, single())
    assert len(names(tmp_path)) == 2


def test_a_new_run_in_the_folder_of_another_is_an_error(tmp_path: Path) -> None:
    new(ActorCritic, single()).learn(20, KeepCheckpoints(10, tmp_path))
    there = names(tmp_path)
    with pytest.raises(ValueError, match="has a later checkpoint, model_20"):
        new(ActorCritic, single()).learn(20, KeepCheckpoints(10, tmp_path))
    assert names(tmp_path) == there
    other = KeepCheckpoints(10, tmp_path, name_prefix="other")
    new(ActorCritic, single()).learn(20, other)
    assert names(tmp_path) == there


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name_prefix": "a/b"}, "name_prefix must be the prefix .* got 'a/b'"),
        ({"name_prefix": ""}, "name_prefix must be the prefix"),
    ],
)
def test_invalid_arguments_are_errors(
    arguments: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        KeepCheckpoints(**{"save_freq": 1, "folder": tmp_path, **arguments})


def test_a_failed_write_keeps_older_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = KeepCheckpoints(10, tmp_path, keep=1)
    model = new(ActorCritic, single(), n_steps=5).learn(10, callback)

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        model.learn(10, callback, reset_num_timesteps=False)
    assert [p.name for p in tmp_path.iterdir()] == ["model_10_steps.zip"]


def test_additional_checkpoints_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """A kill between writing and removing leaves an additional file."""
    model = new(ActorCritic, single())
    model.learn(10, KeepCheckpoints(10, tmp_path, keep=2))
    (path,) = checkpoints(tmp_path)
    for steps in (1, 2, 3):
        shutil.copy(path, tmp_path / f"model_{steps}_steps.zip")

    class Look(BaseCallback):
        def _on_training_start(self) -> None:
            self.there = [p.name for p in checkpoints(tmp_path)]

        def _on_step(self) -> bool:
            return False

    look = Look()
    keep = KeepCheckpoints(10, tmp_path, keep=2)
    model.learn(10, [keep, look], reset_num_timesteps=False)
    assert look.there == [path.name, "model_3_steps.zip"]


def test_verbose_prints_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = KeepCheckpoints(100, tmp_path, verbose=1)
    new(ActorCritic, single()).learn(10, callback)
    assert capsys.readouterr().out == f"Saved {callback.saved}\n"


def test_each_of_fifty_kills_loses_at_most_an_interval(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, killed_run.__file__, tmp_path / "run", "50"],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    found = json.loads(done.stdout)
    kills = found["kills"]
    assert len(kills) == 50
    rollout = killed_run.N_STEPS * killed_run.N_ENVS
    for kill in kills:
        lost = kill["steps"] - kill["kept"]
        assert 0 <= lost <= killed_run.SAVE_FREQ + rollout
        assert kill["files"] <= 4 and kill["temporaries"] <= 1
        # A file that has not been moved has a temporary name.
        if kill["moment"] in killed_run.STAGES[:3]:
            assert kill["temporaries"] == 1
        if kill["moment"] == killed_run.STAGES[3]:
            assert lost == 0 and kill["temporaries"] == 0
    # The run advanced, and was killed at all stages.
    assert kills[-1]["kept"] > 10 * killed_run.SAVE_FREQ
    assert {*killed_run.STAGES} < {kill["moment"] for kill in kills}
    assert len({kill["steps"] - kill["kept"] for kill in kills}) > 5
    assert found["killed"] == found["straight"]
    leftovers = [p.name for p in (tmp_path / "run").iterdir()]
    assert len(leftovers) == 3
