"""Runs of a recipe over many seeds, on any executor, with a progress bar."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch

from pg_agents.analysis.monitor import last_episode
from pg_agents.common.checks import check_count, check_integer
from pg_agents.common.progress import tqdm
from pg_agents.experiments.folder import Result, RunFolder
from pg_agents.experiments.run import (
    OnProgress,
    Progress,
    check_seed,
    run_one,
    run_together,
    share_done,
)
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig
from pg_agents.live.view import LiveView

_POLL_SECONDS = 0.5
# Exceptions for a lost worker, by name: Dask and submitit need not be installed.
_WORKER_DEATHS = {
    "BrokenExecutor",
    "CancelledError",
    "KilledWorker",
    "FutureCancelledError",
    "FutureLostError",
    "CommClosedError",
    "UncompletedJobError",
}
# In a process that `run_seeds` has started: set by the parent to stop the run.
_stop_event: Any = None

OnSeedProgress = Callable[[int, Progress], None]


class Submits(Protocol):
    """An executor that does not inherit `Executor`, such as submitit's."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        """Starts a call; returns a job with a method `result()`."""


AnyExecutor = Executor | Submits


@dataclass(frozen=True)
class RunReport:
    """Outcome of one run.

    Attributes:
        seed: its seed.
        folder: its folder.
        result: its summary; None if it failed.
        error: the error in a sentence; None if it finished.
        details: the traceback, if there is one.
    """

    seed: int
    folder: Path
    result: Result | None
    error: str | None = None
    details: str | None = None


def run_seeds(
    config: RunConfig,
    seeds: Iterable[int],
    root: str | Path = DEFAULT_ROOT,
    executor: AnyExecutor | None = None,
    *,
    jobs: int | None = None,
    retries: int = 2,
    on_progress: OnSeedProgress | None = None,
    view: LiveView | None = None,
) -> list[RunReport]:
    """Runs a recipe with several seeds, each in its folder, see `run_one`.

    The results do not depend on the executor. A run whose worker dies is submitted
    again and resumes from its last checkpoint; a run that fails does not stop the
    others. Ctrl-C ends all runs, and the same call resumes them; runs in the processes
    of this function save a checkpoint first.

    Args:
        config: what to run.
        seeds: different integers from 0 to 2**31 - 1.
        root: the folder of all runs, which every worker has to see.
        executor: a `concurrent.futures.Executor`, such as Dask's
            ``Client.get_executor()`` with one thread per worker (a process does one run
            at a time), or submitit's. None for new processes, which are spawned: a
            script that calls this needs ``if __name__ == "__main__":``. With
            ``vectorization="learners"`` in the settings, all seeds are one batch in
            this process.
        jobs: number of new processes; None for one per core. With 1, or with a single
            seed, the runs are made in this process.
        retries: how often a run is submitted again after its worker has died.
        on_progress: called with a seed and its progress.
        view: shows the runs, which are made one after the other in this process.

    Returns:
        A report for each seed, in their order.

    Raises:
        ValueError: if an argument is out of range.
        KeyboardInterrupt: after Ctrl-C.
    """
    seeds = list(seeds)
    for seed in seeds:
        check_seed(seed)
    repeated = [seed for seed, times in Counter(seeds).items() if times > 1]
    if not seeds or repeated:
        got = f"{repeated[0]} twice" if repeated else "none"
        raise ValueError(f"seeds must be different integers, at least one, got {got}")
    if jobs is not None:
        check_count("jobs", jobs)
    check_integer("retries", retries, 0)
    report = on_progress or (lambda seed, progress: None)
    if view is not None and (executor is not None or (jobs or 1) > 1):
        raise ValueError(
            "a view shows runs one after the other in this process: it takes neither "
            "executor nor jobs"
        )
    if view is not None:
        jobs = 1
    is_batch = config.settings.vectorization == "learners"
    if executor is None and is_batch and view is None:
        return _run_together(config, seeds, root, report)
    if executor is None and (jobs == 1 or len(seeds) == 1):
        reports = []
        for seed in seeds:
            on_own = partial(report, seed)
            reports.append(_run(config, seed, root, on_own, False, view))
            report(seed, Progress(1.0))
        return reports
    if executor is not None:
        return _run_on(executor, config, seeds, root, retries, report)
    with _Processes(min(jobs or os.cpu_count() or 1, len(seeds))) as processes:
        return _run_on(processes, config, seeds, root, retries, report)


class RunsBar(tqdm):  # type: ignore[type-arg]
    """Progress bar of all runs of a recipe: the share of their training that is done.

    Args:
        name: name of the recipe.
        n_runs: number of runs.
        file: where the bar is written; None for the standard error stream.
    """

    def __init__(self, name: str, n_runs: int, file: TextIO | None = None) -> None:
        super().__init__(
            total=n_runs,
            desc=name,
            bar_format="{desc}: {percentage:3.0f}%|{bar:20}| "
            "[{elapsed}<{remaining}]{postfix}",
            dynamic_ncols=True,
            file=file,
        )
        self.n_runs = n_runs
        self._shares: dict[int, float] = {}

    def show(self, seed: int, progress: Progress) -> None:
        """Shows the progress of the run with a seed."""
        self._shares[seed] = progress.share
        done = sum(share == 1.0 for share in self._shares.values())
        # The most important part first: a narrow terminal truncates the line.
        parts, which = [], ""
        if self.n_runs > 1:
            parts, which = [f"{done} of {self.n_runs} runs done"], f"seed {seed}: "
        if progress.episodes:
            parts.append(f"{which}episode {progress.episodes}, {progress.steps} steps")
            parts.append(f"return {progress.last_return:.4g}")
        if not math.isnan(progress.running_reward):
            parts.append(f"running {progress.running_reward:.4g}")
        self.set_postfix_str(", ".join(parts), refresh=False)
        self.update(sum(self._shares.values()) - self.n)


