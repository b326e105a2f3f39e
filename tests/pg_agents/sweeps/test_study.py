"""Sweeps: their result, continuation after a kill, and invalid arguments."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from pg_agents.analysis import bootstrap_interval, interquartile_mean
from pg_agents.sweeps import SweepResult, tune
from tests.pg_agents.sweeps.killed_sweep import (
    SPACE,
    TEST,
    TUNING,
    LoggedScore,
    score,
    sweep,
)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder / 'studies.db'}"
    study = optuna.load_study(study_name="paraboloid", storage=storage)
    found: list[optuna.trial.FrozenTrial] = study.trials
    return found


def finished(folder: Path) -> list[tuple[Any, Any]]:
    """Returns parameters and value of each finished trial."""
    return [(t.params, t.value) for t in trials(folder) if t.state.name != "FAIL"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepResult]:
    """A sweep without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, sweep(folder, LoggedScore(folder / "calls"))


def test_the_best_settings_and_their_scores(whole: tuple[Path, SweepResult]) -> None:
    folder, result = whole
    completed = [t for t in trials(folder) if t.state.name == "COMPLETE"]
    best = max(completed, key=lambda t: t.value or 0.0)
    assert result.trial == best.number
    assert result.tuning_scores == {s: score(result.settings, s) for s in TUNING}
    assert best.value == interquartile_mean(list(result.tuning_scores.values()))
    assert result.test_scores == {s: score(result.settings, s) for s in TEST}
    test_scores = list(result.test_scores.values())
    assert result.test_iqm == interquartile_mean(test_scores)
    assert result.test_interval == bootstrap_interval(test_scores)
    assert result.n_completed == len(completed)
    assert result.n_completed + result.n_pruned == 12


def test_only_the_best_trial_runs_with_the_test_seeds(
    whole: tuple[Path, SweepResult],
) -> None:
    folder, result = whole
    calls = (folder / "calls").read_text().splitlines()
    of_test = [call for call in calls if int(call.split()[-1]) in TEST]
    assert of_test == [f"{result.settings} {seed}" for seed in TEST]
    # Nothing was computed twice.
    assert max(Counter(calls).values()) == 1


def test_a_trial_below_the_median_is_pruned(whole: tuple[Path, SweepResult]) -> None:
    """After each seed: the median of the completed trials after as many seeds."""
    folder, result = whole
    pruned = [t for t in trials(folder) if t.state.name == "PRUNED"]
    assert len(pruned) == result.n_pruned > 0
    for trial in pruned:
        step = max(trial.intermediate_values)
        assert step < len(TUNING) and len(trial.user_attrs["scores"]) == step
        before = [
            t.intermediate_values[step]
            for t in trials(folder)[: trial.number]
            if t.state.name == "COMPLETE"
        ]
        assert max(trial.intermediate_values.values()) < np.median(before)


