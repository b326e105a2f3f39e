"""Draws scenes with pygame, the only module here that imports it."""

import os
from functools import lru_cache
from typing import ClassVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import pygame
import pygame.surfarray

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Text,
)
from pg_envs.rendering.window_closed import WindowClosed

# Drawn this many times larger, then averaged down: pygame smooths no edge by itself. At
# a power of two smoothscale loses nothing to rounding; at 3, white comes out as 253.
_OVERSAMPLING = 4
# Where the middle of a capital lies in its line of text, as a share of the height.
_CAPITALS_MIDDLE = 0.46


class Canvas:
    """Turns scenes into arrays, off screen, or into a window.

    Neither needs the other: `rgb_array` opens no window and needs no display.
    """

    # pygame has one window a process, so the canvases that show one share it.
    _showing: ClassVar[WeakSet["Canvas"]] = WeakSet()
    # The window, if the display was started here; it may have gone since.
    _window: ClassVar[pygame.Surface | None] = None

    def __init__(self, caption: str, fps: int) -> None:
        """Make a canvas; nothing opens yet.

        Args:
            caption: Title of the window.
            fps: Frames a second at which `show` keeps the pace.
        """
        self.caption = caption
        self.fps = fps
        self._clock = pygame.time.Clock()
        # Names of the keys that are held, and of those pressed since `keys` was asked.
        self._held: set[str] = set()
        self._pressed: set[str] = set()

    def rgb_array(self, scene: Scene) -> npt.NDArray[np.uint8]:
        """Draw a scene off screen.

        Args:
            scene: What to draw.

        Returns:
            A fresh array [height, width, 3] of uint8; the same for the same scene.
        """
        pixels = pygame.surfarray.array3d(_draw_scene(scene))
        # pygame's first axis is x; callers expect rows first.
        return np.ascontiguousarray(pixels.transpose(1, 0, 2), dtype=np.uint8)

    def show(self, scene: Scene) -> None:
        """Draw a scene in the window, opened on first use, and keep the pace.

        Args:
            scene: What to draw.

        Raises:
            WindowClosed: If the user closed the window or pressed Escape. The canvas is
                closed by then; a later `show` opens a new window.
            RuntimeError: If no display was found.
        """
        window = self._open_window((scene.width, scene.height))
        for event in pygame.event.get():
            escape = event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
            if event.type == pygame.QUIT or escape:
                self.close()
                raise WindowClosed("The window was closed.")
            if event.type == pygame.KEYDOWN:
                self._held.add(pygame.key.name(event.key))
                self._pressed.add(pygame.key.name(event.key))
            elif event.type == pygame.KEYUP:
                self._held.discard(pygame.key.name(event.key))
        window.blit(_draw_scene(scene), (0, 0))
        pygame.display.flip()
        self._clock.tick(self.fps)

    def keys(self) -> set[str]:
        """Tell which keys are held in the window, as of the last `show`.

        Returns:
            Their names, such as "up", "w" and "space"; also of those that were let go
            again but pressed since this was asked last.
        """
        keys = self._held | self._pressed
        self._pressed = set()
        return keys

    def close(self) -> None:
        """Close the window if this canvas was the last to use it; safe to repeat."""
        self._held, self._pressed = set(), set()
        Canvas._showing.discard(self)
        if not Canvas._showing and _is_open(Canvas._window):
            pygame.display.quit()
            Canvas._window = None

    def _open_window(self, size: tuple[int, int]) -> pygame.Surface:
        """Return the window, opened or resized where needed.

        Whether it is open is asked of pygame each time: other environments call
        `pygame.quit()` when they close.
        """
        is_ours = not pygame.display.get_init() or _is_open(Canvas._window)
        try:
            if not pygame.display.get_init():
                Canvas._showing.clear()  # Whatever they showed on is gone.
                pygame.display.init()
            window = pygame.display.get_surface()
            if window is None or window.get_size() != size:
                _refuse_invisible_display()
                window = pygame.display.set_mode(size)
        except pygame.error as error:
            if is_ours and not Canvas._showing:
                pygame.display.quit()
            raise RuntimeError(
                f"No display was found to open a window on ({error}). "
                'render_mode="rgb_array" works without one.'
            ) from error
        Canvas._showing.add(self)
        Canvas._window = window if is_ours else None
        if pygame.display.get_caption()[0] != self.caption:
            pygame.display.set_caption(self.caption)
        return window


def _is_open(window: pygame.Surface | None) -> bool:
    """Whether a window is still there, and not that of a display started since."""
    return window is not None and window is pygame.display.get_surface()


def _refuse_invisible_display() -> None:
    """Raise where SDL, finding no screen, quietly falls back to an invisible one.

    Raises:
        pygame.error: If so. A driver named in SDL_VIDEODRIVER is the user's own choice.
    """
    if pygame.display.get_driver() == "offscreen" and not os.environ.get(
        "SDL_VIDEODRIVER"
    ):
        raise pygame.error("SDL offers its offscreen driver only")


