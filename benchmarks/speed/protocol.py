"""How a process that measures is spoken to: JSON lines, one answer for each command.

Every side of a comparison lives in a process of its own, warm, and works only when it
is its turn. This file imports neither torch nor jax: both kinds of process use it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Facts = dict[str, float]
# Takes at least so many steps; returns `steps`, the number taken, and other figures.
Attempt = Callable[[int], Facts]
# Makes a fresh attempt from a seed. Only the attempt is timed.
Task = Callable[[int], Attempt]
Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


def timed(task: Task, n_steps: int, seed: int) -> Facts:
    """Returns the facts of a fresh attempt, and its `seconds`."""
    attempt = task(seed)
    # What the attempt before left behind is not this one's business.
    gc.collect()
    started = time.perf_counter()
    facts = attempt(n_steps)
    return {**facts, "seconds": time.perf_counter() - started}


def calibrated(task: Task, seconds: float) -> Facts:
    """Warms up; returns the facts of an attempt that took at least `seconds`."""
    timed(task, 1, seed=0)
    facts = timed(task, 1, seed=0)
    while facts["seconds"] < seconds:
        # At most ten times as many: the first, short attempts say little.
        factor = min(10.0, 1.5 * seconds / facts["seconds"])
        facts = timed(task, max(int(facts["steps"] * factor), 1), seed=0)
    return facts


def task_handler(task: Task) -> Handler:
    """Returns what answers the commands `calibrate` and `run`."""

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        if command["do"] == "calibrate":
            return calibrated(task, command["seconds"])
        return timed(task, command["steps"], command["seed"])

    return handle


def serve(make: Callable[[], tuple[Handler, dict[str, Any]]]) -> None:
    """Answers each line of the standard input with a line, until there are no more.

    Args:
        make: makes the handler; also returns what is said as soon as it is ready.
    """
    # What libraries print goes to standard error: the pipe is for answers alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    started = time.perf_counter()
    handler, ready = make()
    ready = {"ready_seconds": time.perf_counter() - started, **ready}
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        print(json.dumps(handler(json.loads(line))), file=answers)
