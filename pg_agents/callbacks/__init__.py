"""Callbacks for SB3's A2C and PPO and the agents of this package."""

from pg_agents.callbacks.checkpoint import (
    KeepCheckpoints,
    newest_checkpoint,
    remaining_timesteps,
    resume,
)
from pg_agents.callbacks.episodes import RunningReward
from pg_agents.callbacks.progress import ProgressCallback
from pg_agents.callbacks.recorder import Recorder, TrainingRecord
from pg_agents.callbacks.stopping import StopOnInterrupt, StopWhenSolved

__all__ = [
    "KeepCheckpoints",
    "ProgressCallback",
    "Recorder",
    "RunningReward",
    "StopOnInterrupt",
    "StopWhenSolved",
    "TrainingRecord",
    "newest_checkpoint",
    "remaining_timesteps",
    "resume",
]