def _run(
    config: RunConfig,
    seed: int,
    root: str | Path,
    on_progress: OnProgress | None = None,
    in_worker: bool = True,
    view: LiveView | None = None,
) -> RunReport:
    """Makes one run, and reports its error instead of raising it."""
    path = RunFolder.path_of(root, config, seed)
    stop_asked = _stop_requested if in_worker else None
    try:
        folder = run_one(
            config,
            seed,
            root,
            on_progress=on_progress,
            stop_asked=stop_asked,
            view=view,
        )
        return RunReport(seed, path, folder.result())
    except KeyboardInterrupt:
        if not in_worker:
            raise
        return RunReport(seed, path, None, "it was interrupted")
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        return RunReport(seed, path, None, message, traceback.format_exc())


def _run_together(
    config: RunConfig, seeds: list[int], root: str | Path, report: OnSeedProgress
) -> list[RunReport]:
    """Runs all seeds in this process, as one batch of learners."""
    try:
        folders = run_together(config, seeds, root, on_progress=report)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        reports = [
            RunReport(
                seed,
                RunFolder.path_of(root, config, seed),
                None,
                message,
                traceback.format_exc(),
            )
            for seed in seeds
        ]
    else:
        pairs = zip(seeds, folders, strict=True)
        reports = [RunReport(seed, f.path, f.result()) for seed, f in pairs]
    for seed in seeds:
        report(seed, Progress(1.0))
    return reports


def _run_on(
    executor: AnyExecutor,
    config: RunConfig,
    seeds: list[int],
    root: str | Path,
    retries: int,
    report: OnSeedProgress,
) -> list[RunReport]:
    """Runs the seeds on an executor, and submits those again whose worker has died."""
    settings = config.settings
    paths = {seed: RunFolder.path_of(root, config, seed) for seed in seeds}
    reports: dict[int, RunReport] = {}
    deaths: Counter[int] = Counter()
    futures: dict[Future[RunReport], int] = {}

    def finish(outcome: RunReport) -> None:
        reports[outcome.seed] = outcome
        report(outcome.seed, Progress(1.0))

    def submit(seed: int) -> None:
        try:
            job = executor.submit(_run, config, seed, root)
        # Executors raise errors of their own if they are shut down or broken.
        except Exception as error:
            text = f"it can't be submitted: {error}"
            finish(RunReport(seed, paths[seed], None, text))
        else:
            futures[job if isinstance(job, Future) else _as_future(job)] = seed

    def collect(future: Future[RunReport]) -> None:
        seed = futures.pop(future)
        try:
            finish(future.result())
        except (KeyboardInterrupt, SystemExit):
            raise
        # Executors have classes of their own for a cancelled future.
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            names = {cls.__name__ for cls in type(error).__mro__}
            if names & _WORKER_DEATHS:
                deaths[seed] += 1
                if deaths[seed] <= retries:
                    submit(seed)
                    return
                text = f"its worker died {deaths[seed]} times ({text})"
            finish(RunReport(seed, paths[seed], None, text))

    try:
        for seed in seeds:
            submit(seed)
        while futures:
            for future in wait(futures, _POLL_SECONDS, FIRST_COMPLETED).done:
                collect(future)
            for seed in futures.values():
                last = last_episode(paths[seed] / "monitor.csv")
                if last is not None:
                    share = share_done(settings, last.steps, last.number)
                    progress = Progress(
                        share, last.steps, last.number, last.episode_return
                    )
                    report(seed, progress)
    finally:
        for future in futures:
            future.cancel()
    return [reports[seed] for seed in seeds]


class _Processes(ThreadPoolExecutor):
    """Threads with a spawned process each, which is replaced when it dies.

    In a `ProcessPoolExecutor` of several processes, the death of one fails the calls of
    all, so each thread has a pool of its own.
    """

    def __init__(self, n_processes: int) -> None:
        super().__init__(n_processes)
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._pools: dict[int, ProcessPoolExecutor] = {}

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **named: Any
    ) -> Future[Any]:
        """Starts a call in the process of a thread."""
        return super().submit(self._call, function, *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Asks the runs to stop, which save a checkpoint, and waits for them."""
        self._stop.set()
        super().shutdown(wait=True, cancel_futures=True)
        for pool in self._pools.values():
            pool.shutdown()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        thread = threading.get_ident()
        if thread not in self._pools:
            self._pools[thread] = ProcessPoolExecutor(
                1, self._context, _start_worker, (self._stop,)
            )
        pool = self._pools[thread]
        try:
            return pool.submit(function, *arguments).result()
        except BrokenExecutor:
            del self._pools[thread]
            pool.shutdown()
            raise


def _stop_requested() -> bool:
    """Whether this process belongs to a pool whose parent has asked it to stop."""
    return _stop_event is not None and bool(_stop_event.is_set())


def _start_worker(stop: Any) -> None:  # noqa: ANN401
    global _stop_event
    _stop_event = stop
    # A terminal sends Ctrl-C to every process; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _as_future(job: Any) -> Future[Any]:  # noqa: ANN401
    """Returns a future for a job that offers nothing but a blocking `result()`."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def wait_for_result() -> None:
        try:
            result = job.result()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=wait_for_result, daemon=True).start()
    return future
