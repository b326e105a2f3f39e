"""`pgtoy check`: output, files and exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from pg_agents.cli.main import main

PITFALLS = str(Path(__file__).parents[3] / "demos" / "pitfalls.py")
FEW = ["--episodes", "2048"]


@pytest.fixture(autouse=True)
def own_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes the command's changes of the import path and modules."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "pitfalls", raising=False)


def test_a_right_gradient_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "pitfalls:right", *FEW]) == 0
    printed = capsys.readouterr().out
    assert "UNBIASED" in printed and "PGToy-Sequence-v0, gamma 0.9" in printed


def test_a_wrong_gradient_exits_with_1_and_the_mistake_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", f"{PITFALLS}:sign_flipped", *FEW]) == 1
    printed = capsys.readouterr().out
    assert "WRONG" in printed and "It looks like: sign flipped." in printed


def test_json_is_the_only_output(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--json", "--gamma", "0.8", "--seed", "3", "--env", "FrozenLake-v1"]
    main(["check", "pitfalls:gamma_dropped", *FEW, *arguments])
    report = json.loads(capsys.readouterr().out)
    assert report["env"] == "FrozenLake-v1"
    assert (report["gamma"], report["seed"], report["horizon"]) == (0.8, 3, 100)
    assert report["n_episodes"] == 2048


def test_the_time_limit_can_be_taken_out_of_the_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit = ["--horizon", "6", "--bootstrap"]
    main(["check", "pitfalls:no_bootstrap_at_truncation", *FEW, *limit])
    assert "no bootstrap at a truncation" in capsys.readouterr().out


def test_a_class_is_instantiated_and_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ["--episodes", "32", "--horizon", "3", "--critic", "exact"]
    main(["check", "stable_baselines3:A2C", *few])
    assert "A2C" in capsys.readouterr().out


def test_a_plot_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "check.png"
    main(["check", "pitfalls:right", *FEW, "--plot", str(file)])
    with Image.open(file) as picture:
        assert picture.size[0] > 800
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pitfalls"], "must read module:object or file.py:object, got 'pitfalls'"),
        (["no_such_module:x"], "No module named 'no_such_module'"),
        (["no_such.py:x"], "there is no file no_such.py"),
        (["pitfalls:nothing"], "pitfalls has no nothing"),
        (["pitfalls:Policy.x.y"], "pitfalls has no Policy.x.y"),
        (["pitfalls:right", "--env", "CartPole-v1"], "CartPole-v1 is not tabular"),
        (["pitfalls:right", "--env", "No-v0"], "No"),
        (["pitfalls:right", "--gamma", "2"], "gamma must lie in [0, 1], got 2.0"),
        (["pitfalls:right", "--plot", "x.gif"], "--plot must end in .png, .pdf, .svg"),
        (["pitfalls:right", "--plot", "no/x.png"], "there is no folder no"),
        (["pitfalls:right", "--episodes", "0"], "n_episodes must be an integer >= 1"),
        (["math:pi"], "the subject must be a model"),
        (["math:sqrt"], "is called with two arguments, (batch, policy)"),
        (["stable_baselines3:DQN"], "DQN is not an on-policy algorithm"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pgtoy: error: ") and message in printed.err


def test_an_error_of_the_subject_is_shown_with_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def loss(batch, policy):\n    raise ValueError('mine')\n")
    assert main(["check", f"{file}:loss"]) == 2
    printed = capsys.readouterr().err
    assert (
        "Traceback" in printed
        and "mine.py" in printed
        and "ValueError: mine" in printed
    )


def test_too_small_a_sample_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--env", "FrozenLake-v1", *FEW]
    assert main(["check", "pitfalls:gamma_dropped", *arguments]) == 3
    assert "UNDECIDED" in capsys.readouterr().out


def test_without_a_command_the_help_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "usage: pgtoy" in said
    assert "pgtoy check my_reinforce.py:loss" in said
