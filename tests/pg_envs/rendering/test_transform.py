"""Scenes placed into boxes, and in other colours."""

from itertools import pairwise

import numpy as np
import pytest

from pg_envs.bandit import BanditEnv
from pg_envs.rendering import (
    Circle,
    Image,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Snapshot,
    Text,
    placed,
    recoloured,
    sequence_scene,
)
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.themes import DARK, THEMES, Theme
from pg_envs.sequence import SequenceEnv
from tests.pg_envs.rendering.geometry import box, inside

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)
SHAPES = (
    Rectangle(10, 20, 30, 40, RED, 4, BLACK, 2),
    Circle(50, 50, 10, RED, BLACK, 2),
    Line((0, 0), (100, 50), BLACK, 4),
    Polygon(((0, 0), (10, 0), (0, 10)), RED),
    Text("text", 20, 20, 10, BLACK, "left", 50),
    Image(60, 10, 20, 10, bytes(3 * 8), (4, 2)),
)
SCENE = Scene(100, 50, WHITE, SHAPES)


def test_a_placed_scene_keeps_its_proportions_and_is_centred() -> None:
    background, *shapes = placed(SCENE, 10, 20, 400, 100)
    # Twice as large, as high as the box.
    assert background == Rectangle(110, 20, 200, 100, WHITE, outline_width=4)
    assert shapes == [
        Rectangle(130, 60, 60, 80, RED, 8, BLACK, 4),
        Circle(210, 120, 20, RED, BLACK, 4),
        Line((110, 20), (310, 120), BLACK, 8),
        Polygon(((110, 20), (130, 20), (110, 40)), RED),
        Text("text", 150, 60, 20, BLACK, "left", 100),
        Image(230, 40, 40, 20, bytes(3 * 8), (4, 2)),
    ]


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_a_placed_scene_lies_within_its_box(scale: float) -> None:
    scene = SequenceEnv().scene(Snapshot(0, None, None, 0, 0.0))
    x, y, width, height = 30.0, 40.0, 800 * scale, 512 * scale
    for shape in placed(scene, x, y, width, height):
        assert inside(box(shape), (x - 2, y - 2, x + width + 2, y + height + 2))


def test_recolouring_changes_surfaces_and_text_apart() -> None:
    new = recoloured(SCENE, {WHITE: BLACK, RED: (1, 2, 3), BLACK: WHITE}, {BLACK: RED})
    rectangle, circle, line, polygon, text, image = new.shapes
    assert new.background == BLACK
    assert isinstance(rectangle, Rectangle)
    assert (rectangle.fill, rectangle.outline) == ((1, 2, 3), WHITE)
    assert isinstance(circle, Circle)
    assert (circle.fill, circle.outline) == ((1, 2, 3), WHITE)
    assert image == SHAPES[5]
    assert isinstance(line, Line) and line.colour == WHITE
    assert isinstance(polygon, Polygon) and polygon.fill == (1, 2, 3)
    assert isinstance(text, Text) and text.colour == RED


def test_circles_without_border_keep_their_colours() -> None:
    eye = Circle(5, 5, 2, WHITE)
    assert recoloured(Scene(9, 9, WHITE, (eye,)), {WHITE: BLACK}, {}).shapes == (eye,)


def test_an_image_is_drawn_into_its_box() -> None:
    # A red pixel on the left, a green one on the right.
    image = Image(10, 10, 40, 20, bytes((255, 0, 0, 0, 255, 0)), (2, 1))
    pixels = Canvas("", 30).rgb_array(Scene(60, 40, WHITE, (image,)))
    # Smoothly scaled: the colours mix in the middle.
    assert pixels[20, 12, 0] > 200 > 50 > pixels[20, 12, 1]
    assert pixels[20, 48, 1] > 200 > 50 > pixels[20, 48, 0]
    assert pixels[5, 30].tolist() == pixels[20, 55].tolist() == list(WHITE)


def test_an_image_needs_three_bytes_for_each_pixel() -> None:
    with pytest.raises(ValueError, match="3 bytes for each of 2 x 2 pixels, got 5"):
        Image(0, 0, 1, 1, bytes(5), (2, 2))


def contrast(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Contrast ratio of WCAG 2.1, from 1 to 21."""

    def luminance(colour: tuple[int, ...]) -> float:
        c = np.array(colour) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_has_the_contrast_that_wcag_asks_for(theme: Theme) -> None:
    for name in ("ink", "muted", "good"):
        for surface in (theme.card, theme.background):
            assert contrast(getattr(theme, name), surface) >= 4.5, name
    for name in ("main", "second"):
        assert contrast(getattr(theme, name), theme.card) >= 3.0, name


@pytest.mark.parametrize("scene", ["bandit", "sequence"])
def test_dark_scenes_are_legible(scene: str) -> None:
    """Text that stands on the board, in dark colours."""
    snapshot = Snapshot(0, 1, 0.0, 1, 0.0)
    env = BanditEnv() if scene == "bandit" else SequenceEnv()
    dark = recoloured(env.scene(snapshot), DARK.colours, DARK.text_colours)
    board = DARK.colours[WHITE]
    for shape in dark.shapes:
        if isinstance(shape, Text):
            assert contrast(shape.colour, board) >= 4.5, shape.text


def test_numbers_of_thirty_tiles_are_as_large_as_text() -> None:
    """They stand below the tiles, where they do not overlap."""
    names = ("left", "centre", "right")
    scene = sequence_scene(Snapshot(0, None, None, 0, 0.0), 30, names, 0.05, 1.0)
    numbers = [s for s in scene.shapes if isinstance(s, Text) and s.text.isdigit()]
    tiles = [s for s in numbers if s.y < 300 and s.y > 150]
    assert len(tiles) == 30
    assert {tile.size for tile in tiles} == {12}
    boxes = sorted(box(tile) for tile in tiles)
    assert all(a[2] <= b[0] for a, b in pairwise(boxes))


def test_a_bandit_can_hide_its_means() -> None:
    env = BanditEnv((0.25, 0.75))
    env.shows_means = False
    scene = env.scene(Snapshot(0, None, None, 0, 0.0))
    texts = [shape.text for shape in scene.shapes if isinstance(shape, Text)]
    assert texts.count("?") == 2
    assert not any("0.75" in text for text in texts)
