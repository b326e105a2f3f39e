"""The generator of docs/: figures by hand, and nothing that was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ablation
from docs import make_pages
from pg_agents import ActorCritic
from pg_agents.experiments import Recipe, Reported, RunFolder, find_recipe, recipes
from pg_agents.experiments.demos import run_demo
from pg_agents.experiments.results import summarise_runs
from tests.pg_agents.experiments.test_results import run

PAGE = """\
Text above.

<!-- generated: a -->
old
<!-- end -->

Text between.

<!-- generated: b -->
<!-- end -->

Text below.
"""


def test_generated_parts_are_replaced_and_the_text_is_kept() -> None:
    filled = make_pages.fill(PAGE, {"a": ["one", "two"], "b": ["three"]})
    for text in ("Text above.", "Text between.", "Text below.", "one\ntwo", "three"):
        assert filled.count(text) == 1
    assert "old" not in filled
    assert make_pages.fill(filled, {"a": ["one", "two"], "b": ["three"]}) == filled


def test_missing_and_unknown_parts_are_refused() -> None:
    for parts in ({"a": [""]}, {"a": [""], "b": [""], "c": [""]}):
        with pytest.raises(ValueError, match=r"the page has the parts \['a', 'b'\]"):
            make_pages.fill(PAGE, parts)


def cells_of(parts: dict[str, list[str]]) -> dict[str, list[str]]:
    """Returns the cells of each table row by its first cell."""
    rows = [line for lines in parts.values() for line in lines if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows]
    return {row[0]: row[1:] for row in cells}


def result_rows(summaries: Path) -> dict[str, str]:
    parts = make_pages.results_parts(summaries)
    return {
        name.strip("*"): " | ".join(cells)
        for name, cells in cells_of(parts).items()
        if name.startswith("**")
    }


def test_every_recipe_is_a_row_of_a_notebook_and_has_a_result(tmp_path: Path) -> None:
    rows = [row for names in make_pages.notebook_rows().values() for row in names]
    assert sorted(rows) == sorted(recipes())
    lines = result_rows(tmp_path)
    assert set(rows) <= set(lines)
    assert all("not run yet" in line for line in lines.values())


def test_a_run_stands_beside_the_notebooks_figure(tmp_path: Path) -> None:
    recipe = find_recipe("cartpole-mc")
    settings = recipe.config().settings
    folders = []
    for seed in (0, 1):
        folder = run(tmp_path / "plain", seed, [30.0] * 1000, settings)
        config = json.loads((folder.path / "config.json").read_text())
        (folder.path / "config.json").write_text(
            json.dumps({**config, "recipe": "cartpole-mc"})
        )
        folders.append(RunFolder(folder.path))
    summarise_runs(recipe, folders).write(tmp_path)
    line = result_rows(tmp_path)["cartpole-mc"]
    assert "average of 100 at episode 100: 30 [30, 30]; notebook 25.7: reached" in line
    assert "at episode 200: 30 [30, 30]; notebook 76: **falls short**" in line
    # `run` writes evaluations of seed + 1.
    assert "evaluation: 1.5 [1, 2]; notebook 1000: **falls short**" in line
    assert "2; their 95 % interval covers less than 75 %" in line
    assert "`pgtoy run cartpole-mc --seeds 2`" in line


def test_summaries_of_other_settings_or_rows_are_refused(tmp_path: Path) -> None:
    other = find_recipe("cartpole-mc").config().changed({"gamma": 0.5}).settings
    recipe = Recipe(
        name="cartpole-mc",
        title="t",
        reported=Reported(text="t"),
        variants={"notebook": other},
    )
    summary = summarise_runs(recipe, [run(tmp_path / "runs", 0, [1.0] * 1000, other)])
    data = {**vars(summary), "recipe": "cartpole-mc"}
    (tmp_path / "cartpole-mc.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="was run with other settings"):
        make_pages.results_parts(tmp_path)
    (tmp_path / "cartpole-mc.json").rename(tmp_path / "cartpole-nc.json")
    with pytest.raises(ValueError, match="no row is called cartpole-nc"):
        make_pages.results_parts(tmp_path)


def test_rows_that_show_something_are_taken_from_the_runs(tmp_path: Path) -> None:
    run_demo(find_recipe("known-values"), tmp_path / "runs", 0)
    (tmp_path / "runs" / "empty").mkdir()
    left_out = make_pages.take_results(tmp_path / "runs", tmp_path / "to")
    assert left_out == [f"{tmp_path / 'runs' / 'empty'}: no finished run of a recipe"]
    assert "-22.314354: equal" in result_rows(tmp_path / "to")["known-values"]
    with pytest.raises(ValueError, match="there is no folder"):
        make_pages.take_results(tmp_path / "nowhere", tmp_path)


def stored_ablation() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(ablation.RESULTS.read_text())
    return stored


def test_the_ablation_reports_interquartile_means() -> None:
    """By hand: of ten sorted runs the mean of the third to the eighth."""
    stored = stored_ablation()
    rows = cells_of(make_pages.ablation_parts(stored))
    for setting, row, column in (("plain", "(neither)", 1), ("no memory",) * 2 + (0,)):
        speeds = np.sort([speed for speed, _ in stored["runs"][setting].values()])
        assert len(speeds) == 10
        assert rows[row][column].startswith(f"{speeds[2:8].mean():.0f} (")


def test_an_improvement_changes_both_agents_and_all_settings_are_valid() -> None:
    for improvement in ablation.IMPROVEMENTS:
        added = ablation.SETTINGS[f"plain + {improvement.name}"]
        removed = ablation.SETTINGS[f"all - {improvement.name}"]
        default = "default" in improvement.argument
        assert (added != ablation.PLAIN) or default, improvement.name
        assert removed != ablation.ALL, improvement.name
        ActorCritic("MlpPolicy", "CartPole-v1", **removed)


@pytest.mark.parametrize("lengths", [[3, 1], [2, 2, 2]])
def test_learning_speed_is_the_return_averaged_over_steps(lengths: list[int]) -> None:
    by_step = [n for n in lengths for _ in range(n)]
    speed, end = ablation.summary([float(n) for n in lengths])
    assert speed == pytest.approx(np.mean(by_step))
    assert end == pytest.approx(np.mean(lengths))


def turns(*rates: float) -> list[dict[str, float]]:
    return [{"steps": 10.0 * rate, "seconds": 10.0} for rate in rates]


def test_a_speed_ratio_is_the_median_over_turns() -> None:
    """By hand: 3, 2 and 4 times; the ratio of the medians would be 30 / 10."""
    both = {"A": turns(30, 40, 20), "B": turns(10, 20, 5)}
    row = make_pages.speed_row("setting", "A", "B", 2.5, both)
    assert row == [
        *("setting", "A", "30.0", "B", "10.0"),
        *("**3.00 x** (2.00 to 4.00)", ">= 2.5 x", "met"),
    ]


def test_a_missed_target_says_by_how_much() -> None:
    both = {"A": turns(150, 150), "B": turns(100, 100)}
    row = make_pages.speed_row("", "A", "B", 2.0, both)
    assert row[-2:] == [">= 2 x", "**missed by 25 %**"]


def test_a_rate_alone_is_compared_with_its_target() -> None:
    rates = {"A": turns(50e6, 66e6, 63e6)}
    row = make_pages.speed_row("", "A", None, 60e6, rates)
    assert row[-3:] == ["**63.0 M** (50.0 M to 66.0 M)", ">= 60.0 M", "met"]
    assert make_pages.speed_row("", "A", None, None, rates)[-2:] == ["", ""]


def test_comparisons_without_measurement_say_so() -> None:
    stored = json.loads((make_pages.DOCS / "speed.json").read_text())
    del stored["runs"]["a2c-8"]
    parts = make_pages.speed_parts(stored)
    assert sum("not measured yet" in line for p in parts.values() for line in p) == 1
    assert make_pages.solved_part({}) == ["Not measured yet."]


def test_solving_is_compared_with_ppos_median() -> None:
    found: dict[str, Any] = {"setup": "a processor", "commit": "abc"}
    for seed, seconds in enumerate([1.0, 2.0, float("inf")]):
        solved = seconds < float("inf")
        found[f"ActorCritic {seed}"] = {"solved": solved, "seconds": seconds}
        found[f"PPO {seed}"] = {"solved": True, "seconds": 4.0 + seed}
        found[f"A2C {seed}"] = {"solved": False, "seconds": 9.0}
    rows = cells_of({"solved": make_pages.solved_part(found)})
    assert rows["ActorCritic"] == ["2 of 3", "2.00", "1.00", "never", "0.40"]
    assert rows["PPO"] == ["3 of 3", "5.00", "4.00", "6.00", "1.00"]
    assert rows["A2C"][:2] == ["0 of 3", "never"]


def test_false_alarms_are_bounded_by_the_rule_of_three() -> None:
    verdicts = {"a loss": {"unbiased": 500, "biased but aligned": 1}}
    kinds = ("end_to_end", "models", "at_once")
    counted = {kind: {"verdicts": verdicts} for kind in kinds}
    lines = make_pages.false_alarm_lines(counted)
    assert lines[0].endswith(
        "501 runs of losses through `check_policy_gradient`: 0 "
        '"wrong", 1 "biased but aligned".'
    )
    bound = f"{3000 / 1503:.2g} in 1,000, with 95 % confidence."
    assert lines[-1].endswith(bound) and '0 of 1,503 runs say "wrong"' in lines[-1]
    verdicts["a loss"]["wrong"] = 1
    assert "confidence" not in make_pages.false_alarm_lines(counted)[-1]
