"""Executors: processes of our own, and those of others, seen as one kind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from typing import Any, Protocol

import torch

# What engines raise for a worker that is gone, by name: they need not be installed.
_DEATHS = {
    "KilledWorker",
    "FutureCancelledError",
    "FutureLostError",
    "CommClosedError",
    "UncompletedJobError",
}
# In a worker of ours: whether it is to stop; the parent sets it.
_stop: Any = None


class Submits(Protocol):
    """An engine that is no Executor, such as submitit's."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        """Starts a call; returns a job with a method `result()`."""


AnyExecutor = Executor | Submits


class Workers:
    """An executor, or a pool of our own that is replaced when it breaks.

    Args:
        executor: somebody's; None for a pool.
        jobs: processes of the pool; None for one a core.
        n_runs: how many runs there are; the pool has no more processes.
    """

    def __init__(
        self, executor: AnyExecutor | None, jobs: int | None, n_runs: int
    ) -> None:
        self._given = executor
        self._jobs = min(jobs or os.cpu_count() or 1, n_runs)
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._futures: list[Future[Any]] = []
        self._pool = self._new_pool() if executor is None else None

    @property
    def limit(self) -> float:
        """How many calls are submitted at once.

        The pool breaks as a whole: a run that waits in it would be held to have died.
        """
        return float("inf") if self._pool is None else self._jobs

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Starts a call."""
        executor = self._given if self._pool is None else self._pool
        assert executor is not None, "one of the two is there"
        try:
            started = executor.submit(function, *arguments)
        except BrokenExecutor:
            if self._pool is None:
                raise
            self.renew()
            started = self._pool.submit(function, *arguments)
        future = started if isinstance(started, Future) else _watched(started)
        self._futures.append(future)
        return future

    def renew(self) -> None:
        """Replaces the pool if it is broken. Somebody's executor is theirs to mend."""
        if self._pool is not None and self._pool._broken:
            self._pool.shutdown(wait=True)
            self._pool = self._new_pool()

    def close(self) -> None:
        """Ends what is still going on: ours save a checkpoint first."""
        self._stop.set()
        for future in self._futures:
            future.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._jobs, self._context, _start_worker, (self._stop,)
        )


def has_died(error: BaseException) -> bool:
    """Whether an exception says that the worker of a call is gone, not the call bad."""
    if isinstance(error, BrokenExecutor | CancelledError):
        return True
    return any(each.__name__ in _DEATHS for each in type(error).__mro__)


def asked_to_stop() -> bool:
    """Whether this process is a worker of ours that is to stop."""
    return _stop is not None and bool(_stop.is_set())


def _start_worker(stop: Any) -> None:  # noqa: ANN401
    global _stop
    _stop = stop
    # Ctrl-C reaches every process of a terminal; the parent says what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _watched(job: Any) -> Future[Any]:  # noqa: ANN401
    """Returns a future that ends as a job does, which only a call of it can tell."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def watch() -> None:
        try:
            result = job.result()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=watch, daemon=True).start()
    return future
