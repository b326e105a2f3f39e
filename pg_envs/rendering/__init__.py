"""Pictures of environments: scenes as plain data, and the canvas that draws them.

Importing this package does not import pygame. `pg_envs.rendering.canvas` does.
"""

from pg_envs.rendering.bandit import bandit_scene
from pg_envs.rendering.scene import (
    Circle,
    Image,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
    WindowClosed,
)
from pg_envs.rendering.sequence import sequence_scene
from pg_envs.rendering.transform import placed, recoloured

__all__ = [
    "Circle",
    "Image",
    "Line",
    "Polygon",
    "Rectangle",
    "Scene",
    "Shape",
    "Snapshot",
    "Text",
    "WindowClosed",
    "bandit_scene",
    "placed",
    "recoloured",
    "sequence_scene",
]
