"""The live view, a window that shows a training, and films for notebooks.

The window has a process of its own. Importing this package loads neither torch nor
pygame.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.live.film import Film, film_episode, film_frames
    from pg_agents.live.view import LiveView

__all__ = ["Film", "LiveView", "film_episode", "film_frames"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "film": ["Film", "film_episode", "film_frames"],
        "view": ["LiveView"],
    },
)
