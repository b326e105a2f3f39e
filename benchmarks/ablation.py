"""Writes docs/ablation.md: what each improvement does for CartPole-v1.

`make ablation` runs what docs/ablation.json does not have yet, run by run, and then
writes the page; with the file as it is, it only writes the page. A run is one seed of
one setting; runs go side by side, a process and a torch thread each, and can be stopped
and gone on with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ablation_settings import IMPROVEMENTS, MEMORIES, SETTINGS
from pg_agents import REINFORCE, ActorCritic
from pg_agents.callbacks.episodes import finished_episodes

RESULTS, PAGE = ROOT / "docs" / "ablation.json", ROOT / "docs" / "ablation.md"
N_STEPS, N_MEMORY_STEPS, N_SEEDS, N_ENVS = 20_000, 15_000, 10, 8
LAST = 100
PACKAGES = ("gymnasium", "stable-baselines3", "torch", "numpy")


HEAD = f"""\
CartPole-v1, {N_SEEDS} seeds (0 to {N_SEEDS - 1}) a row. *Speed* is the return of an
episode averaged over all steps of the training, the area under the learning curve;
*end* the mean of the last {LAST} training episodes, which in a run that learns fast
reach back almost to its start: *end* can lie below *speed*. Each is the interquartile
mean over the seeds, with its 95 % percentile bootstrap interval (9,999 resamples);
500 is the most there is. Intervals that overlap say that ten seeds don't tell the two
apart; with 30 of them beside each other, one or two that don't overlap mean little by
themselves."""
BODY = f"""\
{N_STEPS:,} steps, {N_ENVS} environments. *Plain* is one step of Adam (0.001) on 32
steps of each environment, with returns to the end of the rollout minus the critic's
value (`gae_lambda=1`), and none of the improvements; *all* has every one of them.
Each row adds one to *plain*, and takes it out of *all*."""


class EpisodeReturns(BaseCallback):
    """Keeps the return of every training episode, in the order of their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        ended = finished_episodes(self.locals)
        self.returns += [episode.episode_return for episode in ended]
        return True


def run(task: tuple[str, int]) -> tuple[str, int, list[float]]:
    """Trains one setting from one seed; returns both, and the episodes' returns."""
    name, seed = task
    torch.set_num_threads(1)
    returns = EpisodeReturns()
    if name in MEMORIES:
        # The networks and step size of the row: 4-20-20-2, Adam(1e-3).
        model: REINFORCE | ActorCritic = REINFORCE(
            "MlpPolicy",
            "CartPole-v1",
            learning_rate=1e-3,
            policy_kwargs={"net_arch": [20, 20]},
            seed=seed,
            device="cpu",
            **MEMORIES[name],
        )
        model.learn(N_MEMORY_STEPS, callback=returns, log_interval=None)
    else:
        env = gymnasium.make_vec("CartPole-v1", num_envs=N_ENVS)
        model = ActorCritic("MlpPolicy", env, seed=seed, device="cpu", **SETTINGS[name])
        model.learn(N_STEPS, callback=returns, log_interval=None)
    return name, seed, returns.returns


def run_missing(n_processes: int) -> None:
    """Runs what the file of results does not have, and adds it run by run."""
    found: dict[str, dict[str, list[float]]] = {}
    if RESULTS.exists():
        found = json.loads(RESULTS.read_text())["runs"]
    tasks = [
        (name, seed)
        for seed in range(N_SEEDS)
        for name in (*SETTINGS, *MEMORIES)
        if str(seed) not in found.get(name, {})
    ]
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(n_processes) as pool:
        for i, (name, seed, returns) in enumerate(pool.imap_unordered(run, tasks), 1):
            found.setdefault(name, {})[str(seed)] = summary(returns)
            RESULTS.write_text(json.dumps({"setup": setup(), "runs": found}, indent=1))
            seconds = time.perf_counter() - started
            print(f"{i}/{len(tasks)} {seconds:.0f} s: {name}, seed {seed}", flush=True)


