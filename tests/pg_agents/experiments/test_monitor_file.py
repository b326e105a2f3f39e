"""monitor.csv: SB3's format, each episode once, and every cut is found."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest
from stable_baselines3.common.monitor import Monitor

from pg_agents.analysis.run_data import read_episodes
from pg_agents.experiments import DamagedRunError
from pg_agents.experiments.monitor_file import (
    Episode,
    appending_writer,
    cut_back,
    last_episode,
    new_writer,
    row,
)

EPISODES = [
    Episode(0.1 + 0.2, 3, 0.5, 3, 1),
    Episode(-4.0, 10, 0.75, 20, 2),
    Episode(1e-9, 7, 1.0, 20, 3),
    Episode(12345.678, 1, 2.0, 21, 4),
]


@pytest.fixture
def monitor(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.csv"
    writer = new_writer(path, "Some-v0")
    for episode in EPISODES:
        writer.write_row(row(episode))
    writer.close()
    return path


def test_episodes_are_read_to_the_last_digit(monitor: Path) -> None:
    assert read_episodes(monitor) == EPISODES
    assert last_episode(monitor) == EPISODES[-1]


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
    assert cut_back(monitor, steps, n) == EPISODES[:n]
    assert read_episodes(monitor) == EPISODES[:n]
    writer = appending_writer(monitor)
    writer.write_row(row(Episode(1.0, 1, 3.0, 100, n + 1)))
    writer.close()
    assert len(read_episodes(monitor)) == n + 1


def test_missing_episodes_before_the_checkpoint_are_found(monitor: Path) -> None:
    before = monitor.read_bytes()
    with pytest.raises(DamagedRunError, match="has 3 episodes of the 4 before the"):
        cut_back(monitor, 20, 4)
    assert monitor.read_bytes() == before


def test_the_newest_episode_is_read_while_another_is_written(monitor: Path) -> None:
    monitor.write_bytes(monitor.read_bytes() + b"0.5,3")
    assert last_episode(monitor) == EPISODES[-1]
    new_writer(monitor, "Some-v0").close()
    assert last_episode(monitor) is None


def test_without_a_file_there_is_no_episode(tmp_path: Path) -> None:
    assert last_episode(tmp_path / "monitor.csv") is None
