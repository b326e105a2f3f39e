"""docs/results.md: no row missing, and nothing in it that was not measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.results import PAGE, SUMMARIES, extract, page
from benchmarks.results_rows import NOTES, SECTIONS
from pg_agents.experiments import Recipe, Reported, RunFolder, find_recipe, recipes
from pg_agents.experiments.demos import run_demo
from pg_agents.experiments.results import summarise_runs
from tests.pg_agents.experiments.test_results import run

ROWS = [row for rows in SECTIONS.values() for row in rows]


def lines_of(text: str) -> dict[str, str]:
    """Returns the line of each row and variant."""
    found = re.findall(r"^\| \*\*(.+?)\*\* \|(.*)$", text, re.MULTILINE)
    return dict(found)


def test_the_page_is_that_of_the_summaries() -> None:
    assert PAGE.read_text() == page(SUMMARIES)


def test_every_row_and_every_recipe_is_there(tmp_path: Path) -> None:
    lines = lines_of(page(tmp_path))
    assert len(ROWS) == 30 == len(set(ROWS))
    assert set(ROWS) <= set(lines) and set(recipes()) <= set(ROWS)
    assert set(NOTES) <= set(ROWS)
    # Nothing has been run there.
    assert all("| not run yet |" in line for line in lines.values())


def test_a_run_stands_beside_the_notebook_s_figure(tmp_path: Path) -> None:
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
    line = lines_of(page(tmp_path))["cartpole-mc"]
    assert "average of 100 at episode 100: 30 [30, 30]; notebook 25.7: reached" in line
    assert "at episode 200: 30 [30, 30]; notebook 76: **falls short**" in line
    # The evaluations of `run`: seed + 1.
    assert "evaluation: 1.5 [1, 2]; notebook 1000: **falls short**" in line
    assert "| 2; their 95 % interval covers less than 75 % |" in line
    assert "`pgtoy run cartpole-mc --seeds 2`" in line


def test_summaries_of_other_settings_or_rows_are_refused(tmp_path: Path) -> None:
    recipe = find_recipe("cartpole-mc")
    other = recipe.config().changed({"gamma": 0.5}).settings
    named = Recipe(
        name="cartpole-mc",
        title="t",
        reported=Reported(text="t"),
        variants={"notebook": other},
    )
    summary = summarise_runs(named, [run(tmp_path / "runs", 0, [1.0] * 1000, other)])
    data = {**vars(summary), "recipe": "cartpole-mc"}
    (tmp_path / "cartpole-mc.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="was run with other settings"):
        page(tmp_path)
    (tmp_path / "cartpole-mc.json").rename(tmp_path / "cartpole-nc.json")
    with pytest.raises(ValueError, match="no row is called cartpole-nc"):
        page(tmp_path)


def test_shows_are_taken_too(tmp_path: Path) -> None:
    run_demo(find_recipe("known-values"), tmp_path / "runs", 0)
    (tmp_path / "runs" / "empty").mkdir()
    left_out = extract(tmp_path / "runs", tmp_path / "to")
    assert left_out == [f"{tmp_path / 'runs' / 'empty'}: no finished run of a recipe"]
    assert "-22.314354: equal" in lines_of(page(tmp_path / "to"))["known-values"]
    with pytest.raises(ValueError, match="there is no folder"):
        extract(tmp_path / "nowhere", tmp_path)
