"""The page's figures for Pixelcopter, from a run that was written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pixelcopter_results
from pg_agents.experiments import (
    EvaluationRecord,
    Result,
    RunConfig,
    RunFolder,
    find_recipe,
)


def config() -> RunConfig:
    there = find_recipe("pixelcopter-mc").config("best")
    return there.changed({"evaluation.env_kwargs": {"max_episode_steps": 50}})


def written(
    path: Path, seed: int, returns: list[float], lengths: list[int]
) -> RunFolder:
    run = RunFolder.create(path / f"seed-{seed:04d}", config(), seed)
    run.write_evaluation(EvaluationRecord(9, tuple(returns), tuple(lengths)))
    run.write_result(
        Result(
            mean_return=float(np.mean(returns)),
            sd_return=float(np.std(returns)),
            n_episodes=len(returns),
            steps=700,
            episodes=0,
            wall_seconds=2.5,
            finished_at="2026-01-01T00:00:00+00:00",
            resumed_at=(),
        )
    )
    return run


def test_a_crash_costs_4_less_in_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether the files are whole is the run engine's business, and tested there.
    monkeypatch.setattr(RunFolder, "check", RunFolder.result)
    runs = [
        # The last two flights are cut off after 50 steps: nothing crashed.
        written(tmp_path, 0, [-5.0, 1.0, 8.0, 9.0], [20, 30, 50, 50]),
        written(tmp_path, 3, [7.0, 7.0], [49, 49]),
    ]
    found = pixelcopter_results.summarise(runs)
    first, second = found["runs"]
    assert first["mean_return"] == 3.25
    assert first["mean_return_course"] == (-1 + 5 + 8 + 9) / 4
    assert first["cut_off"] == 2 and second["cut_off"] == 0
    assert first["sd_return"] == pytest.approx(np.std([-5, 1, 8, 9]))
    # A tenth of the way from the lowest to the highest, by ranks: 0.3 of -5 to 1.
    assert first["p10"] == pytest.approx(-3.2)
    assert (first["steps"], first["wall_seconds"]) == (700, 2.5)
    assert second["mean_return_course"] == 11 and second["p50"] == 7
    assert found["seeds"] == [0, 3]
    assert found["interquartile_mean"] == (3.25 + 7) / 2
    assert found["interval"] == [3.25, 7]
    assert found["command"] == "pgtoy run pixelcopter-mc --variant best --seeds 0 3"
    assert json.loads(json.dumps(found)) == found


def test_runs_of_different_versions_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFolder, "check", RunFolder.result)
    runs = [written(tmp_path, seed, [1.0], [9]) for seed in (0, 1)]
    (runs[1].path / "versions.json").write_text('{"python": "2.7"}')
    with pytest.raises(ValueError, match="of different versions"):
        pixelcopter_results.summarise(runs)
