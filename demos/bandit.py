"""REINFORCE on a three-armed bandit, with a table and with a network.

The smallest policy gradient there is: one state, one update per pull, and nothing that
comes later. A table of three logits with step size 0.2 makes 100 runs of 500 pulls; a
linear network under Adam with step size 1 makes 50 runs of 100. Ctrl-C stops early and
draws what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from common import RunsBar, parse_options, save, say_saved, show_agent
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents import REINFORCE
from pg_agents.callbacks import Recorder, StopOnInterrupt, TrainingRecord
from pg_agents.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_rewards,
    plot_total_rewards,
)

ENV_ID = "pg_envs:PGToy-Bandit-v0"
ARMS = ("left", "centre", "right")
PAYING_ARM = 0


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
    make_model: Callable[[int], REINFORCE], n_runs: int, n_pulls: int, seed: int
) -> tuple[list[TrainingRecord], REINFORCE]:
    """Makes runs with consecutive seeds; returns records and the last model."""
    records: list[TrainingRecord] = []
    interrupted = False
    with RunsBar(n_runs, n_pulls, "step") as bar:
        while len(records) < n_runs and not interrupted:
            model = make_model(seed + len(records))
            tick = bar.of_run(len(records))
            # A hundred recordings draw a smooth curve.
            every = max(1, n_pulls // 100)
            record, interrupted = train_for(model, n_pulls, tick, every=every)
            records.append(record)
    return records, model


def final_probabilities(records: list[TrainingRecord]) -> NDArray[np.float64]:
    """Returns the last probability of the paying arm in each run, `[n_runs]`."""
    return np.array([r.action_probabilities[-1, 0, PAYING_ARM] for r in records])


def report(name: str, records: list[TrainingRecord], out: Path) -> None:
    """Prints how often the paying arm was found, and saves the pictures."""
    final = final_probabilities(records)
    totals = [record.rewards.sum() for record in records]
    n_pulls = len(records[0].rewards)
    print(
        f"Probability of the paying arm after {n_pulls} pulls: mean {final.mean():.3f},"
        f" lowest {final.min():.3f}, at least 0.95 in {(final >= 0.95).sum()} of "
        f"{len(final)} runs.\nTotal reward: mean {np.mean(totals):.1f} of {n_pulls}, "
        f"standard deviation {np.std(totals):.1f}."
    )
    figure = plot_action_probabilities(records, ARMS)
    save(figure, out / f"{name}_action_probabilities.png")
    save(plot_rewards(records), out / f"{name}_rewards.png")
    save(plot_total_rewards(records), out / f"{name}_total_rewards.png")
    path = out / f"{name}_action_probabilities.gif"
    animate_action_probabilities(records[0], ARMS, path)
    say_saved(path)


def main() -> None:
    """Trains, prints, draws and shows."""
    options = parse_options(
        __doc__,
        "bandit",
        **{"table-runs": 100, "table-pulls": 500},
        **{"network-runs": 50, "network-pulls": 100},
    )
    print(f"A table of logits, {options.table_runs} runs:")
    records, model = make_runs(
        make_table, options.table_runs, options.table_pulls, options.seed
    )
    report("table", records, options.out)
    print(f"\nA linear network, {options.network_runs} runs:")
    records, _ = make_runs(
        make_network, options.network_runs, options.network_pulls, options.seed
    )
    report("network", records, options.out)
    show_agent(model, ENV_ID, options, 1, max_steps=10, observation="index")


if __name__ == "__main__":
    main()
