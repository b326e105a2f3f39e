"""Draws scenes with pygame; the only module of this package that imports it."""

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
    WindowClosed,
)

# Scenes are drawn this many times larger, then averaged down, because pygame does not
# smooth edges. With a power of two smoothscale is exact; with 3, white becomes 253.
_OVERSAMPLING = 4
# Middle of a capital letter in its line of text, as a share of the line's height.
_CAPITALS_MIDDLE = 0.46


class Canvas:
    """Draws scenes into arrays, off screen, or into a window.

    `rgb_array` opens no window and needs no display.

    Args:
        caption: Title of the window.
        fps: Frames a second, to which `show` limits the pace.
    """

    # pygame has one window per process, which all canvases share.
    _showing: ClassVar[WeakSet["Canvas"]] = WeakSet()
    # The window, if a canvas has opened it; other code may have closed it since.
    _window: ClassVar[pygame.Surface | None] = None

    def __init__(self, caption: str, fps: int) -> None:
        self.caption = caption
        self.fps = fps
        self._clock = pygame.time.Clock()
        # Names of the keys that are held, and of those pressed since the last `keys`.
        self._held: set[str] = set()
        self._pressed: set[str] = set()

    def __reduce__(self) -> tuple[type["Canvas"], tuple[str, int]]:
        """Copies and pickles as a new canvas that shows no window."""
        return type(self), (self.caption, self.fps)

    def rgb_array(self, scene: Scene) -> npt.NDArray[np.uint8]:
        """Returns a scene as a fresh array [height, width, 3] of uint8."""
        pixels = pygame.surfarray.array3d(_draw_scene(scene))
        # pygame's first axis is x.
        return np.ascontiguousarray(pixels.transpose(1, 0, 2), dtype=np.uint8)

    def show(self, scene: Scene) -> None:
        """Shows a scene in the window, opened on first use, and limits the pace.

        Raises:
            WindowClosed: If the user has closed the window or pressed Escape. The
                window is gone by then; the next `show` opens a new one.
            RuntimeError: If there is no display.
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
        """Returns the names of the keys held at the last `show`, such as "up" and "w".

        Keys that were pressed and released since the last call are included.
        """
        keys = self._held | self._pressed
        self._pressed = set()
        return keys

    def close(self) -> None:
        """Closes the window if no other canvas uses it; may be called repeatedly."""
        self._held, self._pressed = set(), set()
        Canvas._showing.discard(self)
        if not Canvas._showing and _is_open(Canvas._window):
            pygame.display.quit()
            Canvas._window = None

    def _open_window(self, size: tuple[int, int]) -> pygame.Surface:
        """Returns the window, opened or resized if needed.

        It asks pygame each time whether the window is open, since other environments
        call `pygame.quit()` when they close.
        """
        is_ours = not pygame.display.get_init() or _is_open(Canvas._window)
        try:
            if not pygame.display.get_init():
                Canvas._showing.clear()  # Their window is gone.
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
    """Whether a window is still open, and the display was not restarted since."""
    return window is not None and window is pygame.display.get_surface()


def _refuse_invisible_display() -> None:
    """Raises pygame.error if SDL has silently fallen back to its offscreen driver.

    A driver that the user has set in SDL_VIDEODRIVER is accepted.
    """
    if pygame.display.get_driver() == "offscreen" and not os.environ.get(
        "SDL_VIDEODRIVER"
    ):
        raise pygame.error("SDL offers its offscreen driver only")


def _draw_scene(scene: Scene) -> pygame.Surface:
    """Draws a scene on a new surface, [width, height]."""
    # In every frame: other environments call `pygame.quit()` when they close.
    pygame.font.init()
    size = (scene.width * _OVERSAMPLING, scene.height * _OVERSAMPLING)
    surface = pygame.Surface(size, depth=32)
    surface.fill(scene.background)
    for shape in scene.shapes:
        _draw_shape(surface, shape)
    return pygame.transform.smoothscale(surface, (scene.width, scene.height))


def _draw_shape(surface: pygame.Surface, shape: Shape) -> None:
    """Draws one shape on the oversampled surface."""
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
    """Converts lengths to pixels of the oversampled surface."""
    return tuple(round(length * _OVERSAMPLING) for length in lengths)


def _draw_rectangle(surface: pygame.Surface, shape: Rectangle) -> None:
    """Draws the border as a full rectangle, then the inside over it."""

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
    """Draws a disc, a disc with a border, or a ring."""
    centre = (shape.x * _OVERSAMPLING, shape.y * _OVERSAMPLING)
    radius, border = _scaled(shape.radius, shape.outline_width)
    if shape.fill is not None:
        pygame.draw.circle(surface, shape.fill, centre, radius)
    if shape.outline is not None:
        pygame.draw.circle(surface, shape.outline, centre, radius, max(border, 1))


def _draw_line(surface: pygame.Surface, shape: Line) -> None:
    """Draws a line as a quadrilateral with a disc at each end.

    pygame ends its thick lines along the axes, not at a right angle to the line.
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
    """Returns the bundled font at the text's size, or smaller if needed to fit."""
    # Loaded by name it has the requested size; loaded as None, 69 % of it.
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
    """Renders a text on a transparent surface, cached from frame to frame.

    A surface survives `pygame.quit()`, a font does not: fonts are not cached.
    """
    return _fitting_font(shape).render(shape.text, True, shape.colour)


def _draw_text(surface: pygame.Surface, shape: Text) -> None:
    """Draws one line of text, with capitals vertically centred on its y."""
    picture = _text_picture(shape)
    x = shape.x * _OVERSAMPLING
    left = {
        "left": x,
        "centre": x - picture.get_width() / 2,
        "right": x - picture.get_width(),
    }[shape.anchor]
    top = shape.y * _OVERSAMPLING - _CAPITALS_MIDDLE * picture.get_height()
    surface.blit(picture, (round(left), round(top)))
