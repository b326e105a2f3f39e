"""Metrics of runs, compared with reported ones, stored and printed."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents.analysis import interquartile_mean
from pg_agents.analysis.monitor import COLUMNS, Episode
from pg_agents.cli.main import main
from pg_agents.experiments import Recipe, Reported, RunFolder, RunReport
from pg_agents.experiments.folder import (
    EvaluationRecord,
    OtherRunError,
    Result,
    open_monitor,
    write_json,
)
from pg_agents.experiments.recipe import Point
from pg_agents.experiments.results import (
    Metric,
    RunsSummary,
    coverage,
    summarise_runs,
    summary_text,
)
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.experiments.warm_start import Stage
from tests.pg_agents.experiments.tiny import SETTINGS

COUNTED = SETTINGS.changed({"episodes": 30})


def recipe(settings: Settings = COUNTED, **reported: object) -> Recipe:
    reported_ = Reported(text="t", **reported)  # type: ignore[arg-type]
    return Recipe(
        name="r", title="t", reported=reported_, variants={"notebook": settings}
    )


def run(root: Path, seed: int, returns: list[float], settings: Settings) -> RunFolder:
    """Writes the folder of a run with given numbers; the evaluation is seed + 1."""
    config = RunConfig("r", "notebook", settings)
    folder = RunFolder.create(RunFolder.path_of(root, config, seed), config, seed)
    writer = open_monitor(folder.monitor, settings.env_id)
    for number, value in enumerate(returns, start=1):
        episode = Episode(value, 1, 0.0, number, number)
        writer.write_row(dict(zip(COLUMNS, episode, strict=True)))
    writer.close()
    folder.write_evaluation(EvaluationRecord(0, (seed + 0.5, seed + 1.5), (1, 1)))
    folder.write_result(
        Result(seed + 1.0, 0.5, 2, 100 + seed, len(returns), 9.0, "now", ())
    )
    return folder


def summary_of(
    root: Path, returns: list[float], settings: Settings = COUNTED, **reported: object
) -> RunsSummary:
    """Returns the summary of a single run, of seed 2."""
    return summarise_runs(
        recipe(settings, **reported), [run(root, 2, returns, settings)]
    )


def test_a_point_is_the_average_of_the_episodes_up_to_it(tmp_path: Path) -> None:
    points = (Point(10, 10, 5.0), Point(20, 5, 18.5), Point(31, 1, 1.0))
    summary = summary_of(tmp_path, np.arange(1.0, 31.0).tolist(), points=points)
    # 1 to 10; 16 to 20; there is no episode 31.
    assert summary.points == {"10/10": [5.5], "20/5": [18.0]}
    metrics = summary.metrics(recipe(points=points).reported)
    assert [metric.reached for metric in metrics] == [True, False, None]
    # Of 2.5 and 3.5.
    assert summary.p10 == [pytest.approx(2.6)]
    p10 = summary.metrics(recipe(tenth=True).reported)[-1]
    assert (p10.name, p10.iqm) == ("10th percentile of its episodes", *summary.p10)


def test_the_running_reward_is_the_highest_after_twenty_episodes(
    tmp_path: Path,
) -> None:
    # High once, by luck, then 0, then 3.
    returns = [100.0] + [0.0] * 18 + [3.0] * 11
    summary = summary_of(tmp_path, returns, running_reward=5.0)
    averages = [
        np.average(returns[:n], weights=0.95 ** np.arange(n, 0, -1))
        for n in range(20, 31)
    ]
    assert summary.running_reward == [pytest.approx(max(averages))]


def test_a_threshold_applies_to_every_variant_and_training_results_to_one(
    tmp_path: Path,
) -> None:
    reported: dict[str, Any] = {"solved": 2.5, "running_reward": 0.5}
    summary = summary_of(tmp_path, [1.0] * 30, **reported)
    running, evaluation = summary.metrics(recipe(**reported).reported)
    assert str(evaluation) == "3; solved at 2.5: reached"
    assert str(running) == "1; reported 0.5: reached"
    # The notebook's training results are those of its own settings.
    best = replace(summary, variant="best")
    running, evaluation = best.metrics(recipe(**reported).reported)
    assert str(evaluation) == "3; solved at 2.5: reached"
    assert str(running) == "1"


def test_solved_are_the_evaluations_at_gymnasiums_threshold(tmp_path: Path) -> None:
    """CartPole's is 475, and seed 474 is evaluated at just that."""
    settings = replace(COUNTED, env_id="CartPole-v1")
    folders = [run(tmp_path, seed, [1.0] * 30, settings) for seed in (473, 474, 475)]
    assert summarise_runs(recipe(settings), folders).solved == 2
    none = replace(COUNTED, env_id="Pendulum-v1")
    folders = [run(tmp_path / "none", 0, [1.0] * 30, none)]
    assert summarise_runs(recipe(none), folders).solved is None


def test_success_rates_are_of_the_stages_that_all_runs_have(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed, [1.0] * 30, COUNTED) for seed in (0, 1)]
    for folder, rates in (
        (folders[0], {"controller": 0.5, "from_clone": 0.25, "clone": 0.0}),
        (folders[1], {"controller": 0.5, "from_clone": 0.75}),
    ):
        stages = {n: asdict(Stage(rate, -1.0, 4, 0)) for n, rate in rates.items()}
        write_json(folder.path / "stages.json", stages)
    summary = summarise_runs(recipe(), folders)
    assert summary.success == {"controller": [0.5, 0.5], "from_clone": [0.25, 0.75]}
    assert RunsSummary.read(summary.write(tmp_path)) == summary
    first, second, _ = summary.metrics(recipe().reported)
    assert str(first).startswith("0.5 [") and first.name == "success rate, controller"
    assert second.name == "success rate, from clone" and second.iqm == 0.5


