"""Where shapes lie: measured here, apart from the code under test."""

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from itertools import combinations

import pygame

from pg_envs.rendering import (
    Circle,
    Image,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Text,
)
from pg_envs.rendering.widgets import BAR, TRACK

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


@cache
def text_size(text: Text) -> tuple[float, float]:
    """Width and height of a text, measured in the bundled font, in pixels."""
    pygame.font.init()
    font = pygame.font.Font(pygame.font.get_default_font(), round(10 * text.size))
    width, height = font.size(text.text)
    if text.max_width is None or width <= 10 * text.max_width:
        return width / 10, height / 10
    return text.max_width, height / 10


def box(shape: Shape) -> Box:
    """The smallest box around a shape."""
    if isinstance(shape, Rectangle | Image):
        return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
    if isinstance(shape, Circle):
        r = shape.radius
        return shape.x - r, shape.y - r, shape.x + r, shape.y + r
    if isinstance(shape, Text):
        width, height = text_size(shape)
        left = (
            shape.x - {"left": 0.0, "centre": 0.5, "right": 1.0}[shape.anchor] * width
        )
        return left, shape.y - height / 2, left + width, shape.y + height / 2
    half = shape.width / 2 if isinstance(shape, Line) else 0.0
    points = (shape.start, shape.end) if isinstance(shape, Line) else shape.points
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half


def inside(inner: Box, outer: Box) -> bool:
    """Whether one box lies within another, edges included."""
    before = inner[0] >= outer[0] and inner[1] >= outer[1]
    return before and inner[2] <= outer[2] and inner[3] <= outer[3]


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share an area."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def texts(scene: Scene) -> list[str]:
    """All that a picture says."""
    return [shape.text for shape in scene.shapes if isinstance(shape, Text)]


def bars(scene: Scene) -> list[Rectangle]:
    """The filled bars of a picture."""
    return [s for s in scene.shapes if isinstance(s, Rectangle) and s.fill == BAR]


def tracks(scene: Scene) -> list[Rectangle]:
    """The tracks that the bars fill."""
    return [s for s in scene.shapes if isinstance(s, Rectangle) and s.fill == TRACK]


def smallest_text(scene: Scene, but: Collection[str] = ()) -> float:
    """The font size of the smallest text as it is drawn, in pixels, but of some."""
    sizes = []
    for text in scene.shapes:
        if isinstance(text, Text) and text.text not in but:
            natural, _ = text_size(replace(text, max_width=None))
            sizes.append(text.size * text_size(text)[0] / natural)
    return min(sizes)


def assert_tidy(scene: Scene) -> None:
    """Every shape lies in the picture, and no two texts run into each other."""
    whole = (0.0, 0.0, float(scene.width), float(scene.height))
    for shape in scene.shapes:
        assert inside(box(shape), whole), shape
        # A polygon has no size to be wrong about; the others must have one.
        if isinstance(shape, Rectangle):
            assert shape.width > 0 and shape.height > 0, shape
        if isinstance(shape, Circle):
            assert shape.radius > 0, shape
        if isinstance(shape, Polygon):
            assert len(shape.points) >= 3
    words = [(box(s), s) for s in scene.shapes if isinstance(s, Text)]
    for (first_box, first), (second_box, second) in combinations(words, 2):
        assert not overlap(first_box, second_box), (first, second)
