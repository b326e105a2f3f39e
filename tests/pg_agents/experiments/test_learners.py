"""Runs of several seeds as one batch of learners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents.analysis.run_data import read_group
from pg_agents.experiments import run_one, run_seeds
from pg_agents.experiments.run import Progress, run_together
from tests.pg_agents.experiments.tiny import numbers, tiny

CONFIGS = {
    "episodes": tiny(vectorization="learners"),
    "steps": tiny(
        vectorization="learners",
        algorithm="ActorCritic",
        learning_rate="lin_0.1",
        timesteps=300,
        n_envs=2,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_learns_the_same_alone_and_with_others(
    name: str, tmp_path: Path
) -> None:
    config, shown = CONFIGS[name], dict[int, Progress]()
    reports = run_seeds(
        config, [3, 8, 5], tmp_path / "together", on_progress=shown.__setitem__
    )
    assert [(report.seed, report.error) for report in reports] == [
        (3, None),
        (8, None),
        (5, None),
    ]
    assert {progress.share for progress in shown.values()} == {1.0}
    alone = run_one(config, 8, tmp_path / "alone")
    found = run_one(config, 8, tmp_path / "together")
    assert found.path == reports[1].folder
    mine, others = numbers(alone), numbers(found)
    for key, expected in mine.pop("weights").items():
        np.testing.assert_allclose(others["weights"][key], expected, atol=1e-5)
    others.pop("weights")
    assert mine == others
    result = found.result()
    if config.settings.episodes is not None:
        assert result.episodes == config.settings.episodes
    else:
        assert result.steps == config.settings.timesteps
    group = read_group(tmp_path / "together" / "tiny")
    assert [run.seed for run in group.runs] == [3, 5, 8]
    assert len({run.score for run in group.runs}) > 1


@pytest.mark.parametrize("name", CONFIGS)
def test_an_interrupted_batch_resumes_exactly(name: str, tmp_path: Path) -> None:
    config, seeds = CONFIGS[name], [3, 8]
    whole = run_together(config, seeds, tmp_path / "whole")
    asked: list[int] = []

    def stop_at_once() -> bool:
        asked.append(0)
        return len(asked) == 60

    with pytest.raises(KeyboardInterrupt):
        run_together(config, seeds, tmp_path / "parts", stop_asked=stop_at_once)
    group = tmp_path / "parts" / "tiny"
    assert len(list(group.glob("*.learners"))) == 1
    parts = run_together(config, seeds, tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        assert numbers(one) == numbers(other)
        assert len(other.result().resumed_at) == 1
    assert not list(group.glob("*.learners"))
    # Finished runs are left as they are.
    before = [(f.path / "result.json").read_bytes() for f in parts]
    again = run_together(config, seeds, tmp_path / "parts")
    assert [(f.path / "result.json").read_bytes() for f in again] == before


def test_a_batch_with_a_damaged_checkpoint_starts_over(tmp_path: Path) -> None:
    config = CONFIGS["episodes"]
    (whole,) = run_together(config, [3], tmp_path / "whole")
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_together(
            config,
            [3],
            tmp_path / "parts",
            stop_asked=lambda: asked.append(0) or len(asked) == 60,  # type: ignore[func-returns-value]
        )
    (checkpoint,) = (tmp_path / "parts" / "tiny").glob("*.learners")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="start over"):
        (folder,) = run_together(config, [3], tmp_path / "parts")
    assert numbers(folder) == numbers(whole)


def test_what_a_batch_refuses_is_reported_and_leaves_no_folder(tmp_path: Path) -> None:
    config = tiny(vectorization="learners", memory_size=100)
    reports = run_seeds(config, [1, 2], tmp_path)
    assert all("memory_size=100" in str(report.error) for report in reports)
    assert not list((tmp_path / "tiny").glob("seed-*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize": {}}, "normalize must be None"),
        ({"stop_when_solved": {}}, "stop_when_solved must be None"),
        ({"train": "a:b"}, "train must be None"),
        ({"algorithm": "PPO"}, "REINFORCE and ActorCritic"),
        ({"device": "cuda"}, "'cpu'"),
    ],
    ids=str,
)
def test_settings_that_a_batch_does_not_have(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(vectorization="learners", **changes)
