"""Scenes placed into other scenes, and scenes in other colours."""

from collections.abc import Mapping
from dataclasses import replace

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Image,
    Line,
    Point,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Text,
)


def placed(
    scene: Scene, x: float, y: float, width: float, height: float
) -> list[Shape]:
    """Returns a scene as shapes of another one: scaled to a box, and centred in it.

    The proportions are kept, and the background is drawn as a rectangle.

    Args:
        scene: The scene.
        x: Left edge of the box.
        y: Top edge of the box.
        width: Width of the box.
        height: Height of the box.
    """
    scale = min(width / scene.width, height / scene.height)
    left = x + (width - scale * scene.width) / 2
    top = y + (height - scale * scene.height) / 2
    background = Rectangle(0, 0, scene.width, scene.height, scene.background)
    return [_moved(shape, scale, left, top) for shape in (background, *scene.shapes)]


def recoloured(
    scene: Scene,
    colours: Mapping[Colour, Colour],
    text_colours: Mapping[Colour, Colour],
) -> Scene:
    """Returns a scene in other colours.

    Images stay as they are, and circles without border: eyes and lamps.

    Args:
        scene: The scene.
        colours: The new colour of each colour of surfaces and lines that is replaced.
        text_colours: The same for text.
    """

    def new(colour: Colour) -> Colour:
        return colours.get(colour, colour)

    def changed(shape: Shape) -> Shape:
        match shape:
            case Rectangle():
                outline = None if shape.outline is None else new(shape.outline)
                return replace(shape, fill=new(shape.fill), outline=outline)
            case Circle() if shape.fill is not None and shape.outline is not None:
                return replace(shape, fill=new(shape.fill), outline=new(shape.outline))
            case Line():
                return replace(shape, colour=new(shape.colour))
            case Polygon():
                return replace(shape, fill=new(shape.fill))
            case Text():
                colour = text_colours.get(shape.colour, shape.colour)
                return replace(shape, colour=colour)
            case _:
                return shape

    shapes = tuple(map(changed, scene.shapes))
    return replace(scene, background=new(scene.background), shapes=shapes)


def _moved(shape: Shape, scale: float, left: float, top: float) -> Shape:
    """Returns a shape scaled about the origin, then moved."""

    def at(point: Point) -> Point:
        return left + scale * point[0], top + scale * point[1]

    match shape:
        case Line():
            return Line(
                at(shape.start), at(shape.end), shape.colour, scale * shape.width
            )
        case Polygon():
            return Polygon(tuple(map(at, shape.points)), shape.fill)
    x, y = at((shape.x, shape.y))
    match shape:
        case Rectangle():
            return replace(
                shape,
                x=x,
                y=y,
                width=scale * shape.width,
                height=scale * shape.height,
                corner_radius=scale * shape.corner_radius,
                outline_width=scale * shape.outline_width,
            )
        case Circle():
            return replace(
                shape,
                x=x,
                y=y,
                radius=scale * shape.radius,
                outline_width=scale * shape.outline_width,
            )
        case Image():
            return replace(
                shape, x=x, y=y, width=scale * shape.width, height=scale * shape.height
            )
        case Text():
            room = None if shape.max_width is None else scale * shape.max_width
            return replace(shape, x=x, y=y, size=scale * shape.size, max_width=room)
