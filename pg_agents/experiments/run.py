"""One run: trained, evaluated, recorded in its folder; resumed where it stopped."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.callbacks import (
    KeepCheckpoints,
    RunningReward,
    StopWhenSolved,
    newest_checkpoint,
    resume,
)
from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.checkpoint.state import next_seed
from pg_agents.common.files import remove_temporaries, write_whole
from pg_agents.experiments.building import (
    algorithm_class,
    derived_seed,
    load_function,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.errors import DamagedRunError, FolderBusyError
from pg_agents.experiments.folder import (
    EvaluationRecord,
    Result,
    RunFolder,
    clear_disk_errors,
)
from pg_agents.experiments.monitor_file import (
    Episode,
    appending_writer,
    cut_back,
    new_writer,
    row,
)
from pg_agents.experiments.settings import (
    DEFAULT_ROOT,
    RunConfig,
    Settings,
    require_extra,
)

# Number of steps for `learn` where a callback ends the training.
NO_LIMIT = 2**62
_EVALUATION_SEED = 1
# SB3 seeds the generators of the whole process, so a process does one run at a time.
# A run may contain another one, as a warm start does.
_PROCESS_LOCK = threading.RLock()
# A process that was killed a moment ago may still hold its lock.
_LOCK_SECONDS = 10.0


class Progress(NamedTuple):
    """How far the training of a run is.

    Attributes:
        share: share of the training that is done, in [0, 1].
        steps: number of steps so far.
        episodes: number of finished episodes.
        last_return: return of the last one; NaN before the first.
        running_reward: exponential average of the returns; NaN if unknown.
    """

    share: float
    steps: int = 0
    episodes: int = 0
    last_return: float = float("nan")
    running_reward: float = float("nan")


OnProgress = Callable[[Progress], None]


@dataclass
class RunProgress:
    """Progress that is saved with each checkpoint, as `model.run_progress`.

    Attributes:
        n_episodes: number of finished episodes.
        running_reward: exponential average of their returns, with a factor of 0.05.
        seconds: duration of the training so far, pauses excluded.
        resumed_at: numbers of steps at which the run was resumed.
        ended: whether training has ended.
    """

    n_episodes: int = 0
    running_reward: RunningReward = field(default_factory=RunningReward)
    seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class Training:
    """Argument of a recipe's `train` function, which returns the trained model.

    A function that calls `model.learn` itself passes `callbacks`, and
    `reset_num_timesteps=False` except for the first call in a new run. Work that
    precedes the first call is to be done only if `model.num_timesteps` is 0.

    Attributes:
        config: config of the run.
        seed: seed of the run.
        model: the model, new or from the last checkpoint.
        callbacks: callbacks that record episodes and checkpoints, and end the training.
        timesteps: number of steps left, for `learn`.
        folder: folder of the run.
    """

    config: RunConfig
    seed: int
    model: BaseAlgorithm
    callbacks: list[BaseCallback]
    timesteps: int
    folder: RunFolder

    def learn(self, *callbacks: BaseCallback) -> BaseAlgorithm:
        """Learns for the steps that are left, and returns the model.

        Args:
            *callbacks: callbacks that precede those of the run.
        """
        model = self.model
        return model.learn(
            self.timesteps,
            [*callbacks, *self.callbacks],
            log_interval=None,  # type: ignore[arg-type]
            reset_num_timesteps=model.num_timesteps == 0,
        )


def run_one(
    config: RunConfig,
    seed: int,
    root: str | Path = DEFAULT_ROOT,
    *,
    on_progress: OnProgress | None = None,
    stop_asked: Callable[[], bool] | None = None,
) -> RunFolder:
    """Trains and evaluates with one seed, in a folder of its own.

    A finished run is left unchanged. An unfinished one is resumed from its last
    checkpoint, exactly if the environment's state can be saved. The results depend on
    config and seed alone: torch uses one thread, and a process does one run at a time.

    Args:
        config: what to run, as from `find_recipe(name).config()`.
        seed: from 0 to 2**31 - 1.
        root: the folder of all runs.
        on_progress: called when training begins and after each episode.
        stop_asked: whether to stop, called before each rollout; None for the first
            Ctrl-C, in the main thread.

    Returns:
        The folder.

    Raises:
        ValueError: if a setting is refused, or the folder is damaged or holds another
            run; nothing is changed then.
        ModuleNotFoundError: if an extra is not installed; the message has the pip
            command.
        FolderBusyError: if another process works on this run.
        OSError: if the disk is full, or can't be written to.
        KeyboardInterrupt: if it was asked to stop; a checkpoint has been saved.
    """
    check_seed(seed)
    require_extra(config.settings.extra, f"recipe {config.recipe}")
    path = RunFolder.path_of(root, config, seed)
    with _PROCESS_LOCK, clear_disk_errors(path), _folder_lock(path), _one_thread():
        path.mkdir(exist_ok=True)
        try:
            remove_temporaries(path, "")
            folder = _existing_folder(path, config, seed)
            if folder is not None and folder.finished:
                folder.check()
                return folder
            return _Run(config, seed, path, folder, on_progress, stop_asked).finish()
        finally:
            # A refused run leaves no empty folder.
            with suppress(OSError):
                path.rmdir()


def evaluate(folder: RunFolder) -> EvaluationRecord:
    """Evaluates the saved model of a run; the episodes depend on it and the seed alone.

    Raises:
        DamagedRunError: (a ValueError) if the model is missing or damaged.
    """
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _EVALUATION_SEED)
    env = make_evaluation_env(settings, seed)
    try:
        model = folder.load_model(env)
        set_random_seed(seed)
        # RandomAgent draws from the policy's copy of the space.
        model.policy.action_space.seed(seed)
        returns, lengths = evaluate_policy(
            model,
            env,
            settings.evaluation.n_episodes,
            settings.evaluation.deterministic,
            return_episode_rewards=True,
        )
        assert isinstance(returns, list) and isinstance(lengths, list)
    finally:
        env.close()
    return EvaluationRecord(seed, tuple(map(float, returns)), tuple(map(int, lengths)))


def check_seed(seed: int) -> None:
    """Raises unless a seed is an integer from 0 to 2**31 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"a seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"a seed must be from 0 to 2**31 - 1, got {seed!r}")


