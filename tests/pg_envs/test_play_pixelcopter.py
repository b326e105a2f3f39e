"""Pixelcopter by keyboard, with key events posted to an invisible window."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pygame
import pytest

from pg_envs.pixelcopter import PixelcopterEnv, game
from pg_envs.play_pixelcopter import main, play
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.scene import Scene, Text


class Hands:
    """Posts events before frames are shown, by frame number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: dict[int, Any]) -> None:
        self.frame, self.texts = 0, list[str]()
        show = Canvas.show

        def with_keys(canvas: Canvas, scene: Scene) -> None:
            for event in script.get(self.frame, ()):
                pygame.event.post(event)
            self.frame += 1
            words = [s.text for s in scene.shapes if isinstance(s, Text)]
            self.texts.append(" ".join(words))
            show(canvas, scene)

        monkeypatch.setattr(Canvas, "show", with_keys)
        monkeypatch.setitem(PixelcopterEnv.metadata, "render_fps", 10_000)


def down(key: int) -> Any:
    return pygame.event.Event(pygame.KEYDOWN, key=key)


def up(key: int) -> Any:
    return pygame.event.Event(pygame.KEYUP, key=key)


CLOSE = pygame.event.Event(pygame.QUIT)


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The actions of the player, in the order of the steps."""
    taken: list[int] = []
    step = PixelcopterEnv.step

    def counted(env: PixelcopterEnv, action: Any) -> Any:
        taken.append(int(action))
        return step(env, action)

    monkeypatch.setattr(PixelcopterEnv, "step", counted)
    return taken


@pytest.mark.parametrize("key", [pygame.K_UP, pygame.K_w, pygame.K_SPACE])
def test_a_held_key_climbs_and_a_tap_climbs_once(
    monkeypatch: pytest.MonkeyPatch, actions: list[int], key: int
) -> None:
    # Frame 0 is the reset, 1 and 2 wait. A tap before 2 begins the flight and no more.
    tap = [down(key), up(key)]
    script = {2: tap, 10: [down(key)], 12: [up(key)], 14: tap, 16: [CLOSE]}
    hands = Hands(monkeypatch, script)
    assert play(PixelcopterEnv(render_mode="human"), seed=0) == []
    assert hands.frame == 17
    climbs, idles = game.UP, game.NOOP
    assert actions == [idles] * 8 + [climbs] * 2 + [idles] * 2 + [climbs, idles]


def test_other_keys_do_nothing(
    monkeypatch: pytest.MonkeyPatch, actions: list[int]
) -> None:
    script = {2: [down(pygame.K_DOWN), down(pygame.K_a)], 5: [CLOSE]}
    hands = Hands(monkeypatch, script)
    assert play(PixelcopterEnv(render_mode="human"), seed=0) == []
    assert actions == []
    assert "Press it to begin" in hands.texts[3]


def test_a_crash_is_scored_and_the_next_game_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tap, then nothing: the player falls into the floor."""
    tap = [down(pygame.K_w), up(pygame.K_w)]
    hands = Hands(monkeypatch, {2: tap, 50: tap, 53: tap, 56: [CLOSE]})
    (score,) = play(PixelcopterEnv(render_mode="human"), seed=0)
    env = PixelcopterEnv()
    env.reset(seed=0)
    expected, terminated = 0.0, False
    while not terminated:
        _, reward, terminated, _, _ = env.step(game.NOOP)
        expected += reward
    assert score == expected
    assert any(f"Score {score:g}. Press" in text for text in hands.texts)
    assert "Press it again to begin" in hands.texts[-4]


def test_escape_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Hands(monkeypatch, {1: [down(pygame.K_ESCAPE)]})
    monkeypatch.setattr(sys, "argv", ["play", "--seed", "1"])
    main()


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    program = [sys.executable, "-m", "pg_envs.play_pixelcopter", "--seed", "-1"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "--seed must be at least 0, got -1" in done.stderr
