"""Runs read from folders: what comes back, and what is left out and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pg_agents.analysis import (
    UnfinishedRunError,
    UnreadableRunError,
    read_group,
    read_groups,
    read_run,
)
from tests.pg_agents.analysis.run_folders import write_run


def test_a_run_comes_back(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "cartpole-best", 7, [1.0, 3.0], [5.0, 8.0], [4, 6], threshold=475
    )
    run = read_run(path)
    assert (run.recipe, run.variant, run.seed) == ("cartpole", "best", 7)
    assert (run.threshold, run.score, run.timesteps) == (475.0, 6.5, 10)
    assert run.episodes.returns.tolist() == [1.0, 3.0]
    assert run.episodes.ends("steps").tolist() == [4, 10]
    assert run.env_id == ""


def test_a_recipe_may_be_written_out(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "a", 0, [1.0], recipe={"name": "a", "gamma": 1}, variant=None
    )
    run = read_run(path)
    assert (run.recipe, run.variant, run.threshold) == ("a", "", None)


def test_the_environment_is_that_of_the_settings(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", 0, [1.0], settings={"env_id": "CartPole-v1"})
    assert read_run(path).env_id == "CartPole-v1"


def test_a_group_is_sorted_and_says_what_is_left_out(tmp_path: Path) -> None:
    group = tmp_path / "cartpole"
    for seed in (10, 9, 2, 3):
        write_run(group, seed, [1.0], [float(seed)])
    (group / "seed-0003" / "result.json").unlink()
    cut_off = group / "seed-0009" / "evaluation.json"
    cut_off.write_text(cut_off.read_text()[:-5])
    (group / "notes").mkdir()
    found = read_group(group)
    assert [run.seed for run in found.runs] == [2, 10]
    assert found.scores.tolist() == [2.0, 10.0]
    reasons = {path.name: reason for path, reason in found.left_out}
    assert set(reasons) == {"seed-0003", "seed-0009"}
    assert "is unfinished" in reasons["seed-0003"]
    assert str(cut_off) in reasons["seed-0009"]


def test_folders_of_groups_are_opened(tmp_path: Path) -> None:
    for name in ("net-1x64", "net-1x256", "other"):
        write_run(tmp_path / "a" / name, 0, [1.0])
    write_run(tmp_path / "b" / "other", 0, [1.0])
    (tmp_path / "a" / "empty").mkdir()
    groups = read_groups([tmp_path / "a", tmp_path / "b" / "other"])
    # By number, and of two of one name with the folder above.
    names = [group.name for group in groups]
    assert names == ["net-1x64", "net-1x256", "a/other", "b/other"]


def test_the_threshold_of_a_group_is_that_of_all(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, [1.0], threshold=475)
    write_run(tmp_path / "a", 1, [1.0], threshold=475)
    assert read_group(tmp_path / "a").threshold == 475
    write_run(tmp_path / "a", 2, [1.0])
    assert read_group(tmp_path / "a").threshold is None


def damaged(folder: Path, file: str, change: Any) -> Path:
    path = write_run(folder / "a", 0, [1.0], [1.0, 2.0], threshold=475)
    target = path / file
    if change is None:
        target.unlink()
    elif isinstance(change, str):
        target.write_text(change)
    else:
        target.write_text(json.dumps(json.loads(target.read_text()) | change))
    return path


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("config.json", None, "can't be read"),
        ("config.json", '{"recipe": "a"', "no whole JSON"),
        ("config.json", "[1]", "must hold a JSON object"),
        ("config.json", {"recipe": 3}, "must name a recipe, got 3"),
        ("config.json", {"seed": "0"}, "seed must be an integer >= 0, got '0'"),
        ("config.json", {"seed": True}, "seed must be an integer >= 0, got True"),
        ("config.json", {"threshold": "high"}, "threshold must be"),
        ("monitor.csv", None, "can't be read"),
        ("evaluation.json", None, "can't be read"),
        ("evaluation.json", {"returns": []}, "must hold a list of returns"),
        ("evaluation.json", {"returns": [1.0, None]}, "returns must be finite"),
        ("evaluation.json", '{"returns": [NaN]}', "returns must be finite"),
        ("result.json", "", "no whole JSON"),
        ("result.json", {"timesteps": None}, "timesteps must be an integer"),
    ],
)
def test_a_damaged_run_is_refused_by_the_name_of_the_file(
    tmp_path: Path, file: str, change: Any, says: str
) -> None:
    path = damaged(tmp_path, file, change)
    with pytest.raises(UnreadableRunError, match=says) as error:
        read_run(path)
    assert str(path / file) in str(error.value)
    with pytest.raises(ValueError, match="no run in .* can be read: .*" + says):
        read_group(path.parent)


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    path = damaged(tmp_path, "result.json", None)
    with pytest.raises(UnfinishedRunError, match="run the recipe again"):
        read_run(path)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        read_groups([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="has no runs: folders seed-0000"):
        read_groups([tmp_path])
    group = tmp_path / "a"
    write_run(group, 0, [1.0])
    with pytest.raises(ValueError, match="is given twice"):
        read_groups([group, tmp_path])
    shutil.copytree(group / "seed-0000", group / "seed-0001")
    with pytest.raises(ValueError, match="both are seed 0: a run counts once"):
        read_group(group)
    shutil.rmtree(group / "seed-0001")
    write_run(group, 1, [1.0], recipe="b", variant="best")
    with pytest.raises(ValueError, match=r"mixes runs of a and b \(best\)"):
        read_group(group)
