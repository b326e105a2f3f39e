"""A line for each group: the same figures as its parts, and the table of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pg_agents.analysis import (
    improvement_interval,
    read_groups,
    speed,
    stratified_bootstrap_interval,
    summarise,
    table,
)
from tests.pg_agents.analysis.run_folders import write_run


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three runs that climb; two that do not, or fall again."""
    for seed, slope in enumerate((1.0, 2.0, 4.0)):
        returns = [slope * n for n in range(12)]
        write_run(tmp_path / "good", seed, returns, [10.0 * slope, 12.0 * slope])
    write_run(tmp_path / "poor", 0, [0.0] * 12, [1.0])
    write_run(tmp_path / "poor", 1, [10.0] * 6 + [0.0] * 6, [11.0])
    return [tmp_path / "good", tmp_path / "poor"]


def test_speed_by_hand(folders: list[Path]) -> None:
    good, poor = read_groups(folders)
    found = speed(good, 10.0, window=3, unit="episodes")
    # The mean of three episodes n-2, n-1, n is slope (n - 1): 10 at n = 11, 6, 3.5.
    assert found.to_threshold.tolist() == [12.0, 7.0, 5.0]
    assert (found.median, found.n_reached, found.stability) == (7.0, 3, 1.0)
    steps = speed(good, 10.0, window=3, unit="steps")
    assert steps.to_threshold.tolist() == [120.0, 70.0, 50.0]
    fell = speed(poor, 10.0, window=3, unit="seconds")
    assert fell.to_threshold.tolist() == [math.inf, 2.0]
    assert (fell.median, fell.n_reached, fell.stability) == (math.inf, 1, 0.0)
    # Of the ten episodes from the third on, four have 10 in all of the last three.
    assert fell.time_above == 0.4


def test_a_summary_is_made_of_its_parts(folders: list[Path]) -> None:
    good, poor = summarise(read_groups(folders), seed=3)
    assert (good.name, good.n_runs, good.iqm, good.median) == ("good", 3, 77 / 3, 22.0)
    assert good.interval == stratified_bootstrap_interval([11.0, 22.0, 44.0], rng=3)
    assert good.improvement is None and good.speed is None
    # Of six pairs one is a tie.
    assert poor.improvement == improvement_interval([1, 11], [11, 22, 44], rng=3)
    assert poor.improvement.probability == 0.5 / 6


def test_the_table_is_aligned_and_says_it_all(folders: list[Path]) -> None:
    summaries = summarise(read_groups(folders), 10.0, window=3, unit="episodes")
    lines = table(summaries, "episodes").splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert "episodes to it" in lines[0]
    assert lines[1].split()[:3] == ["good", "3", "25.7"]
    assert lines[1].split()[-6:] == ["7", "3", "of", "3", "100%", "100%"]
    assert lines[2].split()[-6:] == ["never", "1", "of", "2", "0%", "40%"]
    without = table(summarise(read_groups(folders)))
    assert "reached" not in without and len(without.splitlines()) == 3


def test_what_nobody_reached(folders: list[Path]) -> None:
    found = summarise(read_groups(folders), 1e6, window=3)
    assert all(s.speed is not None and math.isnan(s.speed.stability) for s in found)
    assert table(found).splitlines()[1].endswith("-")
    assert table(found).splitlines()[1].split()[-6:-2] == ["never", "0", "of", "3"]


def test_all_is_said_of_all_alone(tmp_path: Path) -> None:
    """One episode of 250 below: a share that rounds to 100 %."""
    write_run(tmp_path / "a", 0, [9.0] * 249 + [0.0])
    said = table(summarise(read_groups([tmp_path]), 9.0, window=1)).splitlines()[1]
    assert said.split()[-2:] == ["0%", ">99%"]
