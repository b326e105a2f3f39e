"""Where pictures can be shown: a screen, or a notebook."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any


def has_screen() -> bool:
    """Whether a window can be opened; SDL's dummy driver, as in tests, counts."""
    if sys.platform in ("win32", "darwin"):
        return True
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return any(os.environ.get(name) for name in names)


def shows_windows() -> bool:
    """Whether a window would be seen: SDL's drivers for no screen draw into memory."""
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    return has_screen() and driver not in ("dummy", "offscreen")


def notebook_display() -> Callable[[bytes], None] | None:
    """Returns a function that shows a PNG in place of the last one in a notebook.

    None outside a notebook.
    """
    # A notebook has imported it.
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    display: Any = importlib.import_module("IPython.display")
    handles: list[Any] = []

    def show(picture: bytes) -> None:
        image = display.Image(data=picture, format="png")
        if handles:
            handles[0].update(image)
        else:
            handles.append(display.display(image, display_id=True))

    return show
