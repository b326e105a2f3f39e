"""On a GPU: `make bench-gpu`, or `python -m benchmarks.speed.gpu`.

From 1 to 262,144 environments: ours on `cuda`, ours on the CPU and SB3's A2C on `cuda`,
in turns, in one process. Without a CUDA device the same runs on the CPU, up to a
smaller size, and says so. With one, docs/speed_gpu.json and docs/speed_gpu.md are
written; what the first has already is not measured again.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.lines import ALL_CORES
from benchmarks.speed.machine import setup
from benchmarks.speed.models import LearningTask
from benchmarks.speed.process import ROOT
from benchmarks.speed.protocol import Attempt, Facts, Task, calibrated, timed
from benchmarks.speed.results import Results
from benchmarks.speed.settings import CARTPOLE, NETWORKS, SEQUENCE, Settings, learning
from benchmarks.speed.verdicts import number, rates

SIZES = tuple(4**k for k in range(10))
# One by one in Python: more of them only take longer.
MOST_DUMMIES = 1_024
MOST_WITHOUT_CUDA = 4_096
N_STEPS = 16
OURS_CUDA, OURS_CPU = "ours on the GPU", "ours on the CPU"
# On the GPU too, where there is one.
THEIRS = "SB3's A2C"
# Steps a second on one H100-class card.
AIMS = {SEQUENCE: 500e6, CARTPOLE: 30e6}
MODELS: dict[str, Settings] = {
    SEQUENCE: {
        "algorithm": "REINFORCE",
        "policy": "TabularPolicy",
        "env_arguments": {"observation": "index", "check_actions": False},
    },
    CARTPOLE: {"algorithm": "ActorCritic", "policy_kwargs": NETWORKS},
}
# Ours has a table of logits; the nearest of theirs are logits linear in one-hot codes.
THEIR_ARGUMENTS: dict[str, Settings] = {
    SEQUENCE: {
        "policy_kwargs": {"net_arch": []},
        "env_arguments": {"observation": "index"},
    },
    CARTPOLE: {"policy_kwargs": NETWORKS},
}
HEAD = """\
# How fast it is on a GPU

Written by `make bench-gpu` from the measurements in `speed_gpu.json`; do not edit.

