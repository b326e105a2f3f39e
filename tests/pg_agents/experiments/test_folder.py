"""Files of run folders: formats, and which damage is found."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from pg_agents.analysis.monitor import COLUMNS, Episode, last_episode
from pg_agents.analysis.run_data import read_episodes
from pg_agents.experiments import DamagedRunError, RunFolder, run_one
from pg_agents.experiments.building import make_evaluation_env
from pg_agents.experiments.folder import cut_back, open_monitor
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


EPISODES = [
    Episode(0.1 + 0.2, 3, 0.5, 3, 1),
    Episode(-4.0, 10, 0.75, 20, 2),
    Episode(1e-9, 7, 1.0, 20, 3),
    Episode(12345.678, 1, 2.0, 21, 4),
]


def append(path: Path, episodes: list[Episode], new_env_id: str | None = None) -> None:
    with closing(open_monitor(path, new_env_id)) as writer:
        for episode in episodes:
            writer.write_row(dict(zip(COLUMNS, episode, strict=True)))


@pytest.fixture
def monitor(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.csv"
    append(path, EPISODES, "Some-v0")
    return path


def test_episodes_are_read_to_the_last_digit(monitor: Path) -> None:
    assert read_episodes(monitor) == EPISODES
    monitor.write_bytes(monitor.read_bytes() + b"0.5,3")
    assert last_episode(monitor) == EPISODES[-1]
    append(monitor, [], "Some-v0")
    assert last_episode(monitor) is None
    monitor.unlink()
    assert last_episode(monitor) is None


def test_the_format_is_that_of_sb3s_monitor(monitor: Path, tmp_path: Path) -> None:
    """Compared with a file of SB3's own wrapper."""
    theirs = tmp_path / "theirs.monitor.csv"
    env = Monitor(gymnasium.make("PGToy-Sequence-v0"), str(theirs))
    env.reset(seed=0)
    while not env.needs_reset:
        env.step(0)
    env.close()
    ours_lines, their_lines = (
        path.read_bytes().split(b"\n") for path in (monitor, theirs)
    )
    assert ours_lines[0].startswith(b'#{"t_start": ')
    assert their_lines[0].startswith(b'#{"t_start": ')
    assert ours_lines[1] == their_lines[1].replace(b"t\r", b"t,steps,episode\r")
    assert len(their_lines[2].split(b",")) == 3


def test_a_file_cut_off_anywhere_is_found(monitor: Path) -> None:
    whole = monitor.read_bytes()
    heading = whole.index(b"episode\r\n") + len(b"episode\r\n")
    for length in range(len(whole)):
        monitor.write_bytes(whole[:length])
        if length >= heading and whole[:length].endswith(b"\n"):
            # Whole lines: result.json has their number.
            n_rows = whole[:length].count(b"\n") - 2
            assert read_episodes(monitor) == EPISODES[:n_rows]
        else:
            with pytest.raises(DamagedRunError, match=r"monitor.csv is (not|damaged)"):
                read_episodes(monitor)


@pytest.mark.parametrize(("steps", "n"), [(2, 0), (3, 1), (19, 1), (20, 3), (99, 4)])
def test_it_is_cut_back_to_a_checkpoint(monitor: Path, steps: int, n: int) -> None:
    # An unfinished row of the killed process comes after the checkpoint.
    monitor.write_bytes(monitor.read_bytes() + b"0.5,3")
    cut_back(monitor, steps, n)
    assert read_episodes(monitor) == EPISODES[:n]
    append(monitor, [Episode(1.0, 1, 3.0, 100, n + 1)])
    assert len(read_episodes(monitor)) == n + 1


def test_missing_episodes_before_the_checkpoint_are_found(monitor: Path) -> None:
    before = monitor.read_bytes()
    with pytest.raises(DamagedRunError, match="has 3 episodes of the 4 before the"):
        cut_back(monitor, 20, 4)
    assert monitor.read_bytes() == before
