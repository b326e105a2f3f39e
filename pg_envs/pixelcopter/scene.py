"""The picture of Pixelcopter: the pixels of the game, ten times as large."""

from __future__ import annotations

from dataclasses import dataclass

from pg_envs.rendering.scene import Colour, Rectangle, Scene, Shape, Text

# Size of a pixel of the game. The sides of the picture are multiples of 16.
PIXEL = 10
SIDE = 48
STRIP = 48
"""Height of the strip with the score, above the game."""

BLACK: Colour = (0, 0, 0)
GREEN: Colour = (120, 240, 80)
WHITE: Colour = (255, 255, 255)
CRASHED: Colour = (255, 90, 90)
STRIP_COLOUR: Colour = (24, 28, 36)
GREY: Colour = (160, 168, 184)

PLAYER_X, PLAYER_SIZE = 16, 2
COLUMN_WIDTH = 4
BLOCK_WIDTH, BLOCK_HEIGHT = 4, 9
# The game paints a column green from its centre - 36 to - 12, and from + 14 down. The
# player's y crashes into the floor at + 12 already.
CEILING, FLOOR = -12, 14


@dataclass(frozen=True)
class PixelcopterSnapshot:
    """What the picture shows, in pixels of the game.

    Attributes:
        player_y: the player's y, truncated to an integer.
        columns: x and centre of each column of terrain near the screen, integers.
        blocks: x and y of the centres of the blocks, on the screen or not, integers.
        score: sum of the rewards of this episode.
        step: steps taken in this episode.
        terminated: whether the player has crashed.
        message: a line for the player; "" for none.
    """

    player_y: int
    columns: tuple[tuple[int, int], ...]
    blocks: tuple[tuple[int, int], ...]
    score: float
    step: int
    terminated: bool
    message: str = ""


def pixelcopter_scene(snapshot: PixelcopterSnapshot) -> Scene:
    """Returns the picture of a snapshot, 480 x 528 pixels."""
    player = CRASHED if snapshot.terminated else WHITE
    half = PLAYER_SIZE // 2
    left, top = PLAYER_X - half, snapshot.player_y - half
    shapes = _box(left, top, left + PLAYER_SIZE, top + PLAYER_SIZE, player)
    for x, y in snapshot.blocks:
        left, top = x - BLOCK_WIDTH // 2, y - BLOCK_HEIGHT // 2
        shapes += _box(left, top, left + BLOCK_WIDTH, top + BLOCK_HEIGHT, GREEN)
    for x, centre in snapshot.columns:
        left, right = x - COLUMN_WIDTH // 2, x + COLUMN_WIDTH // 2
        shapes += _box(left, 0, right, centre + CEILING, GREEN)
        shapes += _box(left, centre + FLOOR, right, SIDE, GREEN)
    side = SIDE * PIXEL
    return Scene(side, STRIP + side, BLACK, (*shapes, *_strip(snapshot)))


def _box(left: int, top: int, right: int, bottom: int, colour: Colour) -> list[Shape]:
    """Returns the visible part of a rectangle, given in pixels of the game."""
    left, right = max(left, 0), min(right, SIDE)
    top, bottom = max(top, 0), min(bottom, SIDE)
    if left >= right or top >= bottom:
        return []
    width, height = (right - left) * PIXEL, (bottom - top) * PIXEL
    return [Rectangle(left * PIXEL, STRIP + top * PIXEL, width, height, colour)]


def _strip(snapshot: PixelcopterSnapshot) -> list[Shape]:
    """Returns the strip with score and steps above the game, and the message."""
    width, middle = SIDE * PIXEL, STRIP / 2
    texts: list[Shape] = [
        Rectangle(0, 0, width, STRIP, STRIP_COLOUR),
        Text(f"score {snapshot.score:g}", 16, middle, 20, WHITE, "left", 200),
        Text(f"step {snapshot.step}", width - 16, middle, 16, GREY, "right", 120),
    ]
    if snapshot.terminated:
        texts.append(Text("crashed", width / 2 + 40, middle, 18, CRASHED))
    if snapshot.message:
        y = STRIP + width / 2
        texts += [
            Rectangle(60, y - 22, width - 120, 44, STRIP_COLOUR, 10, GREY, 1.5),
            Text(snapshot.message, width / 2, y, 18, WHITE, max_width=width - 150),
        ]
    return texts
