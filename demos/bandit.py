"""REINFORCE on a three-armed bandit, with a table and with a network.

The smallest policy gradient: one state, one update per pull, no later rewards. A table
of three logits with step size 0.2 makes 100 runs of 500 pulls; a linear network with
Adam and step size 1 makes 50 runs of 100. All runs are one batch of learners.
The same runs are rows bandit-table and bandit-network of `pgtoy run`.
"""

from __future__ import annotations

from argparse import Namespace

from common import live_view, parse_options, say_saved, show_agent

from pg_agents import LearnerBatch
from pg_agents.experiments.demos import bandit

# Pulls per second in the live view, at which the eye can follow.
SPEED = 10.0


def play(
    name: str,
    make_batch: bandit.MakeBatch,
    n_runs: int,
    n_pulls: int,
    options: Namespace,
) -> LearnerBatch:
    """Trains with consecutive seeds, prints how many runs found the arm, and draws."""
    records, batch = bandit.make_runs(make_batch, n_runs, n_pulls, options.seed)
    print("\n".join(bandit.describe(records)))
    for path in bandit.draw(name, records, options.out):
        say_saved(path)
    return batch


def main() -> None:
    """Trains, prints, draws and shows."""
    table_runs, table_pulls = bandit.TABLE
    network_runs, network_pulls = bandit.NETWORK
    options = parse_options(
        __doc__,
        "bandit",
        **{"table-runs": table_runs, "table-pulls": table_pulls},
        **{"network-runs": network_runs, "network-pulls": network_pulls},
    )
    n_runs, n_pulls = options.table_runs, options.table_pulls
    view = live_view(options, SPEED)
    if view is not None:
        with view:
            bandit.show_one(bandit.make_tables, n_pulls, options.seed, view)
            view.wait()
    print(f"A table of logits, {n_runs} runs:")
    batch = play("table", bandit.make_tables, n_runs, n_pulls, options)
    n_runs, n_pulls = options.network_runs, options.network_pulls
    print(f"\nA linear network, {n_runs} runs:")
    play("network", bandit.make_networks, n_runs, n_pulls, options)
    model = batch.models[-1]
    show_agent(model, bandit.ENV_ID, options, 1, max_steps=10, observation="index")


if __name__ == "__main__":
    main()
