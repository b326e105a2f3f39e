"""One run: trained, evaluated, recorded in its folder; resumed where it stopped."""

from __future__ import annotations

import errno
import hashlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.analysis.monitor import COLUMNS, Episode
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
from pg_agents.common.files import remove_temporaries, write_file
from pg_agents.experiments.building import (
    algorithm_class,
    constructor_arguments,
    derived_seed,
    load_function,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.folder import (
    DamagedRunError,
    EvaluationRecord,
    FolderBusyError,
    Result,
    RunFolder,
    cut_back,
    open_monitor,
)
from pg_agents.experiments.settings import (
    DEFAULT_ROOT,
    RunConfig,
    Settings,
    require_extra,
)
from pg_agents.learners import LearnerBatch
from pg_agents.live.view import LiveView

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
StopAsked = Callable[[], bool]


@dataclass
class RunProgress:
    """Progress that is saved with each checkpoint, as `model.run_progress`.

    Attributes:
        running_reward: exponential average of the returns, with a factor of 0.05.
        seconds: duration of the training so far, pauses excluded.
        resumed_at: numbers of steps at which the run was resumed.
        ended: whether training has ended.
    """

    running_reward: RunningReward = field(default_factory=RunningReward)
    seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def n_episodes(self) -> int:
        """Number of finished episodes."""
        return self.running_reward.n_episodes


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
        stop_asked: whether the run is to stop with a checkpoint.
    """

    config: RunConfig
    seed: int
    model: BaseAlgorithm
    callbacks: list[BaseCallback]
    timesteps: int
    folder: RunFolder
    stop_asked: StopAsked

    def learn(self, *callbacks: BaseCallback) -> BaseAlgorithm:
        """Learns for the steps that are left, and returns the model.

        Args:
            *callbacks: callbacks that precede those of the run.
        """
        return learn(self.model, self.timesteps, [*callbacks, *self.callbacks])


def run_one(
    config: RunConfig,
    seed: int,
    root: str | Path = DEFAULT_ROOT,
    *,
    on_progress: OnProgress | None = None,
    stop_asked: StopAsked | None = None,
    view: LiveView | None = None,
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
        view: shows the training; to quit in its window stops the run.

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
    settings = config.settings
    if settings.vectorization == "learners":
        if view is not None:
            raise ValueError(
                "a view shows one learner, and vectorization='learners' trains a batch "
                "of them: train with vectorization='dummy' or 'vector' to see it"
            )
        on_own = None if on_progress is None else lambda _, now: on_progress(now)
        return run_together(
            config, [seed], root, on_progress=on_own, stop_asked=stop_asked
        )[0]
    require_extra(settings.extra, f"recipe {config.recipe}")
    train = load_function(settings.train) if settings.train else Training.learn
    path = RunFolder.path_of(root, config, seed)
    with _PROCESS_LOCK, _clear_disk_errors(path), _folder_lock(path), _one_thread():
        path.mkdir(exist_ok=True)
        try:
            remove_temporaries(path, "")
            folder = _existing_folder(path, config, seed)
            if folder is not None and folder.finished:
                folder.check()
                return folder
            with closing(make_training_env(settings)) as env:
                model = _new_or_resumed_model(settings, seed, env, folder)
                # Created after the model, whose constructor may refuse the settings.
                folder = folder or RunFolder.create(path, config, seed)
                if not progress_of(model).ended:
                    model = _train(model, folder, train, on_progress, stop_asked, view)
                write_file(path / "model.zip", checkpoint_content(model))
            _write_results(folder, model)
            return folder
        finally:
            # A refused run leaves no empty folder.
            with suppress(OSError):
                path.rmdir()


def run_together(
    config: RunConfig,
    seeds: Sequence[int],
    root: str | Path = DEFAULT_ROOT,
    *,
    on_progress: Callable[[int, Progress], None] | None = None,
    stop_asked: StopAsked | None = None,
) -> list[RunFolder]:
    """Trains the seeds as one `LearnerBatch`, and evaluates each in its own folder.

    What a seed learns does not depend on the others, up to rounding. Otherwise as
    `run_one`, which has the other arguments and the errors. The same seeds resume from
    the last checkpoint of their batch.

    Args:
        config: what to run, with `vectorization="learners"`.
        seeds: different integers from 0 to 2**31 - 1.
        root: the folder of all runs.
        on_progress: called with a seed and its progress.
        stop_asked: see `run_one`.

    Returns:
        The folder of each seed.
    """
    settings = config.settings
    require_extra(settings.extra, f"recipe {config.recipe}")
    paths = {seed: RunFolder.path_of(root, config, seed) for seed in seeds}
    with _PROCESS_LOCK, ExitStack() as stack, _one_thread():
        for path in paths.values():
            stack.enter_context(_clear_disk_errors(path))
            stack.enter_context(_folder_lock(path))
        found = {s: _existing_folder(path, config, s) for s, path in paths.items()}
        done = {s: f for s, f in found.items() if f is not None and f.finished}
        for folder in done.values():
            folder.check()
        left = [seed for seed in seeds if seed not in done]
        if not left:
            return [done[seed] for seed in seeds]
        group = paths[left[0]].parent
        name = hashlib.sha256(repr(left).encode()).hexdigest()[:16]
        checkpoint = group / f".{name}.learners"
        remove_temporaries(group, checkpoint.name)
        resumed = _resumed_batch(checkpoint)
        batch = resumed or LearnerBatch(
            algorithm_class(settings),  # type: ignore[arg-type]
            settings.policy,
            settings.env_id,
            left,
            settings.n_envs,
            dict(settings.env_kwargs),
            **constructor_arguments(settings),
        )
        # The folder of a seed is where a batch writes its episodes.
        batch.monitor_dir = group
        stack.enter_context(closing(batch))
        # Created after the batch, whose constructor may refuse the settings.
        for seed in left:
            done[seed] = found[seed] or RunFolder.create(paths[seed], config, seed)
        resumed_at = [] if resumed is None else batch.num_timesteps.tolist()
        with _stop_request(stop_asked) as asked:
            total = NO_LIMIT if settings.timesteps is None else settings.timesteps
            watch = _BatchWatch(settings, checkpoint, on_progress, asked)
            batch.learn(total if resumed is None else None, watch)
        for r, seed in enumerate(left):
            model, progress = batch.models[r], RunProgress()
            for episode_return in batch.episodes[r].returns.tolist():
                progress.running_reward.update(episode_return)
            progress.seconds, progress.ended = batch.seconds, True
            progress.resumed_at = resumed_at[r : r + 1]
            vars(model)["run_progress"] = progress
            write_file(paths[seed] / "model.zip", checkpoint_content(model))
            _write_results(done[seed], model)
        checkpoint.unlink(missing_ok=True)
        return [done[seed] for seed in seeds]


def _resumed_batch(checkpoint: Path) -> LearnerBatch | None:
    """Returns the batch of a checkpoint; None without one, or if it is damaged."""
    try:
        return LearnerBatch.load(checkpoint)
    except FileNotFoundError:
        return None
    except ValueError as error:
        warnings.warn(f"{error}: its runs start over", stacklevel=3)
        return None


class _BatchWatch:
    """Reports progress, saves checkpoints, and ends learners with their last episode.

    Args:
        settings: of the run.
        checkpoint: the file of checkpoints.
        on_progress: called with a seed and its progress, every half second.
        stop_asked: whether to save and stop.
    """

    def __init__(
        self,
        settings: Settings,
        checkpoint: Path,
        on_progress: Callable[[int, Progress], None] | None,
        stop_asked: StopAsked,
    ) -> None:
        self._settings, self._checkpoint = settings, checkpoint
        self._on_progress, self._stop_asked = on_progress, stop_asked
        self._reported_at, self._saved_at = -np.inf, 0

    def __call__(self, batch: LearnerBatch) -> NDArray[np.bool_] | None:
        """Called by the batch after every step."""
        if self._stop_asked():
            batch.save(self._checkpoint)
            raise KeyboardInterrupt
        steps = int(batch.num_timesteps.max())
        if steps - self._saved_at >= self._settings.checkpoint_every:
            batch.save(self._checkpoint)
            self._saved_at = steps
        if self._on_progress is not None and batch.seconds - self._reported_at > 0.5:
            self._reported_at = batch.seconds
            counts = batch.num_timesteps.tolist(), batch.n_episodes.tolist()
            for seed, n_steps, n in zip(batch.seeds, *counts, strict=True):
                share = share_done(self._settings, n_steps, n)
                self._on_progress(seed, Progress(share, n_steps, n))
        limit = self._settings.episodes
        return None if limit is None else batch.n_episodes < limit


def evaluate(folder: RunFolder) -> EvaluationRecord:
    """Evaluates the saved model of a run; the episodes depend on it and the seed alone.

    Raises:
        DamagedRunError: (a ValueError) if the model is missing or damaged.
    """
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _EVALUATION_SEED)
    with closing(make_evaluation_env(settings, seed)) as env:
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
    return EvaluationRecord(seed, tuple(map(float, returns)), tuple(map(int, lengths)))


def learn(
    model: BaseAlgorithm, timesteps: int, callbacks: list[BaseCallback]
) -> BaseAlgorithm:
    """Trains a model, new or resumed, without SB3's log; returns it."""
    silence(model)
    return model.learn(
        timesteps,
        callbacks,
        log_interval=None,  # type: ignore[arg-type]
        reset_num_timesteps=model.num_timesteps == 0,
    )


def silence(model: BaseAlgorithm) -> None:
    """Gives a model a logger without outputs; SB3's own makes a folder per `learn`."""
    model.set_logger(Logger(folder=None, output_formats=[]))


def check_seed(seed: int) -> None:
    """Raises a ValueError unless a seed is an integer from 0 to 2**31 - 1."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ValueError(f"a seed must be an integer from 0 to 2**31 - 1, got {seed!r}")


def share_done(settings: Settings, steps: int, episodes: int) -> float:
    """Returns the share of the training that is done, in [0, 1]."""
    if settings.timesteps is not None:
        return min(1.0, steps / settings.timesteps)
    assert settings.episodes is not None, "Settings require one of the two"
    return min(1.0, episodes / settings.episodes)


def progress_of(model: BaseAlgorithm) -> RunProgress:
    """Returns the progress that is saved with a model; a new one for a new model."""
    progress: RunProgress = vars(model).setdefault("run_progress", RunProgress())
    return progress


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


def _new_or_resumed_model(
    settings: Settings,
    seed: int,
    env: VecEnv | VectorEnv[Any, Any, Any],
    folder: RunFolder | None,
) -> BaseAlgorithm:
    """Returns the model of the last checkpoint, and cuts monitor.csv back to it."""
    if folder is None or newest_checkpoint(folder.checkpoints) is None:
        return make_model(settings, env, seed)
    try:
        model: BaseAlgorithm = resume(
            algorithm_class(settings), folder.checkpoints, env, device=settings.device
        )
    except FileNotFoundError:
        # `resume` has renamed the checkpoints, all of which are damaged.
        warnings.warn(f"{folder.path} starts over", stacklevel=3)
        return make_model(settings, env, seed)
    if not hasattr(model, "run_progress"):
        raise ValueError(
            f"{folder.path}: the checkpoint's run_progress can't be unpickled here; "
            "resume it with the versions in versions.json, or delete the folder and "
            "run it again"
        )
    progress, steps = progress_of(model), model.num_timesteps
    cut_back(folder.monitor, steps, progress.n_episodes)
    if not progress.ended:
        progress.resumed_at.append(steps)
        if not hasattr(model, "training_state"):
            # SB3's checkpoints hold no random states; ours do.
            model.set_random_seed(next_seed(seed, steps))
    return model


def _train(
    model: BaseAlgorithm,
    folder: RunFolder,
    train: Callable[[Training], BaseAlgorithm],
    on_progress: OnProgress | None,
    stop_asked: StopAsked | None,
    view: LiveView | None,
) -> BaseAlgorithm:
    settings = folder.config.settings
    silence(model)
    log = EpisodeLog(folder.monitor, settings, on_progress)
    callbacks: list[BaseCallback] = [log]
    if settings.stop_when_solved is not None:
        solved = StopWhenSolved(**{"verbose": 0, **settings.stop_when_solved})
        if model.num_timesteps > 0:
            solved.add_returns(episode.episode_return for episode in folder.episodes())
        callbacks.append(solved)
    limit = NO_LIMIT if settings.timesteps is None else settings.timesteps
    left = max(0, limit - model.num_timesteps)
    with closing(log), _stop_request(stop_asked) as asked:
        if view is not None:
            # The request to quit becomes one to stop, which saves a checkpoint first.
            view.stops_training, view.stop_asked = False, asked
            callbacks.append(view)
            asked = partial(_any_asks, asked, view)
        callbacks.append(
            RunCheckpoints(settings.checkpoint_every, folder.checkpoints, asked)
        )
        return train(
            Training(folder.config, folder.seed, model, callbacks, left, folder, asked)
        )


def _write_results(folder: RunFolder, model: BaseAlgorithm) -> None:
    record, progress = evaluate(folder), progress_of(model)
    folder.write_evaluation(record)
    folder.write_result(
        Result(
            mean_return=float(np.mean(record.returns)),
            sd_return=float(np.std(record.returns)),
            n_episodes=len(record.returns),
            steps=model.num_timesteps,
            episodes=progress.n_episodes,
            wall_seconds=round(progress.seconds, 3),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            resumed_at=tuple(progress.resumed_at),
        )
    )


def _any_asks(stop_asked: StopAsked, view: LiveView) -> bool:
    return stop_asked() or view.quit_requested


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
        is_new = self.model.num_timesteps == 0
        self._writer = open_monitor(self.path, self.settings.env_id if is_new else None)
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
        self.progress.running_reward.update(episode_return)
        seconds = round(time.monotonic() - self._began, 6)
        number = self.progress.n_episodes
        episode = Episode(episode_return, length, seconds, self.num_timesteps, number)
        self._writer.write_row(dict(zip(COLUMNS, episode, strict=True)))
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

    def __init__(self, save_freq: int, folder: Path, stop_asked: StopAsked) -> None:
        super().__init__(save_freq, folder, keep=2)
        self.stop_asked = stop_asked

    def _on_rollout_start(self) -> None:
        if self.stop_asked():
            if self.model.num_timesteps > self._saved_at:
                self._save()
            raise KeyboardInterrupt
        super()._on_rollout_start()


def _folder_lock(path: Path) -> AbstractContextManager[Any]:
    """Locks the folder of a run; the operating system frees it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder: FileLock leaves its file there.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        return lock.acquire(timeout=_LOCK_SECONDS, poll_interval=0.05)
    except Timeout:
        raise FolderBusyError(
            f"{path} is in use by another process: wait for it to end, or end it"
        ) from None


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
def _clear_disk_errors(path: Path) -> Iterator[None]:
    """Adds to the error of a full disk what to do about it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"no space is left on the disk for {path}: free some and run the same "
            "again; it resumes from the last checkpoint",
        ) from error


@contextmanager
def _stop_request(stop_asked: StopAsked | None) -> Iterator[StopAsked]:
    """Yields a function that returns whether to stop: the given one, if there is one.

    Otherwise the first Ctrl-C is a stop request, and a second one interrupts at once;
    outside the main thread, where Python allows no signal handlers, there is none.
    """
    requested = threading.Event()
    in_main_thread = threading.current_thread() is threading.main_thread()
    if stop_asked is not None or not in_main_thread:
        yield stop_asked or requested.is_set
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