def share_done(settings: Settings, steps: int, episodes: int) -> float:
    """Returns the share of the training that is done, in [0, 1]."""
    if settings.timesteps is not None:
        return min(1.0, steps / settings.timesteps)
    assert settings.episodes is not None, "Settings require one of the two"
    return min(1.0, episodes / settings.episodes)


def progress_of(model: BaseAlgorithm) -> RunProgress:
    """Returns the progress that is saved with a model; a new one for a new model."""
    if not hasattr(model, "run_progress"):
        setattr(model, "run_progress", RunProgress())  # noqa: B010
    progress: RunProgress = getattr(model, "run_progress")  # noqa: B009
    return progress


def silence(model: BaseAlgorithm) -> None:
    """Gives a model a logger without outputs; SB3's own makes a folder per `learn`."""
    model.set_logger(Logger(folder=None, output_formats=[]))


class _Run:
    """An unfinished run."""

    def __init__(
        self,
        config: RunConfig,
        seed: int,
        path: Path,
        folder: RunFolder | None,
        on_progress: OnProgress | None,
        stop_asked: Callable[[], bool] | None,
    ) -> None:
        self.config, self.settings, self.seed = config, config.settings, seed
        self.path, self.folder = path, folder
        self.on_progress, self.stop_asked = on_progress, stop_asked

    def finish(self) -> RunFolder:
        env = make_training_env(self.settings)
        try:
            model, returns = self._model(env)
            # Created after the model, whose constructor may refuse the settings.
            folder = self.folder or RunFolder.create(self.path, self.config, self.seed)
            if not progress_of(model).ended:
                model = self._train(model, returns, folder)
            progress, n_steps = progress_of(model), model.num_timesteps
            write_whole(folder.path / "model.zip", checkpoint_content(model), "zip")
        finally:
            env.close()
        record = evaluate(folder)
        folder.write_evaluation(record)
        folder.write_result(
            Result(
                mean_return=float(np.mean(record.returns)),
                sd_return=float(np.std(record.returns)),
                n_episodes=len(record.returns),
                steps=n_steps,
                episodes=progress.n_episodes,
                wall_seconds=round(progress.seconds, 3),
                finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
                resumed_at=tuple(progress.resumed_at),
            )
        )
        return folder

    def _model(
        self, env: VecEnv | VectorEnv[Any, Any, Any]
    ) -> tuple[BaseAlgorithm, list[float]]:
        """Returns the model, new or resumed, and the returns of its past episodes."""
        checkpoints = None if self.folder is None else self.folder.checkpoints
        if checkpoints is None or newest_checkpoint(checkpoints) is None:
            return make_model(self.settings, env, self.seed), []
        algorithm = algorithm_class(self.settings)
        try:
            model = resume(algorithm, checkpoints, env, device=self.settings.device)
        except FileNotFoundError:
            # `resume` has renamed the checkpoints, all of which are damaged.
            warnings.warn(f"{self.path} starts over", stacklevel=4)
            return make_model(self.settings, env, self.seed), []
        return model, self._resume(model)

    def _resume(self, model: BaseAlgorithm) -> list[float]:
        if not hasattr(model, "run_progress"):
            raise ValueError(
                f"{self.path}: the checkpoint's run_progress can't be unpickled here; "
                "resume it with the versions in versions.json, or delete the folder "
                "and run it again"
            )
        progress, steps = progress_of(model), model.num_timesteps
        assert self.folder is not None, "a folder that has the checkpoint"
        episodes = cut_back(self.folder.monitor, steps, progress.n_episodes)
        if not progress.ended:
            progress.resumed_at.append(steps)
            if not hasattr(model, "training_state"):
                # SB3's checkpoints hold no random states; ours do.
                model.set_random_seed(next_seed(self.seed, steps))
        return [episode.episode_return for episode in episodes]

    def _train(
        self, model: BaseAlgorithm, returns: list[float], folder: RunFolder
    ) -> BaseAlgorithm:
        silence(model)
        settings = self.settings
        log = EpisodeLog(folder.monitor, settings, self.on_progress)
        stop: list[BaseCallback] = []
        if settings.stop_when_solved is not None:
            solved = StopWhenSolved(**{"verbose": 0, **settings.stop_when_solved})
            solved.add_returns(returns)
            stop = [solved]
        limit = NO_LIMIT if settings.timesteps is None else settings.timesteps
        stop_asked = self.stop_asked
        with _ctrl_c() if stop_asked is None else nullcontext(stop_asked) as asked:
            checkpoints = RunCheckpoints(
                settings.checkpoint_every, folder.checkpoints, asked
            )
            training = Training(
                self.config,
                self.seed,
                model,
                [log, *stop, checkpoints],
                max(0, limit - model.num_timesteps),
                folder,
            )
            train = load_function(settings.train) if settings.train else Training.learn
            try:
                trained: BaseAlgorithm = train(training)
                return trained
            finally:
                log.close()


