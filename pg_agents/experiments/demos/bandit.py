"""Bandit demos: a table of logits, a linear network, and plots of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger

from pg_agents.algorithms.reinforce import REINFORCE
from pg_agents.analysis.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_rewards,
    plot_total_rewards,
    save_figure,
)
from pg_agents.callbacks import TrainingRecord
from pg_agents.experiments.demos import DemoRequest, DemoResult
from pg_agents.learners import BatchRecorder, LearnerBatch
from pg_agents.live.view import LiveView

ENV_ID = "pg_envs:PGToy-Bandit-v0"
ARMS = ("left", "centre", "right")
PAYING_ARM = 0
# Number of runs, and of pulls in each.
TABLE, NETWORK = (100, 500), (50, 100)
MakeBatch = Callable[[Sequence[int]], LearnerBatch]


def make_tables(seeds: Sequence[int]) -> LearnerBatch:
    """Returns the untrained agents of bandit-table: gamma 0, an update per pull."""
    return LearnerBatch(
        REINFORCE,
        "TabularPolicy",
        ENV_ID,
        seeds,
        env_kwargs={"observation": "index", "max_episode_steps": -1},
        learning_rate=0.2,
        n_steps=1,
        gamma=0.0,
        policy_kwargs={"max_logit": 100.0},
    )


def make_networks(seeds: Sequence[int]) -> LearnerBatch:
    """Returns the untrained agents of bandit-network."""
    return LearnerBatch(
        REINFORCE,
        "MlpPolicy",
        ENV_ID,
        seeds,
        env_kwargs={"max_episode_steps": -1},
        learning_rate=1.0,
        n_steps=1,
        gamma=0.0,
        # No hidden layer: the logits are linear in the observation, which is 0.
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.Adam},
    )


def show_one(make_batch: MakeBatch, n_pulls: int, seed: int, view: LiveView) -> None:
    """Trains the agent of one seed alone, and shows it.

    Args:
        make_batch: as of `make_runs`.
        n_pulls: number of pulls.
        seed: seed of the agent.
        view: shows the training.
    """
    model = make_batch([seed]).models[0]
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(n_pulls, view, log_interval=None)


def make_runs(
    make_batch: MakeBatch, n_runs: int, n_pulls: int, seed: int
) -> tuple[list[TrainingRecord], LearnerBatch]:
    """Makes runs with consecutive seeds.

    Args:
        make_batch: function of seeds that returns the untrained agents.
        n_runs: number of runs.
        n_pulls: number of pulls of each, each followed by an update.
        seed: seed of the first run.

    Returns:
        The records and the trained agents.
    """
    batch = make_batch(range(seed, seed + n_runs))
    index = isinstance(batch.observation_space, gymnasium.spaces.Discrete)
    obs: Any = np.array([0]) if index else np.zeros((1, 1), dtype=np.float32)
    # A hundred recordings make a smooth curve.
    recorder = BatchRecorder(batch, obs, every=max(1, n_pulls // 100))
    batch.learn(n_pulls, recorder)
    return recorder.records, batch


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
    title = f"REINFORCE with a {name} on PGToy-Bandit-v0"
    # An arm pays 1 at most.
    best_total = float(len(records[0].rewards))
    figures = {
        "action_probabilities": plot_action_probabilities(records, ARMS, title=title),
        "rewards": plot_rewards(records, title=title, best=1.0),
        "total_rewards": plot_total_rewards(records, title=title, best=best_total),
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
    return _train(make_tables, request, size)


def network(request: DemoRequest, size: tuple[int, int] = NETWORK) -> DemoResult:
    """Trains linear networks; passes if 99 % of the runs find the paying arm."""
    return _train(make_networks, request, size)


def plots(
    request: DemoRequest,
    table_size: tuple[int, int] = TABLE,
    network_size: tuple[int, int] = NETWORK,
) -> DemoResult:
    """Draws the runs of both."""
    paths = []
    for name, make_batch, size in (
        ("table", make_tables, table_size),
        ("network", make_networks, network_size),
    ):
        if request.view is not None:
            show_one(make_batch, size[1], request.seed, request.view)
        records, _ = make_runs(make_batch, *size, request.seed)
        paths += draw(name, records, request.folder)
    return DemoResult(("; ".join(str(p.relative_to(request.out)) for p in paths),))


def _train(
    make_batch: MakeBatch, request: DemoRequest, size: tuple[int, int]
) -> DemoResult:
    if request.view is not None:
        show_one(make_batch, size[1], request.seed, request.view)
    records, _ = make_runs(make_batch, *size, request.seed)
    share = (final_probabilities(records) >= 0.95).mean()
    return DemoResult(describe(records), bool(share >= 0.99))
