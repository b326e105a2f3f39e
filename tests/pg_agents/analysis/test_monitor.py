"""Monitor files: those of SB3 and of `pgtoy run`, and every kind of damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from pg_agents.analysis import MonitorFileError, read_monitor

HEADER = '#{"t_start": 1.5, "env_id": "CartPole-v1"}\nr,l,t\n'
COUNTED = HEADER.replace("r,l,t", "r,l,t,steps,episode")


def write(folder: Path, text: str) -> Path:
    path = folder / "monitor.csv"
    path.write_text(text)
    return path


def test_reads_what_monitor_writes(tmp_path: Path) -> None:
    env = Monitor(gymnasium.make("CartPole-v1"), str(tmp_path))
    for seed in range(3):
        env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(0)
            done = terminated or truncated
    env.close()
    episodes = read_monitor(tmp_path / "monitor.csv")
    lengths = env.get_episode_lengths()
    np.testing.assert_array_equal(episodes.returns, env.get_episode_rewards())
    np.testing.assert_array_equal(episodes.lengths, lengths)
    np.testing.assert_allclose(episodes.seconds, env.get_episode_times(), atol=1e-2)
    np.testing.assert_array_equal(episodes.ends("steps"), np.cumsum(lengths))
    np.testing.assert_array_equal(episodes.ends("episodes"), [1, 2, 3])
    with pytest.raises(ValueError, match="unit must be one of 'steps'"):
        episodes.ends("hours")  # type: ignore[arg-type]


def test_reads_what_vec_monitor_writes(tmp_path: Path) -> None:
    base: Any = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    path = tmp_path / "monitor.csv"
    env = VecMonitor(base, str(path), info_keywords=("TimeLimit.truncated",))
    env.reset()
    returns = []
    for _ in range(60):
        infos = env.step(np.zeros(2, dtype=int))[3]
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    env.close()
    assert read_monitor(path).returns.tolist() == returns != []


def test_a_file_without_episodes(tmp_path: Path) -> None:
    episodes = read_monitor(write(tmp_path, HEADER))
    assert [len(column) for column in episodes] == [0, 0, 0, 0]
    assert len(episodes.ends("seconds")) == 0


def test_the_clock_of_a_resumed_run_continues(tmp_path: Path) -> None:
    rows = "1,10,2.0\n1,10,5.0\n1,10,1.5\n1,10,4.0\n1,10,0.5\n"
    episodes = read_monitor(write(tmp_path, HEADER + rows))
    assert episodes.seconds.tolist() == [2.0, 5.0, 6.5, 9.0, 9.5]


def test_a_column_of_steps_is_read(tmp_path: Path) -> None:
    rows = "1,10,1.0,24,1\n1,3,2.0,24,2\n1,9,2.0,31,3\n"
    episodes = read_monitor(write(tmp_path, COUNTED + rows))
    assert episodes.ends("steps").tolist() == [24, 24, 31]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a monitor file of Stable-Baselines3"),
        ("r,l,t\n1,2,3\n", "is not a monitor file"),
        ("#{broken\nr,l,t\n", "is not a monitor file"),
        ("#[1]\nr,l,t\n", "is not a monitor file"),
        ('#{"t_start": 1}\n1,2,3\n', "is not a monitor file"),
        ("#{}\nr,t,l\n", "is not a monitor file"),
        ("#{}\nr,l,t", "is not a monitor file"),
        (HEADER + "1,10,2.0\n1,1", "damaged in line 4: '1,1'"),
        (HEADER + "1,10,2.0\n1,10,2.0", "damaged in line 4"),
        (HEADER + "1,10,2.0\n1,10\n", "damaged in line 4"),
        (HEADER + "1,10,2.0,5\n", "damaged in line 3"),
        (HEADER + "1,ten,2.0\n", "damaged in line 3"),
        (HEADER + "\n1,10,2.0\n", "damaged in line 3"),
        (HEADER + "nan,10,2.0\n", "damaged in line 3"),
        (HEADER + "1,0,2.0\n", "damaged in line 3"),
        (HEADER + "1,1.5,2.0\n", "damaged in line 3"),
        (HEADER + "1,10,-2.0\n", "damaged in line 3"),
        (HEADER + "1,10,inf\n", "damaged in line 3"),
        (COUNTED + "1,1,1,x,1\n", "damaged in line 3"),
        (COUNTED + "1,1,1,9,2\n", "damaged in line 3"),
        (COUNTED + "1,1,1,9,1\n1,1,1,8,2\n", "damaged in line 4"),
        (COUNTED + "1,1,1,9,1\n1,1,1,9,1\n", "damaged in line 4"),
    ],
)
def test_damage_is_found(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MonitorFileError, match=message) as error:
        read_monitor(path)
    assert str(error.value).startswith(str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MonitorFileError, match=r"monitor.csv is missing"):
        read_monitor(tmp_path / "monitor.csv")
    with pytest.raises(MonitorFileError, match="can't be read"):
        read_monitor(tmp_path)
    (tmp_path / "monitor.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MonitorFileError, match="is not a monitor file"):
        read_monitor(tmp_path / "monitor.csv")
