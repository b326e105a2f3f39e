"""Callbacks that work with SB3's A2C and PPO just as with our own agents."""

from pg_agents.callbacks.checkpoint import (
    KeepCheckpoints,
    newest_checkpoint,
    remaining_timesteps,
    resume,
)
from pg_agents.callbacks.progress import ProgressCallback
from pg_agents.callbacks.recorder import Recorder
from pg_agents.callbacks.running_reward import RunningReward
from pg_agents.callbacks.stop_on_interrupt import StopOnInterrupt
from pg_agents.callbacks.stop_when_solved import StopWhenSolved
from pg_agents.callbacks.training_record import TrainingRecord

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