class EpisodeLog(BaseCallback):
    """Writes each episode to monitor.csv, counts them, and ends with the last one.

    It is the first callback of a run, so that checkpoints hold its progress. SB3's
    Monitor would count episodes of environments that are not recorded, and VecMonitor
    can't append to a file.
    """

    def __init__(
        self, path: Path, settings: Settings, on_progress: OnProgress | None = None
    ) -> None:
        super().__init__()
        self.path, self.settings, self.on_progress = path, settings, on_progress
        self._writer: ResultsWriter | None = None
        self._began = 0.0

    @property
    def progress(self) -> RunProgress:
        """Progress of the run."""
        return progress_of(self.model)

    def close(self) -> None:
        """Closes the file, which `learn` does not if it raises."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _on_training_start(self) -> None:
        self.close()
        if self.model.num_timesteps > 0:
            self._writer = appending_writer(self.path)
        else:
            self._writer = new_writer(self.path, self.settings.env_id)
        self._began = time.monotonic() - self.progress.seconds
        self._report(float("nan"))

    def _on_rollout_start(self) -> None:
        self.progress.seconds = time.monotonic() - self._began

    def _on_step(self) -> bool:
        # With a thousand environments, most steps end no episode.
        if not np.any(self.locals["dones"]):
            return True
        for episode in finished_episodes(self.locals):
            if self._is_complete():
                # Parallel environments may end more episodes at once than are left.
                break
            self._record(episode.episode_return, episode.length)
        return not self._is_complete()

    def _is_complete(self) -> bool:
        limit = self.settings.episodes
        return limit is not None and self.progress.n_episodes >= limit

    def _record(self, episode_return: float, length: int) -> None:
        assert self._writer is not None, "opened when training starts"
        progress = self.progress
        progress.n_episodes += 1
        progress.running_reward.update(episode_return)
        seconds = round(time.monotonic() - self._began, 6)
        episode = Episode(
            episode_return, length, seconds, self.num_timesteps, progress.n_episodes
        )
        self._writer.write_row(row(episode))
        self._report(episode_return)

    def _report(self, last_return: float) -> None:
        if self.on_progress is None:
            return
        steps, n_episodes = self.model.num_timesteps, self.progress.n_episodes
        share = share_done(self.settings, steps, n_episodes)
        running = self.progress.running_reward.value
        self.on_progress(Progress(share, steps, n_episodes, last_return, running))

    def _on_training_end(self) -> None:
        self.progress.seconds = time.monotonic() - self._began
        self.progress.ended = True
        self.close()


class RunCheckpoints(KeepCheckpoints):
    """Checkpoints of a run, which stop it on request without losing a step.

    The request is checked at the start of each rollout, where a checkpoint allows an
    exact continuation.
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


def _existing_folder(path: Path, config: RunConfig, seed: int) -> RunFolder | None:
    """Returns the folder if a run has begun there."""
    if not (path / "config.json").exists():
        started = ("monitor.csv", "checkpoint", "model.zip", "result.json")
        if any((path / name).exists() for name in started):
            raise DamagedRunError(path / "config.json", "is missing")
        return None
    folder = RunFolder(path)
    folder.check_is(config, seed)
    return folder


@contextmanager
def _folder_lock(path: Path) -> Iterator[None]:
    """Locks the folder of a run; the operating system frees it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder: FileLock leaves its file there.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=_LOCK_SECONDS, poll_interval=0.05)
    except Timeout:
        raise FolderBusyError(
            f"{path} is in use by another process: wait for it to end, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sets torch to one thread: sums in another order differ in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a stop request; a second one interrupts at once.

    Outside the main thread, where Python allows no signal handlers, it does nothing.

    Yields:
        A function that returns whether the stop was requested.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    # None means a handler that was not set from Python.
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    signal.signal(signal.SIGINT, handle)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, before)