def _draw_scene(scene: Scene) -> pygame.Surface:
    """Draw a scene on a surface of its own, [width, height]."""
    # Asked for each frame: other environments call `pygame.quit()` when they close.
    pygame.font.init()
    size = (scene.width * _OVERSAMPLING, scene.height * _OVERSAMPLING)
    surface = pygame.Surface(size, depth=32)
    surface.fill(scene.background)
    for shape in scene.shapes:
        _draw_shape(surface, shape)
    return pygame.transform.smoothscale(surface, (scene.width, scene.height))


def _draw_shape(surface: pygame.Surface, shape: Shape) -> None:
    """Draw one shape on the oversampled surface."""
    match shape:
        case Rectangle():
            _draw_rectangle(surface, shape)
        case Circle():
            _draw_circle(surface, shape)
        case Line():
            _draw_line(surface, shape)
        case Polygon():
            points = [_scaled(*point) for point in shape.points]
            pygame.draw.polygon(surface, shape.fill, points)
        case Text():
            _draw_text(surface, shape)


def _scaled(*lengths: float) -> tuple[int, ...]:
    """Lengths of the finished picture in pixels of the oversampled surface."""
    return tuple(round(length * _OVERSAMPLING) for length in lengths)


def _draw_rectangle(surface: pygame.Surface, shape: Rectangle) -> None:
    """Draw the border as a whole rectangle, then the inside over it."""

    def fill(colour: Colour, inset: float) -> None:
        left, top, right, bottom, radius = _scaled(
            shape.x + inset,
            shape.y + inset,
            shape.x + shape.width - inset,
            shape.y + shape.height - inset,
            max(shape.corner_radius - inset, 0),
        )
        # At least one pixel: pygame draws an empty rectangle as a stray line.
        box = pygame.Rect(left, top, max(right - left, 1), max(bottom - top, 1))
        pygame.draw.rect(surface, colour, box, border_radius=radius)

    if shape.outline is None:
        fill(shape.fill, 0)
    else:
        fill(shape.outline, 0)
        fill(shape.fill, shape.outline_width)


def _draw_circle(surface: pygame.Surface, shape: Circle) -> None:
    """Draw a disc, a disc with a border, or a ring."""
    centre = (shape.x * _OVERSAMPLING, shape.y * _OVERSAMPLING)
    radius, border = _scaled(shape.radius, shape.outline_width)
    if shape.fill is not None:
        pygame.draw.circle(surface, shape.fill, centre, radius)
    if shape.outline is not None:
        pygame.draw.circle(surface, shape.outline, centre, radius, max(border, 1))


def _draw_line(surface: pygame.Surface, shape: Line) -> None:
    """Draw a line as a quadrilateral with a disc at each end.

    pygame cuts the ends of its own thick lines along the axes, not across the line.
    """
    start = pygame.Vector2(shape.start) * _OVERSAMPLING
    end = pygame.Vector2(shape.end) * _OVERSAMPLING
    radius = shape.width * _OVERSAMPLING / 2
    for centre in (start, end):
        pygame.draw.circle(surface, shape.colour, centre, radius)
    if start != end:
        side = (end - start).rotate(90)
        side.scale_to_length(radius)
        corners = (start + side, end + side, end - side, start - side)
        pygame.draw.polygon(surface, shape.colour, corners)


def _fitting_font(shape: Text) -> pygame.font.Font:
    """The bundled font at the text's size, or smaller where it must be to fit."""
    # Named, it comes in the size asked for; as None, in 69 % of it.
    name = pygame.font.get_default_font()
    size = round(shape.size * _OVERSAMPLING)
    font = pygame.font.Font(name, size)
    if shape.max_width is None:
        return font
    room = shape.max_width * _OVERSAMPLING
    while (width := font.size(shape.text)[0]) > room and size > 1:
        size = max(1, min(size - 1, int(size * room / width)))
        font = pygame.font.Font(name, size)
    return font


@lru_cache(maxsize=512)
def _text_picture(shape: Text) -> pygame.Surface:
    """A text on a transparent surface, kept: most words stay from frame to frame.

    A surface outlives `pygame.quit()`; a font does not, and is never kept.
    """
    return _fitting_font(shape).render(shape.text, True, shape.colour)


def _draw_text(surface: pygame.Surface, shape: Text) -> None:
    """Draw one line of text, its capitals centred on the line's middle."""
    picture = _text_picture(shape)
    x = shape.x * _OVERSAMPLING
    left = {
        "left": x,
        "centre": x - picture.get_width() / 2,
        "right": x - picture.get_width(),
    }[shape.anchor]
    top = shape.y * _OVERSAMPLING - _CAPITALS_MIDDLE * picture.get_height()
    surface.blit(picture, (round(left), round(top)))
