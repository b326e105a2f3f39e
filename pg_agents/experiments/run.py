"""One run: trained, evaluated and written down; taken up again where it stopped."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.callbacks import StopWhenSolved, newest_checkpoint, resume
from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.checkpoint.state import next_seed
from pg_agents.common.files import remove_temporaries, write_whole
from pg_agents.experiments.building import (
    algorithm_class,
    load_hook,
    make_model,
    make_training_env,
)
from pg_agents.experiments.damage import DamagedRunError
from pg_agents.experiments.evaluating import evaluate
from pg_agents.experiments.extras import require_extra
from pg_agents.experiments.folder import (
    EvaluationRecord,
    Result,
    RunFolder,
    clear_disk_errors,
)
from pg_agents.experiments.interrupts import stop_requests
from pg_agents.experiments.lock import claim
from pg_agents.experiments.monitor_file import cut_back
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig, Settings
from pg_agents.experiments.training import (
    EpisodeLog,
    Moment,
    RunCheckpoints,
    RunProgress,
    progress_of,
)

# What a run that counts episodes is told to learn for.
_NO_END = 2**62
# SB3 seeds the generators of the whole process: two runs at once would disturb each
# other.
_ALONE = threading.Lock()


@dataclass(frozen=True)
class Training:
    """What a recipe's own function of training is given; it returns the model.

    Its `learn` must get `callbacks`, and `reset_num_timesteps=False` unless it is the
    first of a new run; whatever comes before the first is to be done only if
    `model.num_timesteps` is 0.

    Attributes:
        config: what is run.
        seed: its seed.
        model: new, or from the last checkpoint.
        callbacks: which keep episodes and checkpoints, and end the training.
        timesteps: that are left, for `learn`.
        folder: of the run, for whatever else it writes.
    """

    config: RunConfig
    seed: int
    model: BaseAlgorithm
    callbacks: list[BaseCallback]
    timesteps: int
    folder: RunFolder

    def learn(self, *more: BaseCallback) -> BaseAlgorithm:
        """Learns for the steps that are left, and returns the model.

        Args:
            *more: callbacks that come before those of the run.
        """
        model = self.model
        return model.learn(
            self.timesteps,
            [*more, *self.callbacks],
            log_interval=None,  # type: ignore[arg-type]
            reset_num_timesteps=model.num_timesteps == 0,
        )


def run_one(
    config: RunConfig,
    seed: int,
    root: str | Path = DEFAULT_ROOT,
    *,
    on_progress: Callable[[Moment], None] | None = None,
    stop_asked: Callable[[], bool] | None = None,
) -> RunFolder:
    """Trains and evaluates with one seed, in a folder of its own.

    A finished folder is left as it is; an unfinished one is taken up from its last
    checkpoint, exactly if the environment's state can be saved.
    All numbers depend on config and seed alone, not on the process: torch works with
    one thread, and a process does one run at a time.

    Args:
        config: what to run, as from `find_recipe(name).config()`.
        seed: from 0 to 2**31 - 1.
        root: the folder of all runs.
        on_progress: is told how far training is, whenever an episode ends.
        stop_asked: whether to stop, asked before each rollout; None for the first
            Ctrl-C, if this is the main thread.

    Returns:
        The folder.

    Raises:
        ValueError: if a setting is refused, or the folder is damaged or that of another
            run; nothing has changed then.
        ModuleNotFoundError: if an extra is not installed; says how to install it.
        FolderBusyError: if another process is at work on this run.
        OSError: if the disk is full, or can't be written to.
        KeyboardInterrupt: if it was asked to stop; a checkpoint has been saved.
    """
    check_seed(seed)
    require_extra(config.settings.extra, f"recipe {config.recipe}")
    path = RunFolder.path_of(root, config, seed)
    with _ALONE, clear_disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            with claim(path / ".lock"):
                remove_temporaries(path, "")
                folder = _existing(path, config, seed)
                if folder is not None and folder.finished:
                    folder.check()
                    return folder
                with _one_thread():
                    return _Run(config, seed, path, folder, on_progress).go(stop_asked)
        finally:
            # Of a run that was refused nothing is left.
            with suppress(OSError):
                path.rmdir()


def check_seed(seed: int) -> None:
    """Raises unless a seed is one."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"a seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"a seed must be from 0 to 2**31 - 1, got {seed!r}")


