"""Draws scenes with pygame; the only module of this package that imports it."""

import math
import os
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Image,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Text,
    WindowClosed,
)

try:
    import pygame
    import pygame.font
    import pygame.surfarray
except ImportError as error:
    # pygame and pygame-ce install into one folder: uninstalling either of them leaves
    # the other one listed as installed, without the files that both have.
    raise ImportError(
        f"pictures need pygame-ce, but pygame cannot be imported ({error}). If pygame "
        "and pygame-ce were both installed and one was removed, their folder is "
        "incomplete. These lines repair it; in a notebook write %pip for pip, and "
        "restart the kernel:\n"
        "    pip uninstall -y pygame pygame-ce\n"
        "    pip install pygame-ce",
        name=error.name,
    ) from error

# Scenes are drawn this many times larger, then averaged down, because pygame does not
# smooth edges. With a power of two smoothscale is exact; with 3, white becomes 253.
OVERSAMPLING = 4
# Middle of a capital letter in its line of text, as a share of the line's height.
_CAPITALS_MIDDLE = 0.46


class Canvas:
    """Draws scenes into arrays, off screen, or into a window.

    `rgb_array` opens no window and needs no display.

    Args:
        caption: Title of the window.
        fps: Frames a second, to which `show` limits the pace; 0 for no limit.
        is_resizable: Whether the user may resize the window, whose size `window_size`
            tells. `show` then keeps the size, and cuts off a larger scene.
        oversampling: How many times larger scenes are drawn before they are averaged
            down: 4, or for large windows that are redrawn often 2.
    """

    # pygame has one window per process, which all canvases share.
    _showing: ClassVar[WeakSet["Canvas"]] = WeakSet()
    # The window, if a canvas has opened it; other code may have closed it since.
    _window: ClassVar[pygame.Surface | None] = None

    def __init__(
        self,
        caption: str,
        fps: int,
        is_resizable: bool = False,
        oversampling: int = OVERSAMPLING,
    ) -> None:
        self.caption = caption
        self.fps = fps
        self.is_resizable = is_resizable
        self.oversampling = oversampling
        self._clock = pygame.time.Clock()
        # The scene that was shown last, and its picture.
        self._last: tuple[Scene, pygame.Surface] | None = None
        # Names of the keys that are held, and of those pressed since the last `keys`.
        self._held: set[str] = set()
        self._pressed: list[str] = []

    def __reduce__(self) -> tuple[type["Canvas"], tuple[str, int, bool, int]]:
        """Copies and pickles as a new canvas that shows no window."""
        arguments = self.caption, self.fps, self.is_resizable, self.oversampling
        return type(self), arguments

    def rgb_array(self, scene: Scene) -> npt.NDArray[np.uint8]:
        """Returns a scene as a fresh array [height, width, 3] of uint8."""
        picture = _draw_scene(scene, self.oversampling)
        pixels = pygame.surfarray.array3d(picture)
        # pygame's first axis is x.
        return np.ascontiguousarray(pixels.transpose(1, 0, 2), dtype=np.uint8)

    def show(self, scene: Scene) -> None:
        """Shows a scene in the window, opened on first use, and limits the pace.

        Raises:
            WindowClosed: If the user has closed the window or pressed Escape or Q. The
                window is gone by then; the next `show` opens a new one.
            RuntimeError: If there is no display.
        """
        window = self._open_window((scene.width, scene.height))
        for event in pygame.event.get():
            is_key = event.type == pygame.KEYDOWN
            ends = is_key and event.key in (pygame.K_ESCAPE, pygame.K_q)
            if event.type == pygame.QUIT or ends:
                self.close()
                raise WindowClosed("The window was closed.")
            if is_key:
                self._held.add(pygame.key.name(event.key))
                self._pressed.append(pygame.key.name(event.key))
            elif event.type == pygame.KEYUP:
                self._held.discard(pygame.key.name(event.key))
        # A window that has grown since the scene was made.
        if window.get_size() != (scene.width, scene.height):
            window.fill(scene.background)
        if self._last is None or self._last[0] != scene:
            self._last = scene, _draw_scene(scene, self.oversampling)
        window.blit(self._last[1], (0, 0))
        pygame.display.flip()
        self._clock.tick(self.fps)

    def keys(self) -> set[str]:
        """Returns the names of the keys held at the last `show`, such as "up" and "w".

        Keys that were pressed and released since the last call are included.
        """
        return self._held | set(self.pressed_keys())

    def pressed_keys(self) -> list[str]:
        """Returns the names of the keys pressed since the last call, in order."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def window_size(self) -> tuple[int, int] | None:
        """Returns width and height of the open window in pixels; None without one."""
        return Canvas._window.get_size() if _is_open(Canvas._window) else None  # type: ignore[union-attr]

    def close(self) -> None:
        """Closes the window if no other canvas uses it; may be called repeatedly."""
        self._held, self._pressed = set(), []
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
            if window is None or (window.get_size() != size and not self.is_resizable):
                _refuse_invisible_display()
                flags = pygame.RESIZABLE if self.is_resizable else 0
                window = pygame.display.set_mode(size, flags)
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


def _draw_scene(scene: Scene, oversampling: int = OVERSAMPLING) -> pygame.Surface:
    """Draws a scene on a new surface, [width, height]."""
    # In every frame: other environments call `pygame.quit()` when they close.
    pygame.font.init()
    size = (scene.width * oversampling, scene.height * oversampling)
    surface = pygame.Surface(size, depth=32)
    surface.fill(scene.background)
    for shape in scene.shapes:
        _draw_shape(surface, shape, oversampling)
    return pygame.transform.smoothscale(surface, (scene.width, scene.height))


def _draw_shape(surface: pygame.Surface, shape: Shape, scale: int) -> None:
    """Draws one shape on a surface that is `scale` times as large as the scene."""
    match shape:
        case Rectangle():
            _draw_rectangle(surface, shape, scale)
        case Circle():
            _draw_circle(surface, shape, scale)
        case Line():
            _draw_line(surface, shape, scale)
        case Polygon():
            points = [_scaled(scale, *point) for point in shape.points]
            pygame.draw.polygon(surface, shape.fill, points)
        case Text():
            _draw_text(surface, shape, scale)
        case Image():
            _draw_image(surface, shape, scale)


def _scaled(scale: int, *lengths: float) -> tuple[int, ...]:
    """Converts lengths to pixels of the oversampled surface."""
    return tuple(round(length * scale) for length in lengths)


def _draw_rectangle(surface: pygame.Surface, shape: Rectangle, scale: int) -> None:
    """Draws the border as a full rectangle, then the inside over it."""

    def fill(colour: Colour, inset: float) -> None:
        left, top, right, bottom, radius = _scaled(
            scale,
            shape.x + inset,
            shape.y + inset,
            shape.x + shape.width - inset,
            shape.y + shape.height - inset,
            max(shape.corner_radius - inset, 0),
        )
        # At least one pixel: pygame draws an empty rectangle as a stray line.
        box = (left, top, max(right - left, 1), max(bottom - top, 1))
        if radius == 0:
            # Half the time, which counts: most shapes of the live view are bars.
            surface.fill(colour, box)
        else:
            pygame.draw.rect(surface, colour, box, border_radius=radius)

    if shape.outline is None:
        fill(shape.fill, 0)
    else:
        fill(shape.outline, 0)
        fill(shape.fill, shape.outline_width)


def _draw_circle(surface: pygame.Surface, shape: Circle, scale: int) -> None:
    """Draws a disc, a disc with a border, or a ring."""
    centre = (shape.x * scale, shape.y * scale)
    radius, border = _scaled(scale, shape.radius, shape.outline_width)
    if shape.fill is not None:
        pygame.draw.circle(surface, shape.fill, centre, radius)
    if shape.outline is not None:
        pygame.draw.circle(surface, shape.outline, centre, radius, max(border, 1))


def _draw_line(surface: pygame.Surface, shape: Line, scale: int) -> None:
    """Draws a line as a quadrilateral with a disc at each end.

    pygame ends its thick lines along the axes, not at a right angle to the line.
    """
    x0, y0, x1, y1 = (scale * part for part in (*shape.start, *shape.end))
    radius = shape.width * scale / 2
    for centre in ((x0, y0), (x1, y1)):
        pygame.draw.circle(surface, shape.colour, centre, radius)
    length = math.hypot(x1 - x0, y1 - y0)
    if length > 0:
        x, y = (y0 - y1) * radius / length, (x1 - x0) * radius / length
        corners = (x0 + x, y0 + y), (x1 + x, y1 + y), (x1 - x, y1 - y), (x0 - x, y0 - y)
        pygame.draw.polygon(surface, shape.colour, corners)


def _fitting_font(shape: Text, scale: int) -> pygame.font.Font:
    """Returns the bundled font at the text's size, or smaller if needed to fit."""
    # Loaded by name it has the requested size; loaded as None, 69 % of it.
    name = pygame.font.get_default_font()
    size = round(shape.size * scale)
    font = pygame.font.Font(name, size)
    if shape.max_width is None:
        return font
    room = shape.max_width * scale
    while (width := font.size(shape.text)[0]) > room and size > 1:
        size = max(1, min(size - 1, int(size * room / width)))
        font = pygame.font.Font(name, size)
    return font


