"""REINFORCE on a three-armed bandit, with a table and with a network.

The smallest policy gradient: one state, one update per pull, no later rewards. A table
of three logits with step size 0.2 makes 100 runs of 500 pulls; a linear network with
Adam and step size 1 makes 50 runs of 100. Ctrl-C stops early and draws the runs so far.
The same runs are rows bandit-table and bandit-network of `pgtoy run`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common import RunsBar, parse_options, say_saved, show_agent

from pg_agents import REINFORCE
from pg_agents.callbacks import TrainingRecord
from pg_agents.experiments.demos import bandit
from pg_agents.experiments.demos.bandit import (
    ARMS,
    ENV_ID,
    PAYING_ARM,
    final_probabilities,
    make_network,
    make_table,
    train_for,
)

__all__ = [
    "ARMS",
    "PAYING_ARM",
    "final_probabilities",
    "make_network",
    "make_table",
    "train_for",
]


def make_runs(
    make_model: Callable[[int], REINFORCE], n_runs: int, n_pulls: int, seed: int
) -> tuple[list[TrainingRecord], REINFORCE]:
    """Trains with consecutive seeds; returns records and the last model."""
    with RunsBar(n_runs, n_pulls, "step") as bar:
        return bandit.make_runs(make_model, n_runs, n_pulls, seed, bar.of_run)


def report(name: str, records: list[TrainingRecord], out: Path) -> None:
    """Prints how many runs found the paying arm, and saves the pictures."""
    print("\n".join(bandit.describe(records)))
    for path in bandit.draw(name, records, out):
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
