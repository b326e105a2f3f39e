"""Row known-values, by an independent calculation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pg_agents.cli.main import main
from pg_agents.experiments.shows import known_values


def test_they_are_the_notebook_s_and_arithmetic_s() -> None:
    ours = known_values.known_values()
    by_hand = {
        "weighted log-probability": (100 * math.log(0.8),),
        "returns": tuple(
            sum(0.99**k * r for k, r in enumerate([1, 2, 3, 4][t:])) for t in range(4)
        ),
        "policy-gradient loss": (10 * math.log(1 + math.exp(-1)),),
    }
    for name, expected in by_hand.items():
        assert ours[name] == pytest.approx(expected, rel=1e-6)
        assert known_values.REPORTED[name] == pytest.approx(expected, rel=1e-6)


def test_the_command_prints_them_and_fails_if_one_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "known-values", "--out", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out.count(": equal") == 3
    wrong = {**known_values.REPORTED, "returns": (9.802, 8.8904, 6.96, 4.0)}
    monkeypatch.setattr(known_values, "REPORTED", wrong)
    assert main(command) == 1
    said = capsys.readouterr().out
    assert said.count(": equal") == 2 and said.count("**different**") == 1


def test_it_takes_no_options_of_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "known-values", "--out", str(tmp_path), "--episodes", "3"]
    assert main(command) == 2
    assert "takes --seed and --out, got --episodes" in capsys.readouterr().err
    assert main(["run", "cartpole-mc", "--variant", "bset"]) == 2