@lru_cache(maxsize=512)
def _text_picture(shape: Text, scale: int) -> pygame.Surface:
    """Renders a text on a transparent surface, cached from frame to frame.

    A surface survives `pygame.quit()`, a font does not: fonts are not cached.
    """
    return _fitting_font(shape, scale).render(shape.text, True, shape.colour)


def _draw_text(surface: pygame.Surface, shape: Text, scale: int) -> None:
    """Draws one line of text, with capitals vertically centred on its y."""
    # The position is left out of the key, so that moving text stays in the cache.
    picture = _text_picture(replace(shape, x=0, y=0, anchor="left"), scale)
    x = shape.x * scale
    left = {
        "left": x,
        "centre": x - picture.get_width() / 2,
        "right": x - picture.get_width(),
    }[shape.anchor]
    top = shape.y * scale - _CAPITALS_MIDDLE * picture.get_height()
    surface.blit(picture, (round(left), round(top)))


def _draw_image(surface: pygame.Surface, shape: Image, scale: int) -> None:
    """Draws pixels, scaled smoothly to their box."""
    picture = pygame.image.frombytes(shape.pixels, shape.size, "RGB")
    size = _scaled(scale, shape.width, shape.height)
    scaled = pygame.transform.smoothscale(picture, size)
    surface.blit(scaled, _scaled(scale, shape.x, shape.y))
