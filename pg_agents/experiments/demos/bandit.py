"""Bandit demos: a table of logits, a linear network, and plots of both."""

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
from pg_agents.experiments.demos import DemoRequest, DemoResult

ENV_ID = "pg_envs:PGToy-Bandit-v0"
ARMS = ("left", "centre", "right")
PAYING_ARM = 0
# Number of runs, and of pulls in each.
TABLE, NETWORK = (100, 500), (50, 100)
MakeModel = Callable[[int], REINFORCE]


def make_table(seed: int) -> REINFORCE:
    """Returns the untrained agent of bandit-table: gamma 0, an update per pull."""
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
    """Returns the untrained agent of bandit-network."""
    return REINFORCE(
        "MlpPolicy",
        gymnasium.make(ENV_ID, max_episode_steps=-1),
        learning_rate=1.0,
        n_steps=1,
        gamma=0.0,
        # No hidden layer: the logits are linear in the observation, which is 0.
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.Adam},
        seed=seed,
    )


def train_for(
    model: REINFORCE, n_pulls: int, *callbacks: BaseCallback, every: int = 1
) -> tuple[TrainingRecord, bool]:
    """Makes one run; returns its record, and whether Ctrl-C ended it.

    Args:
        model: the untrained agent.
        n_pulls: number of pulls, each followed by an update.
        *callbacks: further callbacks.
        every: updates between two recordings of the action probabilities.
    """
    index = isinstance(model.observation_space, gymnasium.spaces.Discrete)
    obs: Any = np.array([0]) if index else np.zeros((1, 1), dtype=np.float32)
    recorder, interrupt = Recorder(obs, every), StopOnInterrupt()
    model.learn(n_pulls, callback=[recorder, interrupt, *callbacks], log_interval=None)
    return recorder.record, interrupt.interrupted


def make_runs(
    make_model: MakeModel,
    n_runs: int,
    n_pulls: int,
    seed: int,
    make_callback: Callable[[int], BaseCallback] | None = None,
) -> tuple[list[TrainingRecord], REINFORCE]:
    """Makes runs with consecutive seeds; fewer after a Ctrl-C.

    Args:
        make_model: function of a seed that returns the untrained agent.
        n_runs: number of runs.
        n_pulls: number of pulls of each.
        seed: seed of the first run.
        make_callback: function of a run's index that returns a further callback.

    Returns:
        The records and the last model.
    """
    records: list[TrainingRecord] = []
    interrupted = False
    # A hundred recordings make a smooth curve.
    every = max(1, n_pulls // 100)
    while len(records) < n_runs and not interrupted:
        model = make_model(seed + len(records))
        callbacks = [] if make_callback is None else [make_callback(len(records))]
        record, interrupted = train_for(model, n_pulls, *callbacks, every=every)
        records.append(record)
    return records, model


def final_probabilities(records: list[TrainingRecord]) -> NDArray[np.float64]:
    """Returns the last probability of the paying arm in each run, `[n_runs]`."""
    return np.array([r.action_probabilities[-1, 0, PAYING_ARM] for r in records])


def describe(records: list[TrainingRecord]) -> tuple[str, str]:
    """Describes how often the paying arm was found, and the total rewards."""
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
    """Saves three plots and the animation, and returns their paths."""
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


def table(request: DemoRequest, size: tuple[int, int] = TABLE) -> DemoResult:
    """Trains tables of logits; passes if 99 % of the runs find the paying arm."""
    return _train(make_table, request, size)


def network(request: DemoRequest, size: tuple[int, int] = NETWORK) -> DemoResult:
    """Trains linear networks; passes if 99 % of the runs find the paying arm."""
    return _train(make_network, request, size)


def plots(
    request: DemoRequest,
    table_size: tuple[int, int] = TABLE,
    network_size: tuple[int, int] = NETWORK,
) -> DemoResult:
    """Draws the runs of both."""
    paths = []
    for name, make_model, size in (
        ("table", make_table, table_size),
        ("network", make_network, network_size),
    ):
        records, _ = make_runs(make_model, *size, request.seed)
        paths += draw(name, records, request.folder)
    return DemoResult(("; ".join(str(p.relative_to(request.out)) for p in paths),))


def _train(
    make_model: MakeModel, request: DemoRequest, size: tuple[int, int]
) -> DemoResult:
    n_runs, n_pulls = size
    records, _ = make_runs(make_model, n_runs, n_pulls, request.seed)
    if len(records) < n_runs or len(records[-1].rewards) < n_pulls:
        # Ctrl-C: some of the runs must not be reported as all of them.
        raise KeyboardInterrupt
    share = (final_probabilities(records) >= 0.95).mean()
    return DemoResult(describe(records), bool(share >= 0.99))
