"""What is said when the runs have ended."""

from __future__ import annotations

from pathlib import Path

from pg_agents.experiments import Recipe, Reported, RunReport
from pg_agents.experiments.recipe import Point
from pg_agents.experiments.summary import summarise
from tests.pg_agents.experiments.test_results import COUNTED, run

RECIPE = Recipe(
    name="r",
    title="t",
    reported=Reported(text="43.0 ± 57.4", value=5.5, points=(Point(10, 10, 2.0),)),
    variants={"notebook": COUNTED},
)


def report(root: Path, seed: int) -> RunReport:
    folder = run(root, seed, [3.0] * 30, COUNTED)
    return RunReport(seed, folder.path, folder.result())


def test_it_is_a_line_a_seed_and_one_a_figure(tmp_path: Path) -> None:
    failed = RunReport(1, tmp_path, None, "it failed")
    reports = [report(tmp_path, 7), failed, report(tmp_path, 3)]
    lines = summarise(RECIPE, RECIPE.config(), reports).splitlines()
    assert lines[1].split() == ["7", "8", "±", "0.5", "107", "30", "9.0"]
    assert lines[2].split()[0] == "3"
    # Of two seeds the middle half are both: (8 + 4) / 2.
    assert lines[4].startswith("r: interquartile means over 2 seeds; their")
    assert lines[5].split() == [
        *("average of 10 at episode 10".split()),
        *("3 [3, 3]; notebook 2: reached".split()),
    ]
    assert lines[6].split() == [
        "evaluation",
        *("6 [4, 8]; notebook 5.5: reached".split()),
    ]
    assert lines[-2:] == ["notebook: 43.0 ± 57.4", "1 of 3 runs failed"]


def test_without_a_run_there_is_no_table() -> None:
    failed = RunReport(1, Path("seed-0001"), None, "it failed")
    lines = summarise(RECIPE, RECIPE.config(), [failed]).splitlines()
    assert lines[0] == "r: no run has finished" and len(lines) == 3
