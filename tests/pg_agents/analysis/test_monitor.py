"""Monitor files: what Stable-Baselines3 writes, and what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from pg_agents.analysis import UnreadableRunError, read_monitor

HEAD = '#{"t_start": 1.5, "env_id": "CartPole-v1"}\nr,l,t\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "monitor.csv"
    path.write_text(text)
    return path


def test_what_the_monitor_of_sb3_writes_comes_back(tmp_path: Path) -> None:
    env = Monitor(gymnasium.make("CartPole-v1"), str(tmp_path))
    for seed in range(3):
        env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(0)
            done = terminated or truncated
    env.close()
    episodes = read_monitor(tmp_path / "monitor.csv")
    np.testing.assert_array_equal(episodes.returns, env.get_episode_rewards())
    np.testing.assert_array_equal(episodes.lengths, env.get_episode_lengths())
    np.testing.assert_allclose(episodes.seconds, env.get_episode_times(), atol=1e-2)
    np.testing.assert_array_equal(
        episodes.ends("steps"), np.cumsum(env.get_episode_lengths())
    )
    np.testing.assert_array_equal(episodes.ends("episodes"), [1, 2, 3])


def test_what_vec_monitor_writes_comes_back(tmp_path: Path) -> None:
    base: Any = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    env = VecMonitor(base, str(tmp_path / "monitor.csv"))
    env.reset()
    ended = []
    for _ in range(60):
        infos = env.step(np.zeros(2, dtype=int))[3]
        ended += [info["episode"]["r"] for info in infos if "episode" in info]
    env.close()
    assert read_monitor(tmp_path / "monitor.csv").returns.tolist() == ended != []


def test_a_run_without_an_ended_episode(tmp_path: Path) -> None:
    episodes = read_monitor(written(tmp_path, HEAD))
    assert [len(column) for column in episodes] == [0, 0, 0, 0]
    assert len(episodes.ends("seconds")) == 0


def test_the_clock_of_a_resumed_run_goes_on(tmp_path: Path) -> None:
    rows = "1,10,2.0\n1,10,5.0\n1,10,1.5\n1,10,4.0\n1,10,0.5\n"
    episodes = read_monitor(written(tmp_path, HEAD + rows))
    assert episodes.seconds.tolist() == [2.0, 5.0, 6.5, 9.0, 9.5]


def test_steps_are_read_where_there_is_a_column(tmp_path: Path) -> None:
    head = HEAD.replace("r,l,t", "r,l,t,steps,episode")
    episodes = read_monitor(
        written(tmp_path, head + "1,10,1.0,24,1\n1,3,2.0,24,2\n1,9,2.0,31,3\n")
    )
    assert episodes.ends("steps").tolist() == [24, 24, 31]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no monitor file"),
        ("r,l,t\n1,2,3\n", "no monitor file"),
        ("#{broken\nr,l,t\n", "no monitor file"),
        ("#[1]\nr,l,t\n", "no monitor file"),
        ('#{"t_start": 1}\n1,2,3\n', "no monitor file"),
        (HEAD + "1,10,2.0\n1,1", "cut off in its last line"),
        (HEAD + "1,10,2.0\n1,10\n", "line 4: three numbers"),
        (HEAD + "1,ten,2.0\n", "line 3: three numbers were expected, got '1,ten,2.0'"),
        (HEAD + "\n1,10,2.0\n", "line 3"),
        (HEAD + "nan,10,2.0\n", "line 3: a finite return"),
        (HEAD + "1,0,2.0\n", "line 3"),
        (HEAD + "1,1.5,2.0\n", "line 3"),
        (HEAD + "1,10,-2.0\n", "line 3"),
        ("#{}\nr,l,t,steps\n1,1,1,x\n", "steps must hold whole numbers"),
        ("#{}\nr,l,t,steps\n1,1,1,9\n1,1,1,8\n", "steps must not fall"),
        ("#{}\nr,l,t,steps\n1,1,1\n", "steps must hold whole numbers"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, text: str, says: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UnreadableRunError, match=says) as error:
        read_monitor(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_one_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRunError, match="can't be read"):
        read_monitor(tmp_path / "monitor.csv")
    (tmp_path / "monitor.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableRunError, match="can't be read"):
        read_monitor(tmp_path / "monitor.csv")


def test_a_unit_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unit must be one of 'steps'"):
        read_monitor(written(tmp_path, HEAD)).ends("hours")  # type: ignore[arg-type]
