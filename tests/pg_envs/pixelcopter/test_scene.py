"""The picture of Pixelcopter, pixel by pixel of the game."""

from __future__ import annotations

import os

import numpy as np
import pygame
import pytest
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from pg_envs.pixelcopter import PixelcopterEnv
from pg_envs.pixelcopter.scene import (
    BLACK,
    CRASHED,
    GLASS,
    GREEN,
    HELICOPTER,
    PILOT,
    PIXEL,
    STRIP,
    WHITE,
    PixelcopterSnapshot,
    pixelcopter_scene,
)
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.scene import Text, WindowClosed
from tests.pg_envs.pixelcopter.reference import Reference


def small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The game's own 48 x 48 pixels: the middle of each."""
    half = PIXEL // 2
    return frame[STRIP + half :: PIXEL, half::PIXEL]


def pixels_of(snapshot: PixelcopterSnapshot) -> NDArray[np.uint8]:
    return small(Canvas("", 30).rgb_array(pixelcopter_scene(snapshot)))


def drawn_as_in_the_game(game: Reference) -> NDArray[np.uint8]:
    """The player first, then blocks, then the columns, as in the game."""
    screen = np.zeros((48, 48, 3), np.uint8)

    def paint(rect: pygame.Rect, colour: tuple[int, ...]) -> None:
        box = rect.clip(pygame.Rect(0, 0, 48, 48))
        screen[box.top : box.bottom, box.left : box.right] = colour

    paint(game.player.rect, WHITE)
    for block in game.blocks:
        paint(block.rect, GREEN)
    for column in game.columns:
        left, top, width, _ = column.rect
        paint(pygame.Rect(left, top, width, 24), GREEN)
        paint(pygame.Rect(left, top + int(48 * 1.05), width, 24), GREEN)
    return screen


def test_the_theme_draws_the_same_game_around_the_same_square() -> None:
    """Rock and blocks cover the same pixels; the cabin is where the square is."""
    env = PixelcopterEnv(theme="helicopter")
    env.reset(seed=0)
    for action in (1, 0, 0, 1):
        env.step(action)
    scenes = [env.scene(), pixelcopter_scene(env._games.snapshot(0, 0.0, 4, False))]
    themed, original = (small(Canvas("", 30).rgb_array(scene)) for scene in scenes)
    is_square = (original == WHITE).all(axis=2)
    assert is_square.sum() == 4
    cabin = {PILOT, GLASS, BLACK}
    assert {tuple(pixel) for pixel in themed[is_square].tolist()} <= cabin
    # The helicopter is drawn in the third of the screen around the player.
    beyond = np.s_[:, 20:]
    free = (original == BLACK).all(axis=2)[beyond]
    assert ((themed == HELICOPTER.sky).all(axis=2)[beyond] == free).all()
    with pytest.raises(ValueError, match="theme"):
        PixelcopterEnv(theme="plane")  # type: ignore[arg-type]


def test_a_flight_is_drawn_as_in_the_game() -> None:
    """Every pixel, also where blocks come in and leave, and at the seam of batches."""

    class Taped(PixelcopterEnv):
        def _uniform(self, n_rows: int) -> NDArray[np.float64]:
            return np.random.default_rng((n_rows, next(counts[n_rows]))).random(
                (n_rows, 1)
            )

    counts = {n: iter(range(1_000)) for n in (2, 49)}
    other = {n: iter(range(1_000)) for n in (2, 49)}
    game = Reference(
        lambda kind, n: list(np.random.default_rng((n, next(other[n]))).random(n))
    )
    env = Taped(render_mode="rgb_array")
    env.reset()
    for t in range(330):
        if t % 11 == 0 or 215 < t < 226:
            frame = env.render()
            assert frame is not None
            assert (small(frame) == drawn_as_in_the_game(game)).all(), t
        # Both players are held in the middle, alive.
        env._games.y[:], env._games.momentum[:] = 24.0, 0.0
        game.player.y, game.momentum, game.lives = 24.0, 0.0, 1
        env._is_flying = True
        env.step(1)
        game.step(1)
        env._is_flying = True


def test_score_steps_and_crash_are_shown() -> None:
    flying, crashed = (
        PixelcopterSnapshot(24, (), (), score, 12, over)
        for score, over in ((7.0, False), (2.0, True))
    )
    assert (pixels_of(crashed)[23:25, 15:17] == CRASHED).all()
    for snapshot, words in (
        (flying, {"score 7", "step 12"}),
        (crashed, {"score 2", "step 12", "crashed"}),
    ):
        shapes = pixelcopter_scene(snapshot).shapes
        assert {shape.text for shape in shapes if isinstance(shape, Text)} == words


def test_rendering_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PixelcopterEnv.metadata, "render_fps", 10_000)
    env = PixelcopterEnv(render_mode="human")
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=0)
    assert env.render() is None
    window = pygame.display.get_surface()
    assert window is not None
    assert window.get_size() == (480, 528)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    before = env.get_state()["steps"]
    with pytest.raises(WindowClosed):
        env.step(1)
    # The step was completed.
    assert env.get_state()["steps"] == before + 1
    env.step(1)
    env.close()
    env.close()
    assert os.environ["SDL_VIDEODRIVER"] == "dummy"
