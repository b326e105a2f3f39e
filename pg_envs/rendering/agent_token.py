"""The agent, and the arrow that it leaves behind."""

import itertools
import math

from pg_envs.rendering.palette import ACCENT, CARD, GAIN, INK
from pg_envs.rendering.scene import Circle, Colour, Line, Point, Polygon, Shape


def arrow(start: Point, end: Point, colour: Colour, width: float = 3.0) -> list[Shape]:
    """A straight arrow.

    Args:
        start: x and y of its tail, in pixels.
        end: x and y of its tip, in pixels.
        colour: Its colour.
        width: Thickness of the shaft, in pixels.

    Returns:
        The shaft and the head.
    """
    length = math.dist(start, end)
    dx, dy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    head = min(3.2 * width, length)
    neck = (end[0] - head * dx, end[1] - head * dy)
    side = 0.62 * head
    points = (
        end,
        (neck[0] - side * dy, neck[1] + side * dx),
        (neck[0] + side * dy, neck[1] - side * dx),
    )
    return [Line(start, neck, colour, width), Polygon(points, colour)]


def token(
    x: float, y: float, radius: float, gaze: float = 0.0, happy: bool = False
) -> list[Shape]:
    """The agent: a round face that looks where it goes.

    Args:
        x: Its centre, in pixels.
        y: Its centre, in pixels.
        radius: In pixels.
        gaze: Where it looks: -1 left, 0 ahead, +1 right.
        happy: Whether it is done and glad.

    Returns:
        Its shapes.
    """
    colour = GAIN if happy else ACCENT
    shapes: list[Shape] = [Circle(x, y, radius, colour, CARD, max(2.0, 0.1 * radius))]
    for side in (-1, 1):
        eye = x + (0.32 * side + 0.12 * gaze) * radius
        level = y - 0.1 * radius
        shapes.append(Circle(eye, level, 0.2 * radius, CARD))
        pupil = eye + 0.07 * gaze * radius
        shapes.append(Circle(pupil, level, 0.1 * radius, INK))
    if happy:
        smile = [
            (x + 0.42 * radius * math.sin(t), y + (0.1 + 0.32 * math.cos(t)) * radius)
            for t in (-1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2)
        ]
        thickness = max(1.5, 0.1 * radius)
        shapes += [Line(a, b, CARD, thickness) for a, b in itertools.pairwise(smile)]
    return shapes
