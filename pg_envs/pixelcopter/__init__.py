"""Pixelcopter: a helicopter in a cave, step for step the game of PLE."""

from pg_envs.pixelcopter.env import PixelcopterEnv
from pg_envs.pixelcopter.scene import PixelcopterSnapshot, pixelcopter_scene
from pg_envs.pixelcopter.vector import (
    PixelcopterVectorEnv,
    TorchPixelcopterVectorEnv,
)

__all__ = [
    "ID",
    "MAX_EPISODE_STEPS",
    "TIME_LIMIT_ID",
    "PixelcopterEnv",
    "PixelcopterSnapshot",
    "PixelcopterVectorEnv",
    "TorchPixelcopterVectorEnv",
    "pixelcopter_scene",
]

ID = "PGToy-Pixelcopter-v0"
TIME_LIMIT_ID = "PGToy-PixelcopterTimeLimit-v0"
MAX_EPISODE_STEPS = 4000