def _existing(path: Path, config: RunConfig, seed: int) -> RunFolder | None:
    """Returns the folder if a run has begun there."""
    if not (path / "config.json").exists():
        begun = ("monitor.csv", "checkpoint", "model.zip", "result.json")
        if any((path / name).exists() for name in begun):
            raise DamagedRunError(path / "config.json", "is missing")
        return None
    folder = RunFolder(path)
    folder.check_is(config, seed)
    return folder


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in another order are other numbers, and small networks lose by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """A run that is not finished yet."""

    def __init__(
        self,
        config: RunConfig,
        seed: int,
        path: Path,
        folder: RunFolder | None,
        on_progress: Callable[[Moment], None] | None,
    ) -> None:
        self.config, self.seed, self.path = config, seed, path
        self.folder, self.on_progress = folder, on_progress

    @property
    def settings(self) -> Settings:
        return self.config.settings

    def go(self, stop_asked: Callable[[], bool] | None) -> RunFolder:
        env = make_training_env(self.settings)
        try:
            model, returns = self._model(env)
            # Only now: nothing is left of a config that the model refuses.
            folder = self.folder or RunFolder.create(self.path, self.config, self.seed)
            progress = progress_of(model)
            if not progress.ended:
                model = self._train(model, returns, folder, stop_asked)
                progress = progress_of(model)
            write_whole(folder.path / "model.zip", checkpoint_content(model), "zip")
            n_steps = model.num_timesteps
        finally:
            env.close()
        record = evaluate(folder)
        folder.write_evaluation(record)
        folder.write_result(_result(record, progress, n_steps))
        return folder

    def _model(
        self, env: VecEnv | VectorEnv[Any, Any, Any]
    ) -> tuple[BaseAlgorithm, list[float]]:
        """Returns the model, new or resumed, and the returns that it has behind it."""
        kept = None if self.folder is None else self.folder.checkpoints
        if kept is None or newest_checkpoint(kept) is None:
            return make_model(self.settings, env, self.seed), []
        algorithm = algorithm_class(self.settings)
        try:
            model = resume(algorithm, kept, env, device=self.settings.device)
        except FileNotFoundError:
            # The damaged ones have been put aside.
            warnings.warn(f"{self.path} begins anew", stacklevel=4)
            return make_model(self.settings, env, self.seed), []
        return model, self._take_up(model)

    def _take_up(self, model: BaseAlgorithm) -> list[float]:
        if not hasattr(model, "run_progress"):
            raise ValueError(
                f"{self.path}: the checkpoint's run_progress can't be unpickled here; "
                "resume it with the versions in versions.json, or delete the folder "
                "and run it again"
            )
        progress, steps = progress_of(model), model.num_timesteps
        assert self.folder is not None, "it has the checkpoint"
        seen = cut_back(self.folder.monitor, steps, progress.games_played)
        if not progress.ended:
            progress.resumed_at.append(steps)
            if not hasattr(model, "training_state"):
                # SB3's checkpoints have no random states; ours put them back.
                model.set_random_seed(next_seed(self.seed, steps))
        return [episode.episode_return for episode in seen]

    def _train(
        self,
        model: BaseAlgorithm,
        returns: list[float],
        folder: RunFolder,
        stop_asked: Callable[[], bool] | None,
    ) -> BaseAlgorithm:
        # Without outputs: SB3's own makes a folder for every learn().
        model.set_logger(Logger(folder=None, output_formats=[]))
        settings = self.settings
        log = EpisodeLog(folder.monitor, settings, self.on_progress)
        asking = stop_requests() if stop_asked is None else nullcontext(stop_asked)
        with asking as asked:
            stop = _stop_when_solved(settings, returns)
            keep = RunCheckpoints(settings.checkpoint_every, folder.checkpoints, asked)
            total = _NO_END if settings.timesteps is None else settings.timesteps
            training = Training(
                self.config,
                self.seed,
                model,
                [log, *stop, keep],
                max(0, total - model.num_timesteps),
                folder,
            )
            hook = settings.train
            train = Training.learn if hook is None else load_hook(hook)
            try:
                trained: BaseAlgorithm = train(training)
                return trained
            finally:
                log.close()


def _stop_when_solved(settings: Settings, returns: list[float]) -> list[BaseCallback]:
    if settings.stop_when_solved is None:
        return []
    callback = StopWhenSolved(**{"verbose": 0, **settings.stop_when_solved})
    callback.add_returns(returns)
    return [callback]


def _result(record: EvaluationRecord, progress: RunProgress, steps: int) -> Result:
    return Result(
        mean_return=float(np.mean(record.returns)),
        sd_return=float(np.std(record.returns)),
        n_episodes=len(record.returns),
        steps=steps,
        episodes=progress.games_played,
        wall_seconds=round(progress.seconds, 3),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        resumed_at=tuple(progress.resumed_at),
    )
