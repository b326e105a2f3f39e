"""The bandit's rows: a table of logits, a network, and the pictures of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.analysis.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_rewards,
    plot_total_rewards,
    save_figure,
)
from pg_agents.callbacks import Recorder, StopOnInterrupt, TrainingRecord
from pg_agents.experiments.showing import Shown, ShowRequest

ENV_ID = "pg_envs:PGToy-Bandit-v0"
ARMS = ("left", "centre", "right")
PAYING_ARM = 0
# Of a row: runs, and pulls of each.
TABLE, NETWORK = (100, 500), (50, 100)
MakeModel = Callable[[int], REINFORCE]


def make_table(seed: int) -> REINFORCE:
    """Returns the untrained agent of row bandit-table."""
    # The reward of a pull is all that a pull is worth: gamma 0, an update each step.
    return REINFORCE(
        "TabularPolicy",
        gymnasium.make(ENV_ID, observation="index", max_episode_steps=-1),
        learning_rate=0.2,
        n_steps=1,
        gamma=0.0,
        policy_kwargs={"max_logit": 100.0},
        seed=seed,
    )


def make_network(seed: int) -> REINFORCE:
    """Returns the untrained agent of row bandit-network."""
    return REINFORCE(
        "MlpPolicy",
        gymnasium.make(ENV_ID, max_episode_steps=-1),
        learning_rate=1.0,
        n_steps=1,
        gamma=0.0,
        # No hidden layer: from the constant 0 to three logits, by weight and bias.
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.Adam},
        seed=seed,
    )


def train_for(
    model: REINFORCE, n_pulls: int, *callbacks: BaseCallback, every: int = 1
) -> tuple[TrainingRecord, bool]:
    """Makes one run; returns its record, and whether Ctrl-C ended it.

    Args:
        model: the untrained agent.
        n_pulls: how many pulls, each followed by an update.
        *callbacks: further callbacks.
        every: updates between two recordings of the action probabilities.
    """
    index = isinstance(model.observation_space, gymnasium.spaces.Discrete)
    seen: Any = np.array([0]) if index else np.zeros((1, 1), dtype=np.float32)
    recorder, interrupt = Recorder(seen, every), StopOnInterrupt()
    model.learn(n_pulls, callback=[recorder, interrupt, *callbacks], log_interval=None)
    return recorder.record, interrupt.interrupted


def make_runs(
    make_model: MakeModel,
    n_runs: int,
    n_pulls: int,
    seed: int,
    of_run: Callable[[int], BaseCallback] | None = None,
) -> tuple[list[TrainingRecord], REINFORCE]:
    """Makes runs with consecutive seeds; fewer after a Ctrl-C.

    Args:
        make_model: returns the untrained agent of a seed.
        n_runs: how many runs.
        n_pulls: of each.
        seed: of the first.
        of_run: returns a further callback for a run, counted from 0.

    Returns:
        The records and the last model.
    """
    records: list[TrainingRecord] = []
    interrupted = False
    # A hundred recordings draw a smooth curve.
    every = max(1, n_pulls // 100)
    while len(records) < n_runs and not interrupted:
        model = make_model(seed + len(records))
        more = [] if of_run is None else [of_run(len(records))]
        record, interrupted = train_for(model, n_pulls, *more, every=every)
        records.append(record)
    return records, model


def final_probabilities(records: list[TrainingRecord]) -> NDArray[np.float64]:
    """Returns the last probability of the paying arm in each run, `[n_runs]`."""
    return np.array([r.action_probabilities[-1, 0, PAYING_ARM] for r in records])


def describe(records: list[TrainingRecord]) -> tuple[str, str]:
    """Returns how often the paying arm was found, and what was earned, in words."""
    final = final_probabilities(records)
    totals = [record.rewards.sum() for record in records]
    n_pulls = len(records[0].rewards)
    return (
        f"Probability of the paying arm after {n_pulls} pulls: mean {final.mean():.3f},"
        f" lowest {final.min():.3f}, at least 0.95 in {(final >= 0.95).sum()} of "
        f"{len(final)} runs.",
        f"Total reward: mean {np.mean(totals):.1f} of {n_pulls}, "
        f"standard deviation {np.std(totals):.1f}.",
    )


def draw(name: str, records: list[TrainingRecord], out: Path) -> list[Path]:
    """Saves three plots and the animation, and returns where."""
    figures = {
        "action_probabilities": plot_action_probabilities(records, ARMS),
        "rewards": plot_rewards(records),
        "total_rewards": plot_total_rewards(records),
    }
    paths = []
    for what, figure in figures.items():
        paths.append(out / f"{name}_{what}.png")
        save_figure(figure, paths[-1])
    paths.append(out / f"{name}_action_probabilities.gif")
    animate_action_probabilities(records[0], ARMS, paths[-1])
    return paths


def show_table(request: ShowRequest, size: tuple[int, int] = TABLE) -> Shown:
    """Row bandit-table; passes if 99 of 100 runs find the arm."""
    return _show(make_table, request, size)


def show_network(request: ShowRequest, size: tuple[int, int] = NETWORK) -> Shown:
    """Row bandit-network; likewise."""
    return _show(make_network, request, size)


def show_plots(
    request: ShowRequest,
    table: tuple[int, int] = TABLE,
    network: tuple[int, int] = NETWORK,
) -> Shown:
    """Row bandit-plots: the pictures of both."""
    rows = (("table", make_table, table), ("network", make_network, network))
    lines = []
    for name, make_model, size in rows:
        records, _ = make_runs(make_model, *size, request.seed)
        for path in draw(name, records, request.folder):
            lines.append(f"{path.relative_to(request.out)}")
    return Shown(("; ".join(lines),))


def _show(make_model: MakeModel, request: ShowRequest, size: tuple[int, int]) -> Shown:
    n_runs, n_pulls = size
    records, _ = make_runs(make_model, n_runs, n_pulls, request.seed)
    if len(records) < n_runs or len(records[-1].rewards) < n_pulls:
        # Of some runs nothing is written down as if it were of all.
        raise KeyboardInterrupt
    share = (final_probabilities(records) >= 0.95).mean()
    return Shown(describe(records), bool(share >= 0.99))
