"""The runs of a recipe over many seeds, on any executor."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pg_agents.common.checks import check_count, check_integer
from pg_agents.experiments.executors import (
    AnyExecutor,
    Workers,
    asked_to_stop,
    has_died,
)
from pg_agents.experiments.folder import Result, RunFolder
from pg_agents.experiments.monitor_file import last_episode
from pg_agents.experiments.run import check_seed, run_one
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig, Settings
from pg_agents.experiments.training import Moment, share_done

_POLL_SECONDS = 0.5
OnProgress = Callable[[int, Moment], None]


@dataclass(frozen=True)
class RunReport:
    """What became of one run.

    Attributes:
        seed: its seed.
        folder: its folder.
        result: the summary; None if it failed.
        error: what went wrong, in a sentence; None if nothing did.
        details: the traceback, if something did.
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
    on_progress: OnProgress | None = None,
) -> list[RunReport]:
    """Runs a recipe with several seeds, each in its folder, see `run_one`.

    The numbers are the same however it is done. A run whose worker dies is given to
    another, which goes on from the last checkpoint. A run that fails does not stop the
    others. Ctrl-C ends all of them: those of processes of our own save a checkpoint
    first; the same call goes on.

    Args:
        config: what to run.
        seeds: different integers from 0 to 2**31 - 1.
        root: the folder of all runs, which every worker has to see.
        executor: a `concurrent.futures.Executor`, such as Dask's
            ``Client.get_executor()`` (one thread a worker: a process does one run at a
            time), or submitit's. None for processes of our own, which are started
            afresh: a script that calls this needs ``if __name__ == "__main__":``.
        jobs: how many of our own processes; None for one a core. With 1, or with a
            single seed, the runs are made in this process.
        retries: how often a run is taken up again after its worker has died.
        on_progress: is told a seed and how far its run is, now and then.

    Returns:
        A report for each seed, in their order.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if a seed is no integer.
        KeyboardInterrupt: after Ctrl-C.
    """
    chosen = _check(seeds, jobs, retries)
    tell = on_progress or (lambda seed, moment: None)
    if executor is None and (jobs == 1 or len(chosen) == 1):
        return [_here(config, seed, root, tell) for seed in chosen]
    with closing(Workers(executor, jobs, len(chosen))) as workers:
        return _Schedule(config, chosen, root, workers, retries, tell).reports()


def work(
    config: RunConfig,
    seed: int,
    root: str | Path,
    on_progress: Callable[[Moment], None] | None = None,
    here: bool = False,
) -> RunReport:
    """Makes one run, and reports what goes wrong instead of raising it.

    Args:
        config: what to run.
        seed: its seed.
        root: the folder of all runs.
        on_progress: see `run_one`.
        here: whether this is the process that was asked, which Ctrl-C is meant for.
    """
    path = RunFolder.path_of(root, config, seed)
    stop = None if here else asked_to_stop
    try:
        folder = run_one(config, seed, root, on_progress=on_progress, stop_asked=stop)
        return RunReport(seed, path, folder.result())
    except KeyboardInterrupt:
        if here:
            raise
        return RunReport(seed, path, None, "it was interrupted")
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return RunReport(seed, path, None, said, traceback.format_exc())


def _here(
    config: RunConfig, seed: int, root: str | Path, tell: OnProgress
) -> RunReport:
    report = work(config, seed, root, lambda moment: tell(seed, moment), here=True)
    tell(seed, Moment(1.0))
    return report


def _check(seeds: Iterable[int], jobs: int | None, retries: int) -> list[int]:
    chosen = list(seeds)
    for seed in chosen:
        check_seed(seed)
    twice = [seed for seed, times in Counter(chosen).items() if times > 1]
    if not chosen or twice:
        got = f"{twice[0]} twice" if twice else "none"
        raise ValueError(f"seeds must be different integers, at least one, got {got}")
    if jobs is not None:
        check_count("jobs", jobs)
    check_integer("retries", retries, 0)
    return chosen


class _Schedule:
    """Which runs wait, which are at work, and what became of the others."""

    def __init__(
        self,
        config: RunConfig,
        seeds: list[int],
        root: str | Path,
        workers: Workers,
        retries: int,
        tell: OnProgress,
    ) -> None:
        self.config, self.seeds, self.root = config, seeds, root
        self.workers, self.retries, self.tell = workers, retries, tell
        self.waiting = deque(seeds)
        self.at_work: dict[Future[RunReport], int] = {}
        self.deaths: Counter[int] = Counter()
        self.found: dict[int, RunReport] = {}

    def reports(self) -> list[RunReport]:
        while self.waiting or self.at_work:
            self._submit()
            done, _ = wait(self.at_work, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                self._take(future, self.at_work.pop(future))
            self._look()
        return [self.found[seed] for seed in self.seeds]

    def _submit(self) -> None:
        while self.waiting and len(self.at_work) < self.workers.limit:
            seed = self.waiting.popleft()
            try:
                future = self.workers.submit(work, self.config, seed, self.root)
            # What an executor that is shut, or broken, raises is its own affair.
            except Exception as error:
                self._fail(seed, f"it can't be submitted: {error}")
            else:
                self.at_work[future] = seed

    def _take(self, future: Future[RunReport], seed: int) -> None:
        try:
            report = future.result()
        # Cancelled by the executor, or whatever its own way of failing is.
        except BaseException as error:
            if isinstance(error, BrokenExecutor):
                self.workers.renew()
            self._died(seed, error)
            return
        self._end(report)

    def _died(self, seed: int, error: BaseException) -> None:
        said = f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        if not has_died(error):
            self._fail(seed, said)
            return
        self.deaths[seed] += 1
        if self.deaths[seed] <= self.retries:
            self.waiting.append(seed)
        else:
            self._fail(seed, f"its worker died {self.deaths[seed]} times ({said})")

    def _fail(self, seed: int, error: str) -> None:
        path = RunFolder.path_of(self.root, self.config, seed)
        self._end(RunReport(seed, path, None, error))

    def _end(self, report: RunReport) -> None:
        self.found[report.seed] = report
        self.tell(report.seed, Moment(1.0))

    def _look(self) -> None:
        """Reads in the folders how far the runs are, wherever they are made."""
        for seed in self.at_work.values():
            path = RunFolder.path_of(self.root, self.config, seed)
            moment = moment_on_file(path / "monitor.csv", self.config.settings)
            if moment is not None:
                self.tell(seed, moment)


def moment_on_file(monitor: Path, settings: Settings) -> Moment | None:
    """Returns how far a run was at its last episode; None before the first."""
    last: Any = last_episode(monitor)
    if last is None:
        return None
    share = share_done(settings, last.steps, last.number)
    return Moment(share, last.steps, last.number, last.episode_return)
