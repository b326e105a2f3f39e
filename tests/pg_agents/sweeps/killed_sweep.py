"""A sweep that kills itself after so many scores; a test runs it in a process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from pg_agents.sweeps import SweepResult, tune

SPACE: dict[str, list[Any]] = {
    "x": ["float", -2, 2],
    "n": ["int", 0, 5],
    "list": ["choice", [[1], [2, 3]]],
}
TUNING, TEST = (0, 1, 2, 3), (10, 11)


def score(settings: dict[str, Any], seed: int) -> float:
    """A paraboloid, shifted a little by the seed; best at x = 1, n = 2, [2, 3]."""
    distance: float = (settings["x"] - 1) ** 2 + 0.1 * (settings["n"] - 2) ** 2
    return len(settings["list"]) - distance + 0.01 * ((seed * 7) % 5)


class LoggedScore:
    """The objective: logs each call, and kills its process after `n_calls`."""

    def __init__(self, log: Path, n_calls: int = -1) -> None:
        self.log, self.n_calls = log, n_calls

    def __call__(self, settings: dict[str, Any], seed: int) -> float:
        if self.n_calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.n_calls -= 1
        value = score(settings, seed)
        with self.log.open("a") as file:
            file.write(f"{settings} {seed}\n")
        return value


def sweep(folder: Path, objective: Any, n_trials: int = 12) -> SweepResult:
    return tune(
        objective,
        SPACE,
        name="paraboloid",
        storage=folder / "studies.db",
        n_trials=n_trials,
        tuning_seeds=TUNING,
        test_seeds=TEST,
        seed=5,
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for n_calls in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            sweep(folder, LoggedScore(folder / "calls", int(n_calls)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it ended before it was killed"