def test_a_killed_sweep_equals_a_whole_one(
    whole: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    """Killed in a trial's first seed, twice in the next, and early in a third."""
    n_calls = ["4", "6", "1", "7", "3"]
    run = [sys.executable, "-m", "tests.pg_agents.sweeps.killed_sweep", str(tmp_path)]
    subprocess.run([*run, *n_calls], check=True, timeout=300, capture_output=True)
    result = sweep(tmp_path, LoggedScore(tmp_path / "calls"))
    folder, expected = whole
    # Interrupted trials have numbers, too.
    assert replace(result, trial=expected.trial) == expected
    assert finished(tmp_path) == finished(folder)
    # No score was lost, none computed twice.
    calls = [(f / "calls").read_text() for f in (folder, tmp_path)]
    assert calls[0] == calls[1]


def test_n_trials_is_the_number_to_reach(
    whole: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    sweep(tmp_path, score, 5)
    assert len(finished(tmp_path)) == 5
    objective = LoggedScore(tmp_path / "calls")
    sweep(tmp_path, objective, 5)
    # Nothing was computed, not even the test.
    assert not objective.log.exists()
    sweep(tmp_path, score, 12)
    assert finished(tmp_path) == finished(whole[0])


def test_after_an_exception_the_trial_continues(
    whole: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    def fails(settings: dict[str, Any], seed: int) -> float:
        if seed == 2:
            raise OSError("the disk is full")
        return score(settings, seed)

    with pytest.raises(OSError, match="the disk is full") as error:
        sweep(tmp_path, fails)
    assert "in trial 0 of the sweep, seed 2" in error.value.__notes__[0]
    sweep(tmp_path, score)
    assert finished(tmp_path) == finished(whole[0])


def test_the_objective_may_change_its_settings(
    whole: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    def changes(settings: dict[str, Any], seed: int) -> float:
        value = score(settings, seed)
        settings["list"].append(9)
        settings.clear()
        return value

    assert sweep(tmp_path, changes) == whole[1]


def test_a_score_that_is_not_finite_fails_the_trial(tmp_path: Path) -> None:
    def diverges(settings: dict[str, Any], seed: int) -> float:
        return float("nan") if settings["x"] > 0 else score(settings, seed)

    result = sweep(tmp_path, diverges, 8)
    assert result.settings["x"] <= 0 and result.n_failed > 0
    assert result.n_completed + result.n_pruned + result.n_failed == 8
    (tmp_path / "again").mkdir()
    with pytest.raises(ValueError, match="no trial of paraboloid was completed: 3"):
        sweep(tmp_path / "again", lambda _, __: float("inf"), 3)


@pytest.mark.parametrize(("statistic", "best"), [("mean", "a"), ("iqm", "b")])
def test_the_statistic_decides(tmp_path: Path, statistic: Any, best: str) -> None:
    """The mean counts an outlier of four seeds, the interquartile mean does not."""
    scores = {"a": [0.0, 0.0, 0.0, 9.0, 0.0], "b": [1.0] * 5}
    result = tune(
        lambda settings, seed: scores[settings["k"]][seed],
        {"k": ["choice", ["a", "b"]]},
        name=statistic,
        storage=tmp_path / "studies.db",
        n_trials=8,
        tuning_seeds=[0, 1, 2, 3],
        test_seeds=[4],
        statistic=statistic,
        pruner=optuna.pruners.NopPruner(),
    )
    assert (result.n_completed, result.settings) == (8, {"k": best})


GOOD: dict[str, Any] = {
    "objective": score,
    "space": SPACE,
    "name": "paraboloid",
    "n_trials": 1,
    "tuning_seeds": [0, 1],
    "test_seeds": [2],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_seeds": [1, 2, 0]}, r"differ from the tuning_seeds.*\[0, 1\] are in"),
        ({"tuning_seeds": []}, "tuning_seeds must be at least one seed"),
        ({"test_seeds": [2, 2]}, "test_seeds must be at least one seed, each once"),
        ({"tuning_seeds": [-1]}, "tuning_seeds must be an integer >= 0, got -1"),
        ({"n_trials": 0}, "n_trials must be an integer >= 1, got 0"),
        ({"statistic": "max"}, "statistic must be one of 'iqm', 'mean'"),
        ({"seed": 1.5}, "seed must be an integer >= 0"),
        ({"space": {}}, "at least one setting"),
        ({"objective": 3}, "objective must be a function, got 3"),
    ],
)
def test_invalid_arguments_raise_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        tune(**(GOOD | {"storage": tmp_path / "studies.db"} | change))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"space": SPACE | {"x": ["float", -2, 3]}},
        {"tuning_seeds": [0, 3]},
        {"statistic": "mean"},
        {"seed": 1},
    ],
)
def test_a_sweep_is_not_continued_with_other_arguments(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    storage = {"storage": tmp_path / "studies.db"}
    tune(**(GOOD | storage))
    (name,) = change
    with pytest.raises(ValueError, match=f"paraboloid was begun with another {name}"):
        tune(**(GOOD | storage | change))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    def nested(settings: dict[str, Any], seed: int) -> float:
        with pytest.raises(ValueError, match="another process works on"):
            sweep(tmp_path, score)
        return 1.0

    assert sweep(tmp_path, nested, 1).n_completed == 1
    assert sweep(tmp_path, score, 2).n_completed == 2


@pytest.mark.parametrize("content", [b"hello\n", b"a note " * 1000])
def test_another_file_is_left_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "studies.db"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"studies\.db is no SQLite database"):
        sweep(tmp_path, score)
    assert path.read_bytes() == content


def test_a_damaged_database_raises(tmp_path: Path) -> None:
    sweep(tmp_path, score, 1)
    path = tmp_path / "studies.db"
    with sqlite3.connect(path) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = path.read_bytes()
    path.write_bytes(content[: 2 * size] + b"\xff" * size + content[3 * size :])
    with pytest.raises(ValueError, match=r"studies\.db is .*damaged"):
        sweep(tmp_path, score)


def test_a_storage_that_cannot_be_written_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        sweep(tmp_path / "nowhere", score)
    (tmp_path / "studies.db").mkdir()
    with pytest.raises(OSError, match=r"studies\.db"):
        sweep(tmp_path, score)


def test_without_optuna_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna.storages", None)
    with pytest.raises(ImportError, match=r"pip install .*\[sweeps\]"):
        sweep(tmp_path, score)
    assert list(tmp_path.iterdir()) == []
