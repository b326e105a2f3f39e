"""What is said when the runs have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_agents.experiments import Recipe, Reported, Result, RunReport
from pg_agents.experiments.summary import overall, summarise
from tests.pg_agents.experiments.tiny import SETTINGS

RECIPE = Recipe(
    name="r",
    title="t",
    reported=Reported(text="43.0 ± 57.4"),
    variants={"notebook": SETTINGS},
)


def report(seed: int, mean: float | None) -> RunReport:
    folder = Path(f"seed-{seed:04d}")
    if mean is None:
        return RunReport(seed, folder, None, "it failed")
    result = Result(mean, 2.5, 10, 1234, 56, 7.89, "2026-01-01T00:00:00+00:00", ())
    return RunReport(seed, folder, result)


def test_it_is_a_line_a_seed_and_one_for_all() -> None:
    reports = [report(7, 10.0), report(1, None), report(3, 14.0)]
    lines = summarise(RECIPE, RECIPE.config(), reports).splitlines()
    assert lines[1].split() == ["7", "10", "±", "2.5", "1234", "56", "7.9"]
    assert lines[2].split()[0] == "3"
    # The standard deviation between two seeds: 4 / sqrt(2).
    assert lines[4:] == [
        "r: 12 ± 2.83 over 2 seeds",
        "notebook: 43.0 ± 57.4",
        "1 of 3 runs failed",
    ]


def test_without_a_run_there_is_no_table() -> None:
    lines = summarise(RECIPE, RECIPE.config(), [report(1, None)]).splitlines()
    assert lines[0] == "r: no run has finished" and len(lines) == 3


@pytest.mark.parametrize(
    ("means", "said"),
    [([3.0], "3, of 1 seed"), ([2.0, 2.0, 2.0], "2 ± 0 over 3 seeds")],
)
def test_one_figure_for_all(means: list[float], said: str) -> None:
    assert overall(means) == said
