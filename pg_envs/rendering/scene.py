"""Pictures as plain data, independent of the library that draws them.

All lengths are pixels of the final image. The origin is its top left corner, x grows to
the right and y grows downwards. Later shapes cover earlier ones.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, each in 0..255."""

Point: TypeAlias = tuple[float, float]
"""x and y in pixels."""


class WindowClosed(Exception):  # noqa: N818 - closing a window is not an error
    """The user has closed the window or pressed Escape or Q."""


@dataclass(frozen=True)
class Rectangle:
    """A filled rectangle; x and y are its top left corner.

    Attributes:
        corner_radius: Radius of all four corners; 0 is square.
        outline: Colour of the border, which lies inside the edges; None for none.
    """

    x: float
    y: float
    width: float
    height: float
    fill: Colour
    corner_radius: float = 0.0
    outline: Colour | None = None
    outline_width: float = 2.0


@dataclass(frozen=True)
class Circle:
    """A disc, or a ring without a fill; x and y are its centre.

    Attributes:
        radius: Outer radius.
        outline: Colour of the border, which lies inside the radius; None for none.
    """

    x: float
    y: float
    radius: float
    fill: Colour | None
    outline: Colour | None = None
    outline_width: float = 2.0


@dataclass(frozen=True)
class Line:
    """A straight line with round ends, which extend it by half its width."""

    start: Point
    end: Point
    colour: Colour
    width: float = 2.0


@dataclass(frozen=True)
class Polygon:
    """A filled polygon with three or more corners, in order."""

    points: tuple[Point, ...]
    fill: Colour


@dataclass(frozen=True)
class Text:
    """One line of text.

    Attributes:
        x: Position of the anchor.
        y: Middle of the line.
        size: Font size.
        anchor: Which part of the text lies at x.
        max_width: Maximum width; longer text is drawn smaller. None for no limit.
    """

    text: str
    x: float
    y: float
    size: float
    colour: Colour
    anchor: Literal["left", "centre", "right"] = "centre"
    max_width: float | None = None


@dataclass(frozen=True)
class Image:
    """Pixels, such as a frame that an environment has rendered, scaled to a box.

    Attributes:
        x: Left edge of the box.
        y: Top edge of the box.
        width: Width of the box.
        height: Height of the box.
        pixels: Red, green and blue of each pixel, row by row, one byte each.
        size: Width and height in pixels of the image itself.
    """

    x: float
    y: float
    width: float
    height: float
    pixels: bytes
    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Raises a ValueError if there are not three bytes for each pixel."""
        columns, rows = self.size
        if len(self.pixels) != 3 * columns * rows:
            raise ValueError(
                f"pixels must hold 3 bytes for each of {columns} x {rows} pixels, got "
                f"{len(self.pixels)} bytes"
            )


Shape: TypeAlias = Rectangle | Circle | Line | Polygon | Text | Image


@dataclass(frozen=True)
class Scene:
    """A picture: its size, and its shapes with the backmost first."""

    width: int
    height: int
    background: Colour
    shapes: tuple[Shape, ...]


class Snapshot(NamedTuple):
    """What the picture of a tabular environment shows.

    Attributes:
        state: Index of the current state, 0 <= state < n_states.
        action: Index of the action just taken; None right after reset.
        reward: Reward just received; None right after reset.
        step: Steps taken in this episode.
        episode_return: Undiscounted sum of the rewards of this episode.
        terminated: Whether the step just taken ended the episode.
        action_probabilities: The policy's probability of each action in `state`,
            [n_actions], each in 0..1; None without a policy.
        previous_state: Index of the state in which `action` was taken; None if unknown.
        caption: A few words of the program that shows it, such as "episode 2 of 4".
        player: Who acts, as the picture names it before the first action.
    """

    state: int
    action: int | None
    reward: float | None
    step: int
    episode_return: float
    terminated: bool = False
    action_probabilities: tuple[float, ...] | None = None
    previous_state: int | None = None
    caption: str = ""
    player: str = "agent"
