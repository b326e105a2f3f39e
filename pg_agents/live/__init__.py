"""The live view: a window that shows a training, in a process of its own.

Importing this package loads neither torch nor pygame.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from pg_agents.live.view import LiveView

__all__ = ["LiveView"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"view": ["LiveView"]}
)
