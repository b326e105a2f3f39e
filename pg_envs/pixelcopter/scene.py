"""The picture of Pixelcopter: the pixels of the game, ten times as large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pg_envs.rendering.scene import Circle, Colour, Line, Rectangle, Scene, Shape, Text

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

PILOT: Colour = (247, 178, 60)
GLASS: Colour = (206, 232, 255)
Theme = Literal["original", "helicopter"]


class _Look(NamedTuple):
    """Colours of the sky, of terrain and its edge, and of blocks."""

    sky: Colour
    rock: Colour
    edge: Colour
    block: Colour


ORIGINAL = _Look(BLACK, GREEN, GREEN, GREEN)
HELICOPTER = _Look((32, 44, 82), (92, 80, 104), (142, 128, 152), (142, 128, 152))

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


def pixelcopter_scene(
    snapshot: PixelcopterSnapshot, theme: Theme = "original"
) -> Scene:
    """Returns the picture of a snapshot, 480 x 528 pixels.

    Args:
        snapshot: the current situation.
        theme: `"original"`, the pixels of the game; or `"helicopter"`.
    """
    is_original = theme == "original"
    look = ORIGINAL if is_original else HELICOPTER
    pilot = _square(snapshot) if is_original else _helicopter(snapshot)
    shapes: list[Shape] = []
    for x, y in snapshot.blocks:
        left, top = x - BLOCK_WIDTH // 2, y - BLOCK_HEIGHT // 2
        box = (left, top, left + BLOCK_WIDTH, top + BLOCK_HEIGHT)
        shapes += _box(*box, look.block)
    for x, centre in snapshot.columns:
        left, right = x - COLUMN_WIDTH // 2, x + COLUMN_WIDTH // 2
        ceiling, floor = centre + CEILING, centre + FLOOR
        shapes += _box(left, 0, right, ceiling, look.rock)
        shapes += _box(left, floor, right, SIDE, look.rock)
        if not is_original:
            shapes += _box(left, ceiling - 1, right, ceiling, look.edge)
            shapes += _box(left, floor, right, floor + 1, look.edge)
    # In the game, the pilot is behind the rocks.
    shapes = [*pilot, *shapes] if is_original else [*shapes, *pilot]
    side = SIDE * PIXEL
    return Scene(side, STRIP + side, look.sky, (*shapes, *_strip(snapshot)))


def _square(snapshot: PixelcopterSnapshot) -> list[Shape]:
    """Returns the player as the game draws it."""
    player = CRASHED if snapshot.terminated else WHITE
    half = PLAYER_SIZE // 2
    left, top = PLAYER_X - half, snapshot.player_y - half
    return _box(left, top, left + PLAYER_SIZE, top + PLAYER_SIZE, player)


def _helicopter(snapshot: PixelcopterSnapshot) -> list[Shape]:
    """Returns a helicopter whose cabin is the player's square, or its wreck."""
    x = float(PLAYER_X * PIXEL)
    # Beyond the screen it crashes at its edge.
    y = STRIP + min(max(snapshot.player_y * PIXEL, 16), SIDE * PIXEL - 16.0)
    body = CRASHED if snapshot.terminated else PILOT
    # Turned by a crash, and turning with every step.
    reach = 4.0 if snapshot.terminated else (24.0, 16.0, 6.0, 16.0)[snapshot.step % 4]
    return [
        Line((x - 6, y - 1), (x - 32, y - 5), body, 5),
        Line((x - 32, y - 12), (x - 32, y + 2), GREY, 3),
        Line((x - 8, y + 15), (x + 14, y + 15), GREY, 3),
        Line((x, y + 8), (x, y + 15), GREY, 3),
        Circle(x, y, 12, body, BLACK, 1.5),
        Circle(x + 5, y - 2, 5, GLASS),
        Line((x, y - 12), (x, y - 17), GREY, 3),
        Line((x - reach, y - 17), (x + reach, y - 17), WHITE, 3),
    ]


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
    score = f"score {snapshot.score:g}".replace("-", "−")  # noqa: RUF001
    texts: list[Shape] = [
        Rectangle(0, 0, width, STRIP, STRIP_COLOUR),
        Text(score, 16, middle, 20, WHITE, "left", 200),
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
