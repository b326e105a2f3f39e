"""JSON-lines protocol between the benchmark and the processes that it times.

Each side of a comparison runs in a process of its own and works only while it is asked
to. This module imports neither torch nor jax, since both kinds of process use it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

# Settings of the machine that would choose OpenBLAS's kernels.
UNSET = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Facts = dict[str, float]
# Takes at least the given number of steps; returns `steps` and other counts.
Run = Callable[[int], Facts]
# Prepares a run from a seed. Only the run is timed.
Task = Callable[[int], Run]
Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


def timed(task: Task, n_steps: int, seed: int) -> Facts:
    """Returns the facts of a fresh run together with its `seconds`."""
    run = task(seed)
    # Garbage of the previous run must not be collected on this run's time.
    gc.collect()
    start = time.perf_counter()
    facts = run(n_steps)
    return {**facts, "seconds": time.perf_counter() - start}


def calibrated(task: Task, seconds: float) -> Facts:
    """Warms up and returns the facts of a run that took at least `seconds`."""
    timed(task, 1, seed=0)
    facts = timed(task, 1, seed=0)
    while facts["seconds"] < seconds:
        # Short runs predict the rate badly: grow at most tenfold.
        factor = min(10.0, 1.5 * seconds / facts["seconds"])
        facts = timed(task, max(int(facts["steps"] * factor), 1), seed=0)
    return facts


def task_handler(task: Task) -> Handler:
    """Returns the handler of the commands `calibrate` and `run`."""

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        if command["do"] == "calibrate":
            return calibrated(task, command["seconds"])
        return timed(task, command["steps"], command["seed"])

    return handle


def serve(make: Callable[[], tuple[Handler, dict[str, Any]]]) -> None:
    """Answers each line of the standard input with one line until the input ends.

    Args:
        make: makes the handler and the facts to report once it is ready.
    """
    # Libraries print to stdout; the pipe is reserved for answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    handler, ready = make()
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        print(json.dumps(handler(json.loads(line))), file=answers)


class Worker:
    """A process that serves one side of a comparison.

    Args:
        settings: JSON-compatible settings of the side.
        threads: number of threads for torch, OpenMP, MKL and OpenBLAS.
        python: interpreter to start.
        module: module to run; it calls `serve`.

    Attributes:
        ready: what the process reports once it is ready; reading it waits for that, so
            that several processes can start at the same time.

    Raises:
        RuntimeError: if the process ends instead of answering.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        threads: int,
        python: Path | str = sys.executable,
        module: str = "bench.worker",
    ) -> None:
        environment = {
            **{name: os.environ[name] for name in os.environ.keys() - UNSET},
            **dict.fromkeys(THREADS, str(threads)),
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [str(python), "-m", module, json.dumps({**settings, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    @cached_property
    def ready(self) -> dict[str, Any]:
        """Waits for the process to be ready."""
        return self._answer()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends a command and returns the answer."""
        assert self.ready is not None and self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(
                f"the benchmark process exited with {self._process.returncode}; its "
                "output is above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Closes the pipes and waits for the process to end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
