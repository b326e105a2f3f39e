"""A sweep that kills itself after so many scores; run by a test in a process apart."""

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
    "how": ["choice", [[1], [2, 3]]],
}
TUNING, TEST = (0, 1, 2, 3), (10, 11)


def score(settings: dict[str, Any], seed: int) -> float:
    """A bowl, moved a little by the seed; best at x = 1, n = 2, how = [2, 3]."""
    distance: float = (settings["x"] - 1) ** 2 + 0.1 * (settings["n"] - 2) ** 2
    return len(settings["how"]) - distance + 0.01 * ((seed * 7) % 5)


class Counted:
    """The objective, each call written down, which kills the process when told to."""

    def __init__(self, log: Path, dies_after: int = -1) -> None:
        self.log, self.left = log, dies_after

    def __call__(self, settings: dict[str, Any], seed: int) -> float:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        found = score(settings, seed)
        with self.log.open("a") as file:
            file.write(f"{settings} {seed}\n")
        return found


def sweep(folder: Path, objective: Any, n_trials: int = 12) -> SweepResult:
    return tune(
        objective,
        SPACE,
        name="bowl",
        journal=folder / "journal.log",
        n_trials=n_trials,
        tuning_seeds=TUNING,
        test_seeds=TEST,
        seed=5,
    )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for each in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            sweep(place, Counted(place / "calls", int(each)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it was through before it was killed"
