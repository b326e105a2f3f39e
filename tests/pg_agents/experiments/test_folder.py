"""Damaged folders are rejected: which file it is, and what to do about it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pg_agents.experiments import DamagedRunError, RunFolder, run_one
from tests.pg_agents.experiments.tiny import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_one(tiny(), 1, tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    """Returns a copy of a finished run, in the place where `run_one` expects it."""
    copy = RunFolder.path_of(tmp_path, tiny(), 1)
    shutil.copytree(finished, copy)
    return copy


# None removes the file. All damage to JSON files: see `tests.pg_agents.analysis`.
DAMAGE: list[tuple[str, Callable[[bytes], bytes] | None, str]] = [
    ("config.json", None, "config.json is missing"),
    ("config.json", lambda content: content[:-9], "config.json is cut off or damaged"),
    ("result.json", lambda _: b"", "result.json is cut off or damaged"),
    ("evaluation.json", None, "evaluation.json is missing"),
    ("model.zip", None, "model.zip is missing"),
    ("model.zip", lambda content: content[:-9], "model.zip is cut off"),
    ("model.zip", lambda _: b"", "model.zip is no checkpoint"),
    (
        "model.zip",
        lambda content: content[:999] + bytes([content[999] ^ 0xFF]) + content[1000:],
        "model.zip (is|was edited or) damaged",
    ),
    ("monitor.csv", lambda content: content[:-9], "monitor.csv is damaged in line 22"),
    (
        "monitor.csv",
        lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
        "has 19 episodes, and result.json counts 20",
    ),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damage_is_found_and_a_new_run_is_rejected(
    name: str, damage: Callable[[bytes], bytes] | None, message: str, path: Path
) -> None:
    content = (path / name).read_bytes()
    (path / name).unlink()
    if damage is not None:
        (path / name).write_bytes(damage(content))
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(DamagedRunError, match=message) as caught:
        run_one(tiny(), 1, path.parent.parent)
    assert f"delete the folder {path} and run it again" in str(caught.value)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_a_config_of_a_later_pgtoy_is_rejected(path: Path) -> None:
    data = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(DamagedRunError, match="written by a later pgtoy"):
        RunFolder(path)


@pytest.mark.parametrize(
    ("name", "value", "difference"),
    [
        ("recipe", "other", "recipe is 'other' there and 'tiny' here"),
        ("variant", "best", "variant is 'best' there and 'notebook' here"),
        ("seed", 2, "seed is 2 there and 1 here"),
    ],
)
def test_another_run_is_rejected_by_the_setting_that_differs(
    name: str, value: object, difference: str, path: Path
) -> None:
    data = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**data, name: value}))
    with pytest.raises(
        ValueError, match=f"{path} holds another run: {difference}; choose"
    ):
        run_one(tiny(), 1, path.parent.parent)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        RunFolder(tmp_path / "none")


def test_folders_and_errors_can_be_pickled(path: Path) -> None:
    folder = pickle.loads(pickle.dumps(RunFolder(path)))
    assert folder.check() == RunFolder(path).check()
    error = DamagedRunError(path / "model.zip", "is missing")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_model_is_loaded_with_the_normalization_statistics(tmp_path: Path) -> None:
    from stable_baselines3.common.vec_env import VecNormalize

    from pg_agents.experiments.building import make_evaluation_env

    config = tiny(normalize={"norm_reward": False})
    folder = run_one(config, 1, tmp_path)
    env = make_evaluation_env(config.settings, 0)
    assert isinstance(env, VecNormalize)
    before: Any = env.obs_rms
    assert before.count < 1
    folder.load_model(env)
    after: Any = env.obs_rms
    assert after.count > folder.result().steps - 1


def test_versions_include_those_of_the_extra(tmp_path: Path) -> None:
    config = tiny()
    settings = replace(config.settings, extra="mujoco")
    with_extra = RunFolder.create(tmp_path / "a", replace(config, settings=settings), 0)
    plain = RunFolder.create(tmp_path / "b", config, 0)
    found, fewer = (
        json.loads((folder.path / "versions.json").read_bytes())
        for folder in (with_extra, plain)
    )
    assert set(found) - set(fewer) == {"mujoco"}
    assert found["mujoco"] != fewer["torch"] and {**fewer, **found} == found
