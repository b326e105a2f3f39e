"""Sweeps: what they find, that they go on, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
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
    Counted,
    score,
    sweep,
)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    )
    found: list[optuna.trial.FrozenTrial]
    found = optuna.load_study(study_name="bowl", storage=storage).trials
    return found


def through(folder: Path) -> list[tuple[Any, Any]]:
    """What each trial that is through had, and what it scored."""
    return [(t.params, t.value) for t in trials(folder) if t.state.name != "FAIL"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepResult]:
    """A sweep that nobody interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, sweep(folder, Counted(folder / "calls"))


def test_the_best_settings_and_their_scores(straight: tuple[Path, SweepResult]) -> None:
    folder, found = straight
    completed = [t for t in trials(folder) if t.state.name == "COMPLETE"]
    best = max(completed, key=lambda t: t.value or 0.0)
    assert found.trial == best.number
    assert found.tuning_scores == {s: score(found.settings, s) for s in TUNING}
    assert best.value == interquartile_mean(list(found.tuning_scores.values()))
    assert found.test_scores == {s: score(found.settings, s) for s in TEST}
    tested = list(found.test_scores.values())
    assert found.test_iqm == interquartile_mean(tested)
    assert found.test_interval == bootstrap_interval(tested)
    assert (found.n_completed, found.n_completed + found.n_pruned) == (
        len(completed),
        12,
    )


def test_test_seeds_are_for_the_winner_alone(
    straight: tuple[Path, SweepResult],
) -> None:
    folder, found = straight
    lines = (folder / "calls").read_text().splitlines()
    tested = [line for line in lines if int(line.split()[-1]) in TEST]
    assert tested == [f"{found.settings} {seed}" for seed in TEST]
    # And nothing was computed twice.
    assert max(Counter(lines).values()) == 1


def test_what_lags_behind_is_pruned(straight: tuple[Path, SweepResult]) -> None:
    """After each seed: below the median of the completed trials after as many."""
    folder, found = straight
    pruned = [t for t in trials(folder) if t.state.name == "PRUNED"]
    assert len(pruned) == found.n_pruned > 0
    for trial in pruned:
        step = max(trial.intermediate_values)
        assert step < len(TUNING) and len(trial.user_attrs["scores"]) == step
        before = [
            t.intermediate_values[step]
            for t in trials(folder)[: trial.number]
            if t.state.name == "COMPLETE"
        ]
        assert max(trial.intermediate_values.values()) < np.median(before)


def test_killed_sweeps_end_like_one_that_was_not(
    straight: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    """Killed in a trial's first seed, twice in its middle, and early in a third."""
    kills = ["4", "6", "1", "7", "3"]
    run = [sys.executable, "-m", "tests.pg_agents.sweeps.killed_sweep", str(tmp_path)]
    subprocess.run([*run, *kills], check=True, timeout=300, capture_output=True)
    found = sweep(tmp_path, Counted(tmp_path / "calls"))
    folder, expected = straight
    assert through(tmp_path) == through(folder)
    assert (found.settings, found.tuning_scores) == (
        expected.settings,
        expected.tuning_scores,
    )
    assert found.test_scores == expected.test_scores
    assert (found.n_completed, found.n_pruned, found.n_failed) == (
        expected.n_completed,
        expected.n_pruned,
        expected.n_failed,
    )
    # No score was lost, none computed twice.
    calls = [(f / "calls").read_text().splitlines() for f in (folder, tmp_path)]
    assert calls[0] == calls[1]


def test_the_number_of_trials_is_one_to_reach(
    straight: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    sweep(tmp_path, score, 5)
    assert len(through(tmp_path)) == 5
    calls = Counted(tmp_path / "calls")
    sweep(tmp_path, calls, 5)
    # Nothing was left to do, not even the test.
    assert not calls.log.exists()
    sweep(tmp_path, score, 12)
    assert through(tmp_path) == through(straight[0])


def test_an_exception_says_where_and_the_trial_goes_on(
    straight: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    def breaks(settings: dict[str, Any], seed: int) -> float:
        if seed == 2:
            raise OSError("the disk is full")
        return score(settings, seed)

    with pytest.raises(OSError, match="the disk is full") as error:
        sweep(tmp_path, breaks)
    assert "in trial 0 of the sweep, seed 2" in error.value.__notes__[0]
    sweep(tmp_path, score)
    assert through(tmp_path) == through(straight[0])


def test_an_objective_may_change_its_settings(
    straight: tuple[Path, SweepResult], tmp_path: Path
) -> None:
    def greedy(settings: dict[str, Any], seed: int) -> float:
        found = score(settings, seed)
        settings["how"].append(9)
        settings.clear()
        return found

    assert sweep(tmp_path, greedy) == straight[1]


def test_a_score_that_is_no_number_fails_the_trial(tmp_path: Path) -> None:
    def diverges(settings: dict[str, Any], seed: int) -> float:
        return float("nan") if settings["x"] > 0 else score(settings, seed)

    found = sweep(tmp_path, diverges, 8)
    assert found.settings["x"] <= 0 and found.n_failed > 0
    assert found.n_completed + found.n_pruned + found.n_failed == 8
    with pytest.raises(ValueError, match="no trial of bowl was completed: 3 failed"):
        (tmp_path / "again").mkdir()
        sweep(tmp_path / "again", lambda _, __: float("inf"), 3)


@pytest.mark.parametrize(("statistic", "best"), [("mean", "a"), ("iqm", "b")])
def test_the_statistic_decides(tmp_path: Path, statistic: Any, best: str) -> None:
    """One seed of four is far off: the mean counts it, the interquartile mean not."""
    scores = {"a": [0.0, 0.0, 0.0, 9.0, 0.0], "b": [1.0] * 5}
    found = tune(
        lambda settings, seed: scores[settings["k"]][seed],
        {"k": ["choice", ["a", "b"]]},
        name=statistic,
        journal=tmp_path / "journal.log",
        n_trials=8,
        tuning_seeds=[0, 1, 2, 3],
        test_seeds=[4],
        statistic=statistic,
        pruner=optuna.pruners.NopPruner(),
    )
    assert (found.n_completed, found.settings) == (8, {"k": best})


GOOD: dict[str, Any] = {
    "objective": score,
    "space": SPACE,
    "name": "bowl",
    "n_trials": 1,
    "tuning_seeds": [0, 1],
    "test_seeds": [2],
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test_seeds": [1, 2, 0]}, r"none of the tuning_seeds.*\[0, 1\] are in both"),
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
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        tune(**(GOOD | {"journal": tmp_path / "journal.log"} | change))
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
def test_a_sweep_goes_on_as_it_was_begun(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    journal = {"journal": tmp_path / "journal.log"}
    tune(**(GOOD | journal))
    (name,) = change
    with pytest.raises(ValueError, match=f"bowl was begun with another {name}"):
        tune(**(GOOD | journal | change))
