"""The callbacks of a run: its episodes on file, its checkpoints, its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import ResultsWriter

from pg_agents.callbacks import KeepCheckpoints, RunningReward
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.experiments.monitor_file import (
    Episode,
    appending_writer,
    new_writer,
    row,
)
from pg_agents.experiments.settings import Settings


@dataclass
class RunProgress:
    """What a run knows of itself; `model.run_progress`, saved with each checkpoint.

    Attributes:
        games_played: episodes that have ended.
        running_reward: exponential average of their returns, with a factor of 0.05.
        seconds: that training has taken, pauses left out.
        resumed_at: the steps at which it was taken up again.
        ended: whether training is over.
    """

    games_played: int = 0
    running_reward: RunningReward = field(default_factory=RunningReward)
    seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    ended: bool = False


class Moment(NamedTuple):
    """How far a run is, for whoever watches.

    Attributes:
        share: of the training that is done, from 0 to 1.
        steps: taken so far.
        episodes: ended so far.
        last_return: of the last of them; NaN before.
        running_reward: NaN where it is not known.
    """

    share: float
    steps: int = 0
    episodes: int = 0
    last_return: float = float("nan")
    running_reward: float = float("nan")


def share_done(settings: Settings, steps: int, episodes: int) -> float:
    """Returns which share of the training is done, from 0 to 1."""
    if settings.timesteps is not None:
        return min(1.0, steps / settings.timesteps)
    assert settings.episodes is not None, "one of the two is given"
    return min(1.0, episodes / settings.episodes)


def progress_of(model: BaseAlgorithm) -> RunProgress:
    """Returns the progress that is saved with a model; that of a new run without."""
    if not hasattr(model, "run_progress"):
        setattr(model, "run_progress", RunProgress())  # noqa: B010
    progress: RunProgress = getattr(model, "run_progress")  # noqa: B009
    return progress


class EpisodeLog(BaseCallback):
    """Writes each episode to monitor.csv, keeps count, and ends with the last one.

    It comes first among the callbacks of a run, so that checkpoints are saved with what
    it knows. SB3's Monitor could not write the file: of idle environments it would
    count episodes that belong to nobody, and VecMonitor can't go on with a file.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        on_progress: Callable[[Moment], None] | None = None,
    ) -> None:
        super().__init__()
        self.path, self.settings, self.on_progress = path, settings, on_progress
        self._writer: ResultsWriter | None = None
        self._began = 0.0

    @property
    def progress(self) -> RunProgress:
        """What is known of the run."""
        return progress_of(self.model)

    def close(self) -> None:
        """Closes the file; needed where `learn` has raised."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _on_training_start(self) -> None:
        self.close()
        goes_on = self.model.num_timesteps > 0
        self._writer = (
            appending_writer(self.path)
            if goes_on
            else new_writer(self.path, self.settings.env_id)
        )
        self._began = time.monotonic() - self.progress.seconds
        self._tell(float("nan"))

    def _on_rollout_start(self) -> None:
        self.progress.seconds = time.monotonic() - self._began

    def _on_step(self) -> bool:
        # Of a thousand environments most steps end no episode: don't ask each.
        if not np.any(self.locals["dones"]):
            return True
        for episode in finished_episodes(self.locals):
            if self._has_all():
                # Environments in parallel: of episodes that end together, some are too
                # many.
                return False
            self._take_down(episode.episode_return, episode.length)
        return not self._has_all()

    def _has_all(self) -> bool:
        wanted = self.settings.episodes
        return wanted is not None and self.progress.games_played >= wanted

    def _take_down(self, episode_return: float, length: int) -> None:
        assert self._writer is not None, "training has started"
        progress = self.progress
        progress.games_played += 1
        progress.running_reward.update(episode_return)
        seconds = round(time.monotonic() - self._began, 6)
        episode = Episode(
            episode_return, length, seconds, self.num_timesteps, progress.games_played
        )
        self._writer.write_row(row(episode))
        self._tell(episode_return)

    def _tell(self, last_return: float) -> None:
        if self.on_progress is None:
            return
        steps, progress = self.model.num_timesteps, self.progress
        share = share_done(self.settings, steps, progress.games_played)
        self.on_progress(
            Moment(
                share,
                steps,
                progress.games_played,
                last_return,
                progress.running_reward.value,
            )
        )

    def _on_training_end(self) -> None:
        self.progress.seconds = time.monotonic() - self._began
        self.progress.ended = True
        self.close()


class RunCheckpoints(KeepCheckpoints):
    """Checkpoints of a run, which can be asked to stop without losing a step.

    Whoever asks is obeyed at the beginning of the next rollout, where a checkpoint is
    saved that the run goes on from exactly.
    """

    def __init__(
        self, save_freq: int, folder: Path, stop_asked: Callable[[], bool]
    ) -> None:
        super().__init__(save_freq, folder, keep=2)
        self.stop_asked = stop_asked

    def _on_rollout_start(self) -> None:
        if self.stop_asked():
            if self.model.num_timesteps > self._saved_at:
                self._save()
            raise KeyboardInterrupt
        super()._on_rollout_start()
