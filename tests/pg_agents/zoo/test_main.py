"""`python -m pg_agents.zoo`: arguments of the scripts, help and errors."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from pg_agents.common.extras import install_command
from pg_agents.zoo.__main__ import COMMANDS, main
from pg_envs import WindowClosed


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    printed = capsys.readouterr().out
    assert exit_.value.code == 0
    for name, script in COMMANDS.items():
        assert f"  {name}" in printed and script.help in printed
    assert {"train", "enjoy", "record_video", "all_plots"} <= COMMANDS.keys()


@pytest.mark.parametrize("arguments", [[], ["record"]])
def test_an_unknown_command_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m pg_agents.zoo COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "absent", "extra"),
    [
        ("train", ["rl_zoo3"], "zoo"),
        ("train", ["pandas"], "zoo"),
        ("enjoy", ["requests"], "zoo"),
        ("record_video", ["moviepy"], "video"),
        ("record_video", ["rl_zoo3", "moviepy"], "video,zoo"),
        ("all_plots", ["seaborn"], "zoo"),
    ],
)
def test_a_missing_package_exits_with_2_and_the_pip_command(
    command: str,
    absent: list[str],
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def find(name: str) -> object:
        return None if name in absent else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert main([command]) == 2
    sentence = f"{', '.join(absent)} must be installed: {install_command(extra)}"
    assert capsys.readouterr().err == f"python -m pg_agents.zoo: error: {sentence}\n"


@pytest.fixture
def enjoyed(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of rl_zoo3's `enjoy`, which is replaced."""
    pytest.importorskip("requests", reason="the extra zoo brings it")
    lines: list[list[str]] = []
    module = importlib.import_module("rl_zoo3.enjoy")
    monkeypatch.setattr(module, "enjoy", lambda: lines.append(list(sys.argv)))
    return lines


@pytest.mark.parametrize(
    "env",
    [
        ["--env", "PGToy-Sequence-v0"],
        ["--env", "pg_envs:PGToy-Sequence-v0"],
        ["--env=pg_envs:PGToy-Sequence-v0"],
    ],
)
def test_the_script_gets_the_arguments_and_an_id_without_module(
    env: list[str], enjoyed: list[list[str]]
) -> None:
    before = list(sys.argv)
    assert main(["enjoy", *env, "--folder", "x", "--help"]) == 0
    plain = [text.replace("pg_envs:", "") for text in env]
    assert enjoyed == [
        ["python -m pg_agents.zoo enjoy", *plain, "--folder", "x", "--help"]
    ]
    assert sys.argv == before


def test_a_closed_window_is_no_error(
    zoo: Any, enjoyed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def close() -> None:
        raise WindowClosed

    monkeypatch.setattr(importlib.import_module("rl_zoo3.enjoy"), "enjoy", close)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    before = list(sys.argv)
    assert main(["enjoy"]) == 0
    assert sys.argv == before


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="has a screen")
def test_without_a_screen_enjoy_says_what_works(
    enjoyed: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["enjoy", "--folder", "x"]) == 2
    assert "there is no screen for a window: add --no-render" in capsys.readouterr().err
    assert enjoyed == []
    assert main(["enjoy", "--folder", "x", "--no-render"]) == 0
    assert len(enjoyed) == 1


def test_an_unknown_environment_raises_with_the_nearest_one(zoo: Any) -> None:
    pytest.importorskip("pandas", reason="the extra zoo brings it")
    with pytest.raises(ValueError, match="you maybe meant PGToy-Sequence-v0"):
        main(["train", "--algo", "reinforce", "--env", "PGToy-Sequnce-v0"])
