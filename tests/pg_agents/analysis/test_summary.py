"""Summaries of groups: numbers by hand, and the table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pg_agents.analysis import (
    bootstrap_interval,
    improvement_interval,
    read_groups,
    speed,
    summarise,
    table,
)
from tests.pg_agents.analysis.run_folders import write_run


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three runs that climb; one that does not, and one that falls again."""
    for seed, slope in enumerate((1.0, 2.0, 4.0)):
        returns = [slope * n for n in range(12)]
        write_run(tmp_path / "good", seed, returns, [10.0 * slope, 12.0 * slope])
    write_run(tmp_path / "poor", 0, [0.0] * 12, [1.0])
    write_run(tmp_path / "poor", 1, [10.0] * 6 + [0.0] * 6, [11.0])
    return [tmp_path / "good", tmp_path / "poor"]


def test_speed_by_hand(folders: list[Path]) -> None:
    good, poor = read_groups(folders)
    found = speed(good, 10.0, window=3, unit="episodes")
    # The mean of the episodes n - 2, n - 1, n is slope (n - 1): 10 at n = 11, 6, 3.5.
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
    assert (good.name, good.n_runs, good.median) == ("good", 3, 22.0)
    assert good.iqm == pytest.approx(77 / 3)
    assert good.interval == bootstrap_interval([11.0, 22.0, 44.0], rng=3)
    assert (good.improvement, good.speed, good.n_solved) == (None, None, None)
    assert poor.improvement == improvement_interval([1, 11], [11, 22, 44], rng=3)
    # One of six pairs is a tie.
    assert poor.improvement.probability == pytest.approx(0.5 / 6)


def test_the_table_is_aligned_and_complete(folders: list[Path]) -> None:
    summaries = summarise(read_groups(folders), 10.0, window=3, unit="episodes")
    scores, speeds, notes = table(summaries, "episodes").split("\n\n")
    for part in (scores, speeds):
        assert len({len(line) for line in part.splitlines()}) == 1
    header, good, poor = speeds.splitlines()
    assert header.split() == "speed solved reached episodes stay time above".split()
    assert scores.splitlines()[1].split()[:3] == ["good", "3", "25.7"]
    assert good.split() == "good 3 of 3 3 of 3 7 100% 100%".split()
    assert poor.split() == "poor 1 of 2 1 of 2 never 0% 40%".split()
    solved, reached, *_ = notes.splitlines()
    assert solved == "solved: the mean evaluation return is at least 10"
    assert reached == "reached: the mean of 3 training episodes is at least 10"
    without = table(summarise(read_groups(folders)))
    assert "reached" not in without and len(without.splitlines()) == 3


def test_a_single_group_is_better_than_none(folders: list[Path]) -> None:
    scores, speeds, _ = table(summarise(read_groups(folders[:1]), 10.0)).split("\n\n")
    assert scores.splitlines()[0].split()[-4:] == ["95", "%", "interval", "median"]
    assert "stay" in speeds


def test_a_threshold_that_no_run_reaches(folders: list[Path]) -> None:
    found = summarise(read_groups(folders), 1e6, window=3)
    assert all(s.speed is not None and math.isnan(s.speed.stability) for s in found)
    speeds = table(found).split("\n\n")[1]
    assert speeds.splitlines()[1].split() == "good 0 of 3 0 of 3 never - -".split()


def test_100_percent_means_all(tmp_path: Path) -> None:
    """One episode of 250 below the threshold rounds to 100 %."""
    write_run(tmp_path / "a", 0, [9.0] * 249 + [0.0])
    text = table(summarise(read_groups([tmp_path]), 9.0, window=1))
    line = text.split("\n\n")[1].splitlines()[1]
    assert line.split()[-2:] == ["0%", ">99%"]


@pytest.mark.parametrize(
    ("name", "score"),
    [("cartpole-policy-network-stepped-past", 499.75), ("gaussian-policy", -12345.6)],
)
def test_the_table_fits_a_terminal_of_a_hundred_columns(
    tmp_path: Path, name: str, score: float
) -> None:
    """With the longest name of a recipe and its variant, and with large returns."""
    for group in (name, "b"):
        for seed in range(10):
            write_run(tmp_path / group, seed, [score] * 5, [score / (seed + 1)] * 2)
    groups = read_groups([tmp_path / name, tmp_path / "b"])
    text = table(summarise(groups, score, window=1))
    assert max(map(len, text.splitlines())) <= 100
