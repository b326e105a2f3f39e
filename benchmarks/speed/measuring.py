"""Sides measured in turn: A B A B ..., each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.lines import Run
from benchmarks.speed.process import Worker
from benchmarks.speed.pure_jax_env import pure_jax_python
from benchmarks.speed.settings import Settings


@dataclass(frozen=True)
class Patience:
    """How long things are measured for.

    Attributes:
        repeats: turns of each side.
        seconds: the least that a turn of the fastest side takes.
        longest: the most that a turn of the slowest side is meant to take.
        calibration: seconds of the warm-up's last attempt.
    """

    repeats: int = 5
    seconds: float = 1.5
    longest: float = 15.0
    calibration: float = 0.7


QUICK = Patience(repeats=2, seconds=0.05, longest=0.5, calibration=0.01)
Start = Callable[[Settings, int], Worker]


def start_worker(settings: Settings, threads: int) -> Worker:
    """Returns the process of a side."""
    if settings["work"] == "pure_jax":
        module = "benchmarks.speed.pure_jax_worker"
        return Worker(settings, threads, pure_jax_python(), module)
    return Worker(settings, threads)


def common_steps(rates: list[float], patience: Patience) -> int:
    """Returns the steps of a turn, the same for all sides.

    Enough for the fastest to take `seconds`, unless the slowest would then take more
    than `longest`: an episode is then as long on one side as on the other.
    """
    return max(
        int(min(max(rates) * patience.seconds, min(rates) * patience.longest)), 1
    )


def measure(
    run: Run, patience: Patience, start: Start = start_worker
) -> dict[str, Any]:
    """Returns steps, seconds and facts of every turn, and what the processes said.

    All sides take the same number of steps, from fresh weights of the same seed each
    turn: what an environment costs depends on how good the policy is by then.
    """
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(closing(start(settings, run.threads)))
            for name, settings in run.sides.items()
        }
        warm = [
            worker.ask(do="calibrate", seconds=patience.calibration)
            for worker in workers.values()
        ]
        rates = [each["steps"] / each["seconds"] for each in warm]
        n_steps = run.n_steps or common_steps(rates, patience)
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        for seed in range(1, patience.repeats + 1):
            for name, worker in workers.items():
                turns[name].append(worker.ask(do="run", steps=n_steps, seed=seed))
        ready = {name: worker.ready for name, worker in workers.items()}
    return {"threads": run.threads, "ready": ready, "turns": turns}
