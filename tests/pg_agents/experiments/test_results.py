"""Figures of runs, in a small file, beside the notebook's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pg_agents.experiments import Recipe, Reported, RunFolder
from pg_agents.experiments.errors import OtherRunError
from pg_agents.experiments.figure import Figure
from pg_agents.experiments.folder import EvaluationRecord, Result
from pg_agents.experiments.monitor_file import Episode, new_writer, row
from pg_agents.experiments.recipe import Point
from pg_agents.experiments.results import RunsSummary, summarise_runs
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.experiments.stages import Stage, write_stages
from pg_agents.experiments.summary import coverage
from tests.pg_agents.experiments.tiny import SETTINGS

COUNTED = SETTINGS.changed({"episodes": 30})


def recipe(settings: Settings = COUNTED, **reported: object) -> Recipe:
    figures = Reported(text="t", **reported)  # type: ignore[arg-type]
    return Recipe(
        name="r", title="t", reported=figures, variants={"notebook": settings}
    )


def run(root: Path, seed: int, returns: list[float], settings: Settings) -> RunFolder:
    """Writes the folder of a run whose every number is known."""
    config = RunConfig("r", "notebook", settings)
    folder = RunFolder.create(RunFolder.path_of(root, config, seed), config, seed)
    writer = new_writer(folder.monitor, settings.env_id)
    for number, value in enumerate(returns, start=1):
        writer.write_row(row(Episode(value, 1, 0.0, number, number)))
    writer.close()
    folder.write_evaluation(EvaluationRecord(0, (seed + 0.5, seed + 1.5), (1, 1)))
    folder.write_result(
        Result(seed + 1.0, 0.5, 2, 100 + seed, len(returns), 9.0, "now", ())
    )
    return folder


def test_an_average_is_that_of_the_episodes_that_end_with_it(tmp_path: Path) -> None:
    returns = [float(n) for n in range(1, 31)]
    points = (Point(10, 10, 5.0), Point(20, 5, 18.5), Point(31, 1, 1.0))
    summary = summarise_runs(
        recipe(points=points), [run(tmp_path, 0, returns, COUNTED)]
    )
    # 1 to 10; 16 to 20; and there is no episode 31.
    assert summary.points == {"10/10": [5.5], "20/5": [18.0]}
    # Of 0.5 and 1.5.
    assert summary.tenth == [pytest.approx(0.6)]
    with_tail = summary.figures(recipe(tenth=True).reported)[-1]
    assert with_tail.what == "10th percentile of its episodes"
    assert with_tail.iqm == pytest.approx(0.6)
    figures = summary.figures(recipe(points=points).reported)
    assert [figure.reached for figure in figures] == [True, False, None]


def test_the_running_reward_is_its_highest_after_twenty_episodes(
    tmp_path: Path,
) -> None:
    # High at once, which is luck, then nothing, then 3 forever.
    returns = [100.0] + [0.0] * 18 + [3.0] * 11
    summary = summarise_runs(
        recipe(running_reward=5.0), [run(tmp_path, 0, returns, COUNTED)]
    )
    course = []
    weighted = weights = 0.0
    for value in returns:
        weighted, weights = 0.95 * weighted + 0.05 * value, 0.95 * weights + 0.05
        course.append((weighted, weighted / weights))
    allowed = {round(max(c[i] for c in course[19:]), 9) for i in (0, 1)}
    assert round(summary.running_reward[0], 9) in allowed
    assert summary.running_reward[0] < 15


def test_a_threshold_is_no_figure_of_the_notebook(tmp_path: Path) -> None:
    """And holds for every variant: seed 2 is evaluated at 3."""
    folders = [run(tmp_path, 2, [1.0] * 30, COUNTED)]
    beside = recipe(solved=2.5, running_reward=0.5).reported
    summary = summarise_runs(recipe(running_reward=0.5), folders)
    running, evaluation = summary.figures(beside)
    assert str(evaluation) == "3; solved at 2.5: reached"
    assert str(running) == "1; notebook 0.5: reached"
    # Other settings are not held against what the notebook reports on the way.
    running, evaluation = replace(summary, variant="best").figures(beside)
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


def test_success_is_told_of_the_stages_that_all_runs_have(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed, [1.0] * 30, COUNTED) for seed in (0, 1)]
    for i, folder in enumerate(folders):
        stages = {"controller": 0.5, "from_clone": 0.25 + 0.5 * i, "clone": 0.0}
        if i == 1:
            del stages["clone"]
        done = {name: Stage(rate, -1.0, 4, 0) for name, rate in stages.items()}
        write_stages(folder.path, done)
    summary = summarise_runs(recipe(), folders)
    assert summary.success == {"controller": [0.5, 0.5], "from_clone": [0.25, 0.75]}
    assert RunsSummary.read(summary.write(tmp_path)) == summary
    first, second, _ = summary.figures(recipe().reported)
    assert str(first).startswith("0.5 [") and first.what == "success rate, controller"
    assert second.what == "success rate, from clone" and second.iqm == 0.5


def test_what_counts_steps_has_no_averages_by_episode(tmp_path: Path) -> None:
    settings = SETTINGS.changed({"timesteps": 100})
    returns = [1.0] * 30
    summary = summarise_runs(
        recipe(settings, points=(Point(10, 10, 5.0),), running_reward=1.0),
        [run(tmp_path, 0, returns, settings)],
    )
    assert summary.points == {} and summary.running_reward == []


def test_a_summary_comes_back_from_its_file(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed, [1.0] * 30, COUNTED) for seed in (3, 5)]
    summary = summarise_runs(recipe(points=(Point(10, 10, 1.0),)), folders)
    assert summary.evaluation == [4.0, 6.0] and summary.seeds == [3, 5]
    path = summary.write(tmp_path)
    assert path.name == "r.json" and RunsSummary.read(path) == summary
    data = json.loads(path.read_bytes())
    for wrong, message in (
        ({**data, "steps": [1]}, "an entry for each seed"),
        ({**data, "more": 1}, "no summary of runs"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            RunsSummary.read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="cut off or damaged"):
        RunsSummary.read(path)


def test_runs_of_other_settings_are_not_put_together(tmp_path: Path) -> None:
    one = run(tmp_path, 0, [1.0] * 30, COUNTED)
    other = run(tmp_path, 1, [1.0] * 30, replace(COUNTED, n_envs=2))
    with pytest.raises(OtherRunError, match="n_envs is 2 there and 1 here"):
        summarise_runs(recipe(), [one, other])
    with pytest.raises(ValueError, match="at least one run"):
        summarise_runs(recipe(), [])


def test_a_figure_is_the_mean_of_the_middle_half() -> None:
    """0 to 7 without the lowest and highest quarter: 2, 3, 4, 5."""
    figure = Figure("f", tuple(np.arange(8.0)), 3.5)
    assert figure.iqm == 3.5 and figure.reached
    low, high = figure.interval
    assert low < 3.5 < high
    assert str(figure) == f"3.5 [{low:.4g}, {high:.4g}]; notebook 3.5: reached"
    short = replace(figure, reported=3.6)
    assert not short.reached
    assert "**falls short** (within the interval)" in str(short)
    assert str(replace(figure, reported=7.5)).endswith("7.5: **falls short**")
    assert str(Figure("f", (2.0,))) == "2" and Figure("f", (2.0,)).reached is None


def test_a_point_reaches_no_further_back_than_the_first_episode() -> None:
    with pytest.raises(ValueError, match="window=11 and episode=10"):
        Point(10, 11, 1.0)


@pytest.mark.parametrize(
    ("n_seeds", "said"),
    [
        (1, ", so there is no interval"),
        (2, "; their 95 % interval covers less than 75 %"),
        (5, "; their 95 % interval covers about 90 %"),
        (12, "; their 95 % interval covers about 93 %"),
    ],
)
def test_few_seeds_have_too_short_an_interval(n_seeds: int, said: str) -> None:
    assert coverage(n_seeds) == said
