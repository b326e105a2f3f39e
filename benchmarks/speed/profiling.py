"""Where the time of one of our sides goes, for lines that are missed."""

from __future__ import annotations

import cProfile
import pstats
import re
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.protocol import Attempt, calibrated
from benchmarks.speed.worker import TASKS

N_ROWS = 14


def profile_side(settings: Mapping[str, Any], threads: int, seconds: float) -> str:
    """Returns two tables as Markdown: Python's functions, and torch's operators.

    Args:
        settings: of the side.
        threads: for torch.
        seconds: about how long it is watched, twice.
    """
    torch.set_num_threads(threads)
    task = TASKS[settings["work"]](settings)
    warm = calibrated(task, seconds / 4)
    n_steps = int(warm["steps"] / warm["seconds"] * seconds) + 1
    functions = python_table(task(1), n_steps)
    operators = torch_table(task(1), n_steps)
    return (
        "By Python function, time within itself (cProfile, which makes Python's own "
        f"share look larger than it is):\n\n{functions}\n\n"
        f"By torch operator, time within itself (torch.profiler):\n\n{operators}\n"
    )


def python_table(attempt: Attempt, n_steps: int) -> str:
    """Returns the functions that take most."""
    profiler = cProfile.Profile()
    profiler.enable()
    attempt(n_steps)
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    rows = [
        (own, calls, short_name(*where))
        for where, (_, calls, own, _, _) in stats.stats.items()
    ]
    return share_table(rows, stats.total_tt)


def torch_table(attempt: Attempt, n_steps: int) -> str:
    """Returns the operators that take most, and what is not torch's."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    # Short: every operator is an event in memory.
    with profile(activities=activities) as profiler:
        started = time.perf_counter()
        attempt(max(n_steps // 4, 1))
        total = time.perf_counter() - started
    averages = profiler.key_averages()
    rows = [
        (event.self_cpu_time_total / 1e6, event.count, f"`{event.key}`")
        for event in averages
    ]
    outside = total - sum(own for own, _, _ in rows)
    return share_table([*rows, (outside, 1, "outside torch")], total)


def share_table(rows: list[tuple[float, int, str]], total: float) -> str:
    """Returns the largest rows: share of the total, calls, name."""
    largest = sorted(rows, reverse=True)[:N_ROWS]
    lines = ["| share | calls | |", "|---|---|---|"]
    lines += [
        f"| {own / total:.1%} | {calls:,} | {name} |" for own, calls, name in largest
    ]
    return "\n".join(lines)


def short_name(path: str, line: int, function: str) -> str:
    """Returns module and function, without where the packages lie."""
    if path in ("~", ""):
        # A function of C: `<method 'x' of 'y' objects>`.
        return f"`{function.strip('<>')}`"
    parts = re.split(
        r"site-packages/|lib/python[\d.]+/|(?=\bpg_(?:agents|envs)/)", path
    )
    inside = parts[-1] if len(parts) > 1 else "/".join(path.split("/")[-2:])
    return f"`{inside.removesuffix('.py').replace('/', '.')}.{function}`"