def test_runs_that_count_steps_have_no_averages_by_episode(tmp_path: Path) -> None:
    settings = SETTINGS.changed({"timesteps": 100})
    reported: dict[str, Any] = {"points": (Point(10, 10, 5.0),), "running_reward": 1.0}
    summary = summary_of(tmp_path, [1.0] * 30, settings, **reported)
    assert summary.points == {} and summary.running_reward == []


def test_a_summary_is_read_back_from_its_file(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed, [1.0] * 30, COUNTED) for seed in (3, 5)]
    summary = summarise_runs(recipe(points=(Point(10, 10, 1.0),)), folders)
    assert summary.evaluation == [4.0, 6.0] and summary.seeds == [3, 5]
    path = summary.write(tmp_path)
    assert path.name == "r.json" and RunsSummary.read(path) == summary
    data = json.loads(path.read_bytes())
    for content, message in (
        (json.dumps({**data, "steps": [1]}), "an entry for each seed"),
        (json.dumps({**data, "more": 1}), "not a summary of runs"),
        ("{", "cut off or damaged"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            RunsSummary.read(path)


def test_runs_of_other_settings_are_rejected(tmp_path: Path) -> None:
    one = run(tmp_path, 0, [1.0] * 30, COUNTED)
    other = run(tmp_path, 1, [1.0] * 30, replace(COUNTED, n_envs=2))
    with pytest.raises(OtherRunError, match="n_envs is 2 there and 1 here"):
        summarise_runs(recipe(), [one, other])
    with pytest.raises(ValueError, match="at least one run"):
        summarise_runs(recipe(), [])


def test_a_metric_is_the_mean_of_the_middle_half() -> None:
    """0 to 7 without the lowest and highest quarter: 2, 3, 4, 5."""
    metric = Metric("f", tuple(np.arange(8.0)), 3.5)
    assert metric.iqm == 3.5 and metric.reached
    low, high = metric.interval
    assert low < 3.5 < high
    assert str(metric) == f"3.5 [{low:.4g}, {high:.4g}]; reported 3.5: reached"
    short = replace(metric, reported=3.6)
    assert not short.reached
    assert "**falls short** (within the interval)" in str(short)
    assert str(replace(metric, reported=7.5)).endswith("7.5: **falls short**")
    assert str(Metric("f", (2.0,))) == "2" and Metric("f", (2.0,)).reached is None


def test_the_window_of_a_point_starts_at_the_first_episode_or_later() -> None:
    with pytest.raises(ValueError, match="window=11 and episode=10"):
        Point(10, 11, 1.0)


@pytest.mark.parametrize(
    ("n_seeds", "text"),
    [
        (1, ", so there is no interval"),
        (2, "; with so few seeds a 95 % interval holds in less than 75 % of cases"),
        (5, "; with so few seeds a 95 % interval holds in about 90 % of cases"),
        (12, "; with so few seeds a 95 % interval holds in about 93 % of cases"),
    ],
)
def test_the_coverage_of_few_seeds_is_stated(n_seeds: int, text: str) -> None:
    assert coverage(n_seeds) == text


def test_the_summary_has_a_line_per_seed_and_per_metric(tmp_path: Path) -> None:
    tiny = recipe(value=5.5, points=(Point(10, 10, 2.0),))
    reports = [RunReport(1, tmp_path, None, "it failed")]
    for seed in (7, 3):
        folder = run(tmp_path, seed, [3.0] * 30, COUNTED)
        reports.append(RunReport(seed, folder.path, folder.result()))
    lines = summary_text(tiny, tiny.config(), reports).splitlines()
    assert lines[1].split() == ["7", "8", "±", "0.5", "107", "30", "9.0"]
    assert lines[2].split()[0] == "3"
    # Of two seeds the middle half are both: (8 + 4) / 2.
    assert lines[4:7] == [
        f"r: interquartile means over 2 seeds{coverage(2)}",
        "  average of 10 at episode 10  3 [3, 3]; reported 2: reached",
        "  evaluation                   6 [4, 8]; reported 5.5: reached",
    ]
    assert lines[-2:] == [
        "for comparison, the source of this recipe reports: t",
        "1 of 3 runs failed",
    ]
    none = summary_text(tiny, tiny.config(), reports[:1]).splitlines()
    assert none == [
        "r: no run has finished",
        "for comparison, the source of this recipe reports: t",
        "1 of 1 runs failed",
    ]


def test_run_and_compare_agree_on_solved_and_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten runs are solved by evaluation, three of which reached 475 in training."""
    settings = replace(COUNTED, env_id="CartPole-v1", env_kwargs={}, episodes=120)
    reports = []
    for seed in range(480, 490):
        returns = [500.0 if seed < 483 else 400.0] * 120
        folder = run(tmp_path, seed, returns, settings)
        reports.append(RunReport(seed, folder.path, folder.result()))
    printed = summary_text(recipe(settings), recipe(settings).config(), reports)
    assert main(["compare", str(tmp_path / "r")]) == 0
    scores, speeds, notes = capsys.readouterr().out.split("\n\n")
    criteria, cells = notes.splitlines(), dict[str, str]()
    for part in (scores, speeds):
        header, row = (re.split(r"  +", line) for line in part.splitlines())
        cells |= dict(zip(header, row, strict=True))
    assert (cells["solved"], cells["reached"]) == ("10 of 10", "3 of 10")
    for name, criterion in zip(("solved", "reached"), criteria, strict=False):
        assert criterion.startswith(f"{name}: ")
        assert f"  {cells[name]} {criterion}" in printed.splitlines()
    iqm = interquartile_mean([seed + 1.0 for seed in range(480, 490)])
    assert cells["iqm"] == f"{iqm:.1f}" and f"{iqm:.4g} [" in printed