Steps a second of `learn()` with `n_steps=16`, median over the turns: REINFORCE with a
table on the sequence, ActorCritic with 64-64 networks on CartPole; SB3's A2C on the
GPU, in `DummyVecEnv`. Busy: the share of the time in which a kernel or a copy of ours
runs on the GPU, by a profile."""


def sides(env_id: str, n_envs: int, device: str) -> dict[str, Settings]:
    """Returns what is measured at a size; theirs only as far as it makes sense."""
    same: Settings = {"n_envs": n_envs, "env_id": env_id, "n_steps": N_STEPS}
    ours: Settings = {**same, "env": "torch", **MODELS[env_id]}
    found = {OURS_CPU: learning(**ours, device="cpu")}
    if device == "cuda":
        found[OURS_CUDA] = learning(**ours, device="cuda")
    if n_envs <= MOST_DUMMIES:
        theirs = {**same, "env": "dummy", **THEIR_ARGUMENTS[env_id]}
        found[THEIRS] = learning("A2C", **theirs, device=device)
    return found


def synchronized(task: Task) -> Task:
    """Returns a task whose attempts end when the device has ended its work."""

    def begin(seed: int) -> Attempt:
        attempt = task(seed)

        def until_done(n_steps: int) -> Facts:
            facts = attempt(n_steps)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return facts

        return until_done

    return begin


def busy(task: Task, turn: Facts) -> float:
    """Returns the share of a turn's time in which the GPU works.

    The kernels' time for a step comes from a profile of fewer of them, the whole time
    from the turn: watching slows down what starts the kernels, not the kernels.
    """
    attempt = task(0)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        facts = attempt(max(int(turn["steps"]) // 8, 1))
    microseconds = sum(
        event.self_device_time_total
        for event in profiler.key_averages()
        if event.device_type.name == "CUDA"
    )
    a_step = microseconds / 1e6 / facts["steps"]
    return float(a_step * turn["steps"] / turn["seconds"])


def measure_size(
    env_id: str, n_envs: int, device: str, seconds: float, repeats: int
) -> dict[str, Any]:
    """Returns the rates of every side, and how busy the GPU is."""
    entry: dict[str, Any] = {}
    tasks = {
        name: synchronized(LearningTask(settings))
        for name, settings in sides(env_id, n_envs, device).items()
    }
    # Each as many steps as it needs: the rates lie too far apart for equal numbers.
    n_steps = {}
    for name, task in tasks.items():
        warm = calibrated(task, seconds / 2)
        n_steps[name] = int(warm["steps"] / warm["seconds"] * seconds) + 1
    turns: dict[str, list[Facts]] = {name: [] for name in tasks}
    for seed in range(1, repeats + 1):
        for name, task in tasks.items():
            turns[name].append(timed(task, n_steps[name], seed))
    entry["rates"] = {name: rates(each) for name, each in turns.items()}
    if device == "cuda":
        entry["busy"] = busy(tasks[OURS_CUDA], turns[OURS_CUDA][-1])
    return entry


def crossing(found: dict[str, Any], env_id: str) -> int | None:
    """Returns the size from which on the GPU is the faster; None if it never is."""
    best = None
    for size in reversed(SIZES):
        medians = middle(found, env_id, size)
        if OURS_CUDA not in medians:
            continue
        if medians[OURS_CUDA] < medians[OURS_CPU]:
            break
        best = size
    return best


def middle(found: dict[str, Any], env_id: str, size: int) -> dict[str, float]:
    """Returns the median rate of each side that was measured at a size."""
    entry = found.get(f"{env_id} {size}", {"rates": {}})
    return {name: median(each) for name, each in entry["rates"].items()}


def advice(found: dict[str, Any], env_id: str) -> str:
    """Returns which device to choose."""
    size = crossing(found, env_id)
    if size is None:
        return f"{env_id}: choose the CPU at every size that was measured."
    if size == SIZES[0]:
        return f"{env_id}: choose the GPU at every size that was measured."
    return f"{env_id}: below {size:,} environments the CPU is the better choice."


def table(found: dict[str, Any], env_id: str, device: str) -> list[str]:
    """Returns the lines about an environment."""
    names = [OURS_CPU, THEIRS] if device == "cpu" else [OURS_CUDA, OURS_CPU, THEIRS]
    lines = [f"## {env_id}", "", f"| environments | {' | '.join(names)} | busy |"]
    lines.append("|---" * (len(names) + 2) + "|")
    best = 0.0
    for size in SIZES:
        medians = middle(found, env_id, size)
        if not medians:
            continue
        best = max(best, medians.get(OURS_CUDA, 0.0))
        cells = [number(medians[name]) if name in medians else "" for name in names]
        share = found[f"{env_id} {size}"].get("busy")
        cells.append("" if share is None else f"{share:.0%}")
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    if device == "cuda":
        aim = AIMS[env_id]
        said = "met" if best >= aim else f"**missed by {100 * (1 - best / aim):.0f} %**"
        lines += ["", f"To reach {number(aim)}: at most {number(best)}, {said}."]
        lines += ["", advice(found, env_id)]
    return [*lines, ""]


def page(found: dict[str, Any], device: str) -> str:
    """Returns the page."""
    lines = [HEAD, "", f"{found['setup']}.", ""]
    for env_id in AIMS:
        lines += table(found, env_id, device)
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gpu")
    parser.add_argument("--folder", type=Path, help="where to write; docs by default")
    parser.add_argument("--only", nargs="+", choices=tuple(AIMS), default=tuple(AIMS))
    parser.add_argument("--most", type=int, default=SIZES[-1], help="environments")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    return parser.parse_args()


def main() -> None:
    """Measures, prints, and writes the page if there is a GPU."""
    options = parse()
    warnings.simplefilter("ignore")
    torch.set_num_threads(ALL_CORES)
    device, name, most = "cuda", "", options.most
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}; "
    else:
        device, most = "cpu", min(most, MOST_WITHOUT_CUDA)
        print(f"No CUDA device here: on the CPU alone, up to {most:,} environments.")
    folder = options.folder or (ROOT / ("docs" if device == "cuda" else "out"))
    results = Results(folder / f"speed_{'gpu' if device == 'cuda' else 'no_gpu'}.json")
    for size in (size for size in SIZES if size <= most):
        for env_id in options.only:
            if f"{env_id} {size}" in results.section(device):
                continue
            entry = measure_size(env_id, size, device, options.seconds, options.repeats)
            results.add(device, f"{env_id} {size}", entry)
            results.add(device, "setup", name + setup())
            medians = middle(results.section(device), env_id, size)
            said = ", ".join(f"{key} {number(x)}" for key, x in medians.items())
            print(f"{env_id}, {size:,} environments: {said}", flush=True)
    text = page(results.section(device), device)
    print(text)
    if device == "cuda":
        (folder / "speed_gpu.md").write_text(text)


if __name__ == "__main__":
    main()
