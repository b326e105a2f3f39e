"""Run folders: what is read, and what is skipped or rejected and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pg_agents.analysis import (
    DamagedRunError,
    UnfinishedRunError,
    read_group,
    read_groups,
    read_run,
)
from tests.pg_agents.analysis.run_folders import write_run


def test_a_run_is_read(tmp_path: Path) -> None:
    group = tmp_path / "cartpole-best"
    path = write_run(group, 7, [1.0, 3.0], [5.0, 8.0], [4, 6], "CartPole-v1")
    run = read_run(path)
    assert (run.recipe, run.variant, run.seed) == ("cartpole", "best", 7)
    assert (run.path, run.env_id, run.score) == (path, "CartPole-v1", 6.5)
    assert (run.result.steps, run.result.episodes, run.result.sd_return) == (10, 2, 1.5)
    assert run.evaluation.returns == (5.0, 8.0)
    assert run.episodes.returns.tolist() == [1.0, 3.0]
    assert run.episodes.ends("steps").tolist() == [4, 10]


def test_a_group_is_ordered_and_names_what_is_skipped(tmp_path: Path) -> None:
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
    reasons = {path.name: reason for path, reason in found.skipped}
    assert set(reasons) == {"seed-0003", "seed-0009"}
    assert "run the recipe again to finish it" in reasons["seed-0003"]
    assert str(cut_off) in reasons["seed-0009"]
    with pytest.raises(UnfinishedRunError, match=r"has no result\.json"):
        read_run(group / "seed-0003")


def test_folders_of_groups_are_read_in_natural_order(tmp_path: Path) -> None:
    for name in ("net-1x64", "net-1x256", "other"):
        write_run(tmp_path / "a" / name, 0, [1.0])
    write_run(tmp_path / "b" / "other", 0, [1.0])
    (tmp_path / "a" / "empty").mkdir()
    groups = read_groups([tmp_path / "a", tmp_path / "b" / "other"])
    names = [group.name for group in groups]
    assert names == ["net-1x64", "net-1x256", "a/other", "b/other"]


def test_the_threshold_is_the_environments(tmp_path: Path) -> None:
    group = tmp_path / "a"
    write_run(group, 0, [1.0], env_id="CartPole-v1")
    assert read_group(group).threshold == 475
    write_run(group, 1, [1.0], env_id="LunarLander-v3")
    assert read_group(group).threshold is None
    for env_id in ("Nowhere-v0", "no_such_package:Nowhere-v0", "Pendulum-v1"):
        write_run(tmp_path / env_id, 0, [1.0], env_id=env_id)
        assert read_group(tmp_path / env_id).threshold is None


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", None, "is missing"),
        ("config.json", '{"recipe": "a"', "is cut off or damaged"),
        ("config.json", "[1]", "must hold a JSON object"),
        ("config.json", {"recipe": 3}, "not the config of a run: recipe is 3"),
        ("config.json", {"seed": "0"}, "seed is '0'"),
        ("config.json", {"seed": True}, "seed is True"),
        ("config.json", {"settings": {}}, "env_id is None"),
        ("config.json", {"settings": 1}, "env_id is None"),
        ("monitor.csv", None, "is missing"),
        ("monitor.csv", "#{}\nr,l,t\n1,1\n", "damaged in line 3"),
        ("monitor.csv", "#{}\nr,l,t\n", "has 0 episodes, and result.json counts 1"),
        ("evaluation.json", None, "is missing"),
        ("evaluation.json", {"more": 1}, "must have the entries seed, returns, length"),
        ("evaluation.json", {"returns": []}, "the return and length of each episode"),
        ("evaluation.json", {"returns": [1.0]}, "the return and length of each"),
        ("evaluation.json", {"returns": 1.0}, "the return and length of each"),
        ("evaluation.json", {"returns": [1.0, None]}, "must hold finite numbers"),
        ("evaluation.json", {"returns": [1.0, float("nan")]}, "must hold finite num"),
        (
            "evaluation.json",
            {"returns": [1.0], "lengths": [1]},
            "has 1 episodes, and result.json counts 2",
        ),
        ("result.json", "", "is cut off or damaged"),
        ("result.json", {"steps": None}, "must hold finite numbers"),
        ("result.json", {"resumed_at": 1}, "must hold finite numbers"),
    ],
)
def test_damage_is_found(tmp_path: Path, file: str, change: Any, message: str) -> None:
    path = write_run(tmp_path / "a", 0, [1.0], [1.0, 2.0])
    target = path / file
    if change is None:
        target.unlink()
    elif isinstance(change, str):
        target.write_text(change)
    else:
        target.write_text(json.dumps(json.loads(target.read_text()) | change))
    with pytest.raises(DamagedRunError, match=message) as error:
        read_run(path)
    assert str(error.value).startswith(str(target))
    assert str(error.value).endswith(f"delete the folder {path} and run it again")
    with pytest.raises(ValueError, match="no run in .* can be read: .*" + message):
        read_group(path.parent)


def test_folders_that_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        read_groups([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="has no runs: folders seed-0000"):
        read_groups([tmp_path])
    group = tmp_path / "a"
    write_run(group, 0, [1.0])
    with pytest.raises(ValueError, match="is given twice"):
        read_groups([group, tmp_path])
    shutil.copytree(group / "seed-0000", group / "seed-0001")
    with pytest.raises(ValueError, match="both have seed 0"):
        read_group(group)
    shutil.rmtree(group / "seed-0001")
    write_run(group, 1, [1.0], recipe="b", variant="best")
    with pytest.raises(ValueError, match="mixes runs of a  and b best"):
        read_group(group)