def summary(returns: list[float]) -> list[float]:
    """Returns the two figures of a run.

    The first is the return of an episode averaged over all steps of the training, the
    area under the learning curve; the second the mean of the last episodes.
    """
    each = np.array(returns)
    # CartPole pays 1 a step: an episode has as many steps as its return says.
    return [float((each**2).sum() / each.sum()), float(each[-LAST:].mean())]


def setup() -> str:
    """Returns machine and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {versions}, {platform.machine()}"


def interquartile_mean(values: NDArray[np.float64], axis: int = -1) -> Any:  # noqa: ANN401
    """Returns the mean of the middle half of the runs."""
    return stats.trim_mean(values, 0.25, axis=axis)


def cell(values: list[float]) -> str:
    """Returns the interquartile mean and its 95 % bootstrap interval."""
    # With 10 runs of the cap, all resamples agree: no interval to estimate.
    mean = interquartile_mean(np.array(values))
    if len(set(values)) == 1:
        return f"{mean:.0f} ({mean:.0f} to {mean:.0f})"
    interval = stats.bootstrap(
        (np.array(values),),
        interquartile_mean,
        method="percentile",
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return f"{mean:.0f} ({interval.low:.0f} to {interval.high:.0f})"


def cells(found: dict[str, dict[str, list[float]]], name: str) -> str:
    """Returns the two cells of a setting, learning speed and end."""
    runs = [found[name][str(seed)] for seed in range(N_SEEDS)]
    speed, end = ([run[k] for run in runs] for k in range(2))
    return f"{cell(speed)} | {cell(end)}"


def improvement_rows(found: dict[str, dict[str, list[float]]]) -> list[str]:
    """Returns a row for each improvement, and for the memories."""
    rows = [
        f"| {i.name} | `{i.argument}` | {cells(found, f'plain + {i.name}')} | "
        f"{cells(found, f'all - {i.name}')} |".replace(" (the default)`", "` (default)")
        for i in IMPROVEMENTS
    ]
    return rows + [
        f"| {name} | `{argument}` | {cells(found, f'plain + {name}')} | | |"
        for name, argument in (
            ("memory, V-trace", "memory_size=2048, gradient_steps=4"),
            ("memory, uncorrected", 'replay="returns", batch_size=256'),
        )
    ]


def page(found: dict[str, dict[str, list[float]]], setup_line: str) -> str:
    """Returns docs/ablation.md."""
    lines = [
        "# What each improvement does",
        "",
        "Written by `make ablation` from the runs in `ablation.json`; do not edit.",
        "",
        HEAD,
        "",
        f"{setup_line}.",
        "",
        "## Actor-critic",
        "",
        BODY,
        "",
        "| improvement | argument | plain with it: speed | plain with it: end "
        "| all without it: speed | all without it: end |",
        "|---|---|---|---|---|---|",
        f"| (neither) | | {cells(found, 'plain')} | {cells(found, 'all')} |",
    ]
    lines += improvement_rows(found)
    lines += [
        "",
        "A memory goes with neither clipping nor epochs: it is beside *plain* only.",
        "",
        "## REINFORCE with a memory",
        "",
        f"{N_MEMORY_STEPS:,} steps, one environment, 4-20-20-2, Adam (0.001), "
        "`gamma=0.99`: row **reinforce-memory** of the notebooks (two steps on 256 of "
        "the last 512 transitions after each episode, nothing corrected), the form "
        "that importance weights make exact, and neither.",
        "",
        "| setting | speed | end |",
        "|---|---|---|",
        *(f"| {name} | {cells(found, name)} |" for name in MEMORIES),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="runs side by side")
    arguments = parser.parse_args()
    run_missing(arguments.processes)
    stored = json.loads(RESULTS.read_text())
    PAGE.write_text(page(stored["runs"], stored["setup"]))


if __name__ == "__main__":
    main()
