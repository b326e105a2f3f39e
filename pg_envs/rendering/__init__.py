"""Pictures of environments: scenes as plain data, and one canvas that draws them.

Nothing named here imports pygame. `pg_envs.rendering.canvas` does; import it only where
something is about to be drawn.
"""

from pg_envs.rendering.bandit_scene import bandit_scene
from pg_envs.rendering.pixelcopter_scene import (
    PixelcopterSnapshot,
    pixelcopter_scene,
)
from pg_envs.rendering.scene import (
    Circle,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
)
from pg_envs.rendering.sequence_scene import sequence_scene
from pg_envs.rendering.window_closed import WindowClosed

__all__ = [
    "Circle",
    "Line",
    "PixelcopterSnapshot",
    "Polygon",
    "Rectangle",
    "Scene",
    "Shape",
    "Snapshot",
    "Text",
    "WindowClosed",
    "bandit_scene",
    "pixelcopter_scene",
    "sequence_scene",
]
