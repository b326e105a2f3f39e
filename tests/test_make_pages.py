"""The generator of docs/: figures by hand, and nothing that was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import ablation, speed
from bench.cells import REFERENCE_RATES
from docs import make_pages
from pg_agents import ActorCritic
from pg_agents.checker import CATALOGUE
from pg_agents.experiments import Recipe, Reported, RunFolder, find_recipe, recipes
from pg_agents.experiments.demos import run_demo
from pg_agents.experiments.results import summarise_runs
from tests.pg_agents.checker.heldout import HELD_OUT
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


def test_every_recipe_has_a_source_and_a_result(tmp_path: Path) -> None:
    rows = [row for names in make_pages.recipes_of_sources().values() for row in names]
    assert sorted(rows) == sorted(recipes())
    lines = result_rows(tmp_path)
    assert set(rows) <= set(lines)
    assert all("not run yet" in line for line in lines.values())


def test_a_run_stands_beside_the_reported_figure(tmp_path: Path) -> None:
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
    assert "average of 100 at episode 100: 30 [30, 30]; reported 25.7: reached" in line
    assert "at episode 200: 30 [30, 30]; reported 76: **falls short**" in line
    # `run` writes evaluations of seed + 1.
    assert "evaluation: 1.5 [1, 2]; reported 1000: **falls short**" in line
    assert "2; with so few seeds a 95 % interval holds in less than 75 %" in line
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
    with pytest.raises(ValueError, match="no recipe is called cartpole-nc"):
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


def test_equal_runs_have_an_interval_of_one_point() -> None:
    assert make_pages.iqm_cell([500.0] * 10) == "500 (500 to 500)"
    # The interquartile mean drops a single outlier.
    assert make_pages.iqm_cell([10.0] * 9 + [1000.0]).startswith("10 (10 to ")


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


def speed_row(turns_of: dict[str, Any], *arguments: Any, **more: Any) -> list[str]:
    return make_pages.speed_row(
        speed.Row("group", "what", *arguments, **more), turns_of
    )


def test_a_speed_ratio_is_the_median_over_turns() -> None:
    """By hand: 3, 2 and 4 times; the ratio of the medians would be 30 / 10."""
    both = {"A": {"1": turns(30, 40, 20)}, "B": {"1": turns(10, 20, 5)}}
    assert speed_row(both, "A", "B", 2.5) == [
        *("what", "30.0 (1)", "10.0 (1)"),
        *("**3.00 x** (2.00 to 4.00)", ">= 2.5 x", "met"),
    ]


def test_each_side_counts_with_its_better_number_of_threads() -> None:
    """Unless the row is one of a given number of threads."""
    both = {
        "A": {"1": turns(30, 30), "2": turns(60, 60)},
        "B": {"1": turns(20, 20), "2": turns(10, 10)},
    }
    assert speed_row(both, "A", "B")[1:3] == ["60.0 (2)", "20.0 (1)"]
    assert speed_row(both, "A", "B", threads=1)[1:3] == ["30.0 (1)", "20.0 (1)"]


def test_a_missed_target_says_by_how_much() -> None:
    both = {"A": {"1": turns(150, 150)}, "B": {"1": turns(100, 100)}}
    assert speed_row(both, "A", "B", 2.0)[-2:] == [">= 2 x", "**missed by 25 %**"]


def test_a_rate_alone_is_compared_with_its_target() -> None:
    rates = {"A": {"1": turns(50e6, 66e6, 63e6)}}
    assert speed_row(rates, "A", target=60e6)[-3:] == [
        *("**63.0 M** (50.0 M to 66.0 M)", ">= 60.0 M", "met")
    ]
    assert speed_row(rates, "A")[-2:] == ["", ""]


def test_durations_are_those_of_a_turn() -> None:
    """Turns have 10 seconds."""
    both = {"A": {"2": turns(4)}, "B": {"2": turns(1)}}
    assert speed_row(both, "A", "B", seconds=True)[1:3] == ["10.0 s", "10.0 s"]


def test_a_side_that_this_version_lacks_is_not_there_yet() -> None:
    row = speed_row({"B": {"1": turns(100)}}, "A", "B", 2.0)
    assert row == ["what", "A: not there yet", "", "", "", ""]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(61_234_567, "61.2 M"), (73_849, "73,800"), (999.6, "1,000"), (590, "590")],
)
def test_rates_have_three_digits(value: float, shown: str) -> None:
    assert make_pages.figure(value) == shown


def test_what_was_not_measured_says_so() -> None:
    """And what was measured keeps its figures, its curve and its advice."""
    empty: dict[str, Any] = {"runs": {}, "solve": {}}
    parts = make_pages.speed_parts(empty)
    rows = [row for c in speed.COMPARISONS for row in c.rows]
    lines = [line for line in parts["table"] if "not measured yet" in line]
    assert len(lines) == len(rows) + 1
    assert parts["curve"] == parts["advice"] == ["Not measured yet."]
    sides = {side: {"1": turns(100, 200, 300)} for side in speed.CURVE}
    entry = {"turns": sides, "commit": "abc", "setup": "a processor"}
    runs = {"envs-64": entry}
    parts = make_pages.speed_parts({"runs": runs, "solve": {}})
    assert "speed.png" in parts["curve"][0]
    assert parts["advice"] == ["Not measured yet."]
    complete = make_pages.speed_parts(
        {"runs": {**runs, "envs-1024": entry}, "solve": {}}
    )
    assert "1.0 times as many steps" in complete["advice"][0]
    assert parts["setup"] == ["- Commit abc; a processor."]
    assert sum("200 (1)" in line for line in parts["table"]) >= 3
    # Its ratio at 1,024 environments was not measured.
    assert not any("nan" in line for part in parts.values() for line in part)


def test_a_cell_that_differs_from_its_notebook_is_marked() -> None:
    """By hand: all are twice as fast as on the reference machine, one three times."""
    runs = {
        f"cell-{name}": {
            "turns": {"cell": {"1": turns((3 if name == "cartpole-mc" else 2) * rate)}}
        }
        for name, rate in REFERENCE_RATES.items()
    }
    ratios = {name: ratio for name, _, _, ratio in speed.cell_rates(runs)}
    assert ratios == {n: 1.5 if n == "cartpole-mc" else 1.0 for n in ratios}
    entries = {name: {**r, "commit": "c", "setup": "s"} for name, r in runs.items()}
    cells = make_pages.speed_parts({"runs": entries, "solve": {}})["cells"]
    assert [line for line in cells if "**" in line] == [
        "| cartpole-mc | 17,900 | 5,980 | **1.50** |"
    ]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    sides = {side: {"1": turns(100, 200), "2": turns(90)} for side in speed.CURVE}
    make_pages.draw_speed(
        {f"envs-{n}": {"turns": sides} for n in (1, 64)}, tmp_path / "speed.png"
    )
    assert (tmp_path / "speed.png").stat().st_size > 10_000


def test_solving_is_compared_with_ppos_median() -> None:
    found: dict[str, Any] = {"setup": "a processor", "commit": "abc"}
    for seed, seconds in enumerate([0.5, 1.0, float("inf")]):
        solved = seconds < float("inf")
        found[f"ActorCritic {seed}"] = {"solved": solved, "seconds": seconds}
        found[f"REINFORCE {seed}"] = {"solved": True, "seconds": seconds + 0.5}
        found[f"PPO {seed}"] = {"solved": True, "seconds": 4.0 + seed}
        found[f"A2C {seed}"] = {"solved": False, "seconds": 9.0}
    rows = {row[0]: row[1:] for row in make_pages.solved_rows(found)}
    assert rows["ActorCritic, median of 3 seeds, 2 solved"] == [
        *("1.00 s", "5.00 s", "**0.20 x** (0.10 x to never)"),
        *("<= 0.12 x", "**missed by 67 %**"),
    ]
    assert rows["ActorCritic, slowest of 3 seeds, 2 solved"][0] == "never"
    assert rows["A2C, median of 3 seeds, 0 solved"][0] == "never"
    assert rows["REINFORCE, median of 3 seeds, 2 solved"][3] == "<= 0.2 x"


def test_false_alarms_are_bounded_by_the_rule_of_three() -> None:
    verdicts = {"a loss": {"right": 500, "undecided": 1}}
    kinds = ("formulas", "means", "models")
    counted = {kind: {"verdicts": verdicts} for kind in kinds}
    lines = make_pages.false_alarm_lines(counted)
    assert lines[0].startswith("- 501 runs of losses whose formula is identified")
    assert lines[0].endswith('0 "wrong", 1 "undecided".')
    bound = f"{3000 / 1503:.2g} in 1,000, with 95 % confidence."
    assert lines[-1].endswith(bound) and '0 of 1,503 runs say "wrong"' in lines[-1]
    verdicts["a loss"]["wrong"] = 1
    assert "confidence" not in make_pages.false_alarm_lines(counted)[-1]


def test_tables_of_script_checks_count_what_was_found_and_named() -> None:
    def row(expected: str, keys: str, verdict: str, mistakes: str) -> dict[str, Any]:
        return {
            "expected": expected,
            "keys": keys.split(),
            "verdict": verdict,
            "mistakes": mistakes.split(),
            "departures": ["gamma_dropped"],
            "seconds": 4.0,
        }

    rows = {
        "right": row("right", "gamma_dropped", "right", ""),
        "accused": row("right", "", "wrong", "rounded"),
        "named": row("wrong", "all_pairs wrong_gather", "wrong", "all_pairs"),
        "located": row("wrong", "all_pairs", "wrong", ""),
        "misnamed": row("wrong", "all_pairs", "no gradient", "all_pairs rounded"),
        "missed": row("wrong", "all_pairs", "right", ""),
        "refused": {
            "expected": "wrong",
            "keys": ["rounded"],
            "verdict": "cannot check",
            "error": "why",
            "seconds": 9.0,
        },
    }
    parts = make_pages.script_check_parts(rows)
    summary = "\n".join(parts["scripts summary"])
    assert "2 right scripts: 1 right, 1 wrong." in summary
    assert "5 scripts with a planted mistake: 3 are found" in summary
    assert "asserted for 2, and it is right for 1" in summary
    assert "| `all_pairs` | 4 | 3 | 1 | 1 | 4 |" in parts["wrong scripts"]
    assert "| `rounded` | 1 | 0 | 0 | 0 | 9 |" in parts["wrong scripts"]
    assert parts["not as expected"] == [
        "- `accused`: wrong, named `rounded`.",
        "- `misnamed`: no gradient, named `all_pairs`, `rounded`.",
        "- `missed`: right.",
        "- `refused`: cannot check (why).",
    ]


def test_a_script_that_cannot_be_checked_may_be_expected() -> None:
    row = {
        "repository": "a/b",
        "commit": "1234567",
        "file": "c.py",
        "what": "REINFORCE",
        "reading": "one episode",
        "expected": "cannot check",
        "keys": [],
        "verdict": "cannot check",
        "seconds": 1.0,
    }
    lines = make_pages.public_script_lines({"c.py": row})
    assert lines[0] == "The verdict agrees with the reading for 1 of 1."
    cells = ["a/b 1234567", "`c.py`", "REINFORCE", "one episode", "cannot check"]
    assert f"| {' | '.join(cells)} | none | 1 |" in lines


def test_counts_of_right_scripts_called_wrong() -> None:
    counted = {
        "a 1": {"runs": {"right": 1}, "halves": {"right": 4, "undecided": 1}},
        "b 1": {"runs": {"right": 1}, "halves": {"no gradient": 2, "wrong": 1}},
    }
    runs, halves = make_pages.script_alarm_lines(counted)
    assert "2 runs of right scripts with other seeds: 0 called wrong" in runs
    assert "(fewer than 1.5e+03 in 1,000, with 95 % confidence)" in runs
    assert "8 times" in halves and "3 called wrong" in halves
    assert "1 undecided" in halves and "confidence" not in halves


def test_the_page_fixes_lines_of_the_script_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[tuple[str, ...]] = []

    def run(folder: str, *arguments: str) -> tuple[int, str]:
        text = Path(folder, "demos", "train_cartpole.py").read_text()
        fixed = sum(new in text for _, new in make_pages.SCRIPT_FIXES)
        runs.append(arguments)
        if "check" in arguments:
            return int(fixed < 2), f"{fixed} fixed"
        episodes = arguments[arguments.index("--episodes") + 1]
        return 0, f"mean score: {int(episodes) + fixed - int(arguments[-1])}"

    monkeypatch.setattr(make_pages, "run_python", run)
    parts = make_pages.check_your_script_parts(n_seeds={300: 2, 1000: 1})
    checks = [parts[f"{name} check"][1] for name in ("first", "second", "third")]
    assert checks == ["0 fixed", "1 fixed", "2 fixed"]
    heading, _, *rows = parts["scores"]
    assert "300 episodes, seeds 0 to 1 | 1,000 episodes, seeds 0 to 0 |" in heading
    assert rows == [
        "| as it is | 299, 300 | 1000 |",
        "| with both mistakes fixed | 301, 302 | 1002 |",
    ]
    page = (make_pages.DOCS / "check-your-script.md").read_text()
    assert "advantages.detach()" in make_pages.fill(page, parts)


def test_a_page_whose_text_does_not_hold_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(make_pages, "run_python", lambda *arguments: (0, "right 1"))
    with pytest.raises(ValueError, match=r"must be 1, 1, 0, got \[0, 0, 0\]"):
        make_pages.check_your_script_parts(n_seeds={300: 1})


def loss_report(verdict: str, *keys: str, ties: tuple[str, ...] = ()) -> Any:
    """What the pages read of a report; a key is its own title."""
    task = SimpleNamespace(task="fork", cosine=0.5)
    findings = [SimpleNamespace(key=key, kind="mistake") for key in keys]
    return SimpleNamespace(
        verdict=verdict,
        findings=findings,
        name=" + ".join(keys),
        ties=ties,
        tasks=(task, SimpleNamespace(task="Sequence", cosine=None)),
        worst=task,
        seconds=2.0,
    )


def test_planted_mistakes_are_counted() -> None:
    lines = make_pages.planted_lines(
        {
            "right": loss_report("right"),
            "sign_flipped": loss_report("wrong", "sign_flipped"),
            "off_by_one": loss_report("wrong", "rounded"),
            "rounded": loss_report("right"),
            "batch_mean_baseline": loss_report("right"),
            "replay": loss_report("wrong", "replay", ties=("another",)),
            "nan_deviation": ValueError("NaN"),
        }
    )
    assert lines[0].startswith("1 of 6 are named, 1 get another name, 1 with a bias")
    # A batch mean scales the gradient by 1 - 1/N.
    assert "1 that leave the expected direction as it is: `batch_mean_b" in lines[0]
    assert "| `replay` | wrong | 0.500 | replay or another | 2.0 |" in lines
    assert "| `nan_deviation` | could not be checked | - | - | - |" in lines


def test_stored_rows_are_reports() -> None:
    assert isinstance(make_pages.report_of({"error": "NaN"}), ValueError)
    row = {
        "verdict": "wrong",
        "name": "sign flipped",
        "ties": [],
        "findings": [{"key": "sign_flipped", "kind": "mistake"}],
        "tasks": [
            {"task": "fork", "gamma": 0.9, "cosine": 0.5},
            {"task": "Sequence", "gamma": 0.9, "cosine": -1.0},
        ],
        "worst": 1,
        "notes": ["a note"],
        "seconds": 2.0,
    }
    report = make_pages.report_of(row)
    assert make_pages.verdict_cells(report) == ["wrong", "-1.000"]
    assert make_pages.finding_keys(report) == {"sign_flipped"}
    assert make_pages.name_cell(report) == "sign flipped"
    assert make_pages.slowest({"it": report}).startswith("2.0 s of CPU time")


def test_held_out_losses_are_counted() -> None:
    reports = {}
    for loss in HELD_OUT:
        verdict = "right" if loss.exact == "right" else "wrong"
        reports[loss.name] = loss_report(verdict)
    first = next(loss for loss in HELD_OUT if loss.exact == "right")
    other = next(
        loss for loss in HELD_OUT if loss.names == (frozenset({"probability"}),)
    )
    reports[first.name] = loss_report("wrong", "rounded")
    reports[other.name] = loss_report("right", "probability")
    text = "\n".join(make_pages.held_out_lines(reports))
    assert "called wrong: 1. Others called right: 1, and 0 with a bias below" in text
    assert "Names: 2 asserted, 1 of them right." in text
    assert (
        f"| `{first.name}` | right | wrong (accused) | rounded (wrong name) |" in text
    )


def test_each_mistake_has_a_section_with_its_lines() -> None:
    lines = make_pages.pitfall_lines(
        {"probability": loss_report("wrong", "probability")}
    )
    text = "\n".join(lines)
    for mistake in CATALOGUE:
        assert text.count(f"## {mistake.title[0].upper()}{mistake.title[1:]}\n") == 1
        for line in (*mistake.wrong.splitlines(), *mistake.right.splitlines()):
            assert line in text
    measured = "wrong, cosine 0.500 (fork), none (Sequence); named probability."
    assert f"Measured: {measured} `pgtoy check pitfalls.py:probability`." in text
    assert make_pages.code_lines("wrong", "a\nb") == ["wrong:  a", "        b"]
