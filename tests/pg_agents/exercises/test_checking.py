"""Answers run in a process of their own; the command line."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from pg_agents.cli.main import main
from pg_agents.exercises import EXERCISES, check, check_file, exercise

SEVERAL = '''\
"""Several answers in one file."""

import numpy as np

print("read once")


def returns(rewards, gamma):
    return np.cumsum(rewards)


def weighted_log_prob(probabilities, returns):
    print("called")
    return returns * np.log(probabilities)


def baseline(returns):
    i = 0
    while i < len(returns):
        returns[i] += 0.0
'''


def test_all_answers_of_a_file_are_checked_and_an_endless_loop_is_located(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.py"
    file.write_text(SEVERAL)
    status = main(["exercise", "check", str(file), "--timeout", "1", "--json"])
    assert status == 1
    results = {row["exercise"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(results) == {"weighted_log_prob", "returns", "baseline"}
    assert results["weighted_log_prob"]["status"] == "right"
    assert results["returns"]["hint"] == "rewards_so_far"
    assert results["baseline"]["status"] == "not checked"
    assert results["baseline"]["title"] == "it does not end"
    assert "in baseline:\n  line " in results["baseline"]["seen"]
    assert "returns" in results["baseline"]["seen"]
    assert "read once" in results["baseline"]["printed"]


def test_a_function_of_a_notebook_is_checked_with_what_it_refers_to() -> None:
    factor = 1.0

    def returns(rewards: Any, gamma: float) -> list[float]:
        result: list[float] = []
        for reward in reversed(rewards):
            to_go = result[0] if result else 0.0
            result.insert(0, factor * reward + gamma * to_go)
        return result

    result = check("returns", returns)
    assert result.right
    assert repr(result).startswith("returns: RIGHT")


def test_a_process_that_ends_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "exits.py"
    file.write_text("import os\n\n\ndef returns(rewards, gamma):\n    os._exit(3)\n")
    (result,) = check_file(file)
    assert (result.status, result.title) == ("not checked", "its process ended")
    assert "status 3" in result.seen


def test_what_cannot_be_sent_to_a_process_is_not_checked() -> None:
    lock = threading.Lock()

    def returns(rewards: Any, gamma: float) -> Any:
        with lock:
            return rewards

    result = check("returns", returns)
    assert result.status == "not checked"
    assert "lock" in result.seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "title", "seen"),
    [
        (
            "def Returns(rewards, gamma):\n    return rewards\n",
            "no answer found",
            "did you mean returns?",
        ),
        ("x = 1\n", "no answer found", "defines no function"),
        ("def returns(rewards)\n    return 1\n", "SyntaxError in line 1", "line 1"),
        ("returns = 3\n", "returns is not a function", "int"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError in line 1", "line 1"),
        ("raise SystemExit\n", "SystemExit in line 1", "line 1"),
        (
            "import time\n\n\ndef returns(r, g):\n    time.sleep(99)\n",
            "it does not end",
            "time.sleep(99)",
        ),
    ],
)
def test_a_file_that_cannot_be_checked_gets_a_message(
    tmp_path: Path, text: str, title: str, seen: str
) -> None:
    file = tmp_path / "answer.py"
    file.write_text(text)
    (result,) = check_file(file, timeout_s=0.5)
    assert (result.status, result.title) == ("not checked", title)
    assert seen in result.seen


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean returns"):
        exercise("retuns")
    with pytest.raises(ValueError, match="no exercise"):
        check("nothing", len)
    with pytest.raises(TypeError, match="function or a class"):
        check("returns", [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_s"):
        check("returns", len, timeout_s=0.0)
    with pytest.raises(FileNotFoundError, match="no file"):
        check_file(tmp_path / "no.py")
    notebook = tmp_path / "answers.ipynb"
    notebook.write_text("{}")
    with pytest.raises(ValueError, match="In a notebook"):
        check_file(notebook)


def test_list_shows_every_exercise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercise", "list"]) == 0
    printed = capsys.readouterr().out
    for one in EXERCISES:
        assert f"{one.name} " in printed
        assert one.title in printed
    assert main(["exercise", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [one.name for one in EXERCISES]


def test_show_prints_the_solution_only_if_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for one in EXERCISES:
        assert main(["exercise", "show", one.name]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(one.stub)
        assert one.instruction in shown
        compile(shown, "stub", "exec")
        assert main(["exercise", "show", one.name, "--solution"]) == 0
        assert capsys.readouterr().out == one.solution


def test_start_writes_a_stub_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["exercise", "start", "returns"]) == 0
    assert Path("returns.py").read_text() == exercise("returns").stub
    Path("returns.py").write_text("my work")
    assert main(["exercise", "start", "returns"]) == 2
    assert "returns.py exists" in capsys.readouterr().err
    assert Path("returns.py").read_text() == "my work"
    assert main(["exercise", "start", "returns", "--to", "again.py"]) == 0
    assert main(["exercise", "start", "returns", "--to", "again.txt"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"returns.py", "again.py"}


def test_instructions_are_short_and_fit_a_terminal() -> None:
    for one in EXERCISES:
        assert len(one.stub.splitlines()) <= 40
        assert max(map(len, one.stub.splitlines())) <= 88
