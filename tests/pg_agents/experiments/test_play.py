"""Games against an agent, with keys that a test presses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pg_agents.cli.main import main
from pg_agents.experiments import play as play_module
from pg_agents.experiments.play import Match, Side, match_scene, play
from pg_envs import SequenceEnv
from pg_envs.rendering import Scene, Snapshot, Text
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.scene import WindowClosed


class Keyboard(Canvas):
    """A canvas without a window, whose keys come from a function of the picture."""

    def __init__(self, keys_of: Callable[[str], list[str]], n_frames: int) -> None:
        super().__init__("test", 0)
        self.keys_of, self.n_left = keys_of, n_frames
        self.text = ""

    def show(self, scene: Scene) -> None:
        self.n_left -= 1
        if self.n_left == 0:
            raise WindowClosed("The test is over.")
        texts = [shape.text for shape in scene.shapes if isinstance(shape, Text)]
        self.text = "\n".join(texts)

    def pressed_keys(self) -> list[str]:
        return self.keys_of(self.text)

    def keys(self) -> set[str]:
        return set(self.keys_of(self.text))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_module, "_AGENT_SECONDS", 0.0)


def test_the_sequence_against_the_trained_agent() -> None:
    """Left, right, right, down: 0.85; the agent gets 0.9, the best there is."""
    moves = iter(["left", "right", "right", "down"])

    def keys(text: str) -> list[str]:
        if "Enter" in text:
            return ["return"]
        return [next(moves, "")] if text else []

    match = Match("sequence", Keyboard(keys, 1000))
    match.play(0)
    ((you, agent),) = match.scores
    assert you == pytest.approx(0.85)
    assert agent == pytest.approx(0.9)


def test_the_agents_policy_is_shown_on_its_side_alone() -> None:
    shown: list[str] = []

    def keys(text: str) -> list[str]:
        shown.append(text)
        return []

    match = Match("sequence", Keyboard(keys, 3))
    with pytest.raises(WindowClosed):
        match.play(0)
    assert shown[-1].count("What the actions do") == 1
    assert shown[-1].count("Policy in state 0, for the next action") == 1
    # The figure of each side is that of its player.
    lines = shown[-1].split("\n")
    assert (lines.count("you"), lines.count("agent")) == (1, 1)


def test_thirty_pulls_against_an_agent_that_learns() -> None:
    """Bernoulli arms pay 0 or 1; both pull as often, and the means are then shown."""
    shown: list[str] = []

    def keys(text: str) -> list[str]:
        shown.append(text)
        return ["return"] if "Enter" in text else ["2"]

    match = Match("bandit", Keyboard(keys, 1000))
    match.play(3)
    ((you, agent),) = match.scores
    assert you == int(you) and 0 <= you <= 30
    assert agent == int(agent) and 0 <= agent <= 30
    assert "mean ?" in shown[1].split("\n")
    assert "?" not in shown[-1]
    # What the agent has learnt, on its side alone: uniform before the first pull.
    lines = shown[1].split("\n")
    assert lines.count("Policy for the next pull: probability of each arm") == 1
    assert lines.count("25%") == 4
    assert shown[-1].split("\n").count("25%") < 4


def test_pixelcopter_without_a_key_crashes_before_the_agent() -> None:
    """Pressed once to begin, then never again: the person falls."""

    def keys(text: str) -> list[str]:
        if "Enter" in text:
            return ["return"]
        return ["space"] if "step 0" in text else []

    match = Match("pixelcopter", Keyboard(keys, 3000))
    match.play(0)
    ((you, agent),) = match.scores
    assert you < agent


def test_closing_the_window_ends_the_games(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object, **__: object) -> Keyboard:
        return Keyboard(lambda _: [], 3)

    monkeypatch.setattr(play_module, "Canvas", make)
    assert play("sequence") == []


def test_the_score_stands_above_each_picture() -> None:
    scene = SequenceEnv().scene(Snapshot(0, None, None, 0, 0.0))
    sides = Side("You", 0.8, finished=[0.8, 0.6]), Side("Trained agent", 0.9)
    picture = match_scene(scene, scene, sides, "a line", (1280, 720), "dark")
    texts = {shape.text: shape.x for shape in picture.shapes if isinstance(shape, Text)}
    assert texts["You"] < texts["+0.8"] < 640 < texts["Trained agent"] < texts["+0.9"]
    assert "mean of 2: +0.7" in texts
    assert "a line" in texts


def test_an_unknown_game_is_named() -> None:
    with pytest.raises(ValueError, match="game must be one of 'bandit'"):
        play("chess")


def test_the_command_needs_a_screen(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["play", "sequence"]) == 2
    message = "no screen to play on: `pgtoy record sequence-reinforce --to film.gif`"
    assert message in capsys.readouterr().err
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert main(["play", "bandit"]) == 2
    assert "`pgtoy run bandit-table --live`" in capsys.readouterr().err
