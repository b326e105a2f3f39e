"""REINFORCE on a three-armed bandit, with a table and with a network.

The smallest policy gradient: one state, one update per pull, no later rewards. A table
of three logits with step size 0.2 makes 100 runs of 500 pulls; a linear network with
Adam and step size 1 makes 50 runs of 100. Ctrl-C stops early and draws the runs so far.
The same runs are rows bandit-table and bandit-network of `pgtoy run`.
"""

from __future__ import annotations

from argparse import Namespace

from common import RunsBar, parse_options, say_saved, show_agent

from pg_agents import REINFORCE
from pg_agents.experiments.demos import bandit


def play(
    name: str,
    make_model: bandit.MakeModel,
    n_runs: int,
    n_pulls: int,
    options: Namespace,
) -> REINFORCE:
    """Trains with consecutive seeds, prints how many runs found the arm, and draws."""
    with RunsBar(n_runs, n_pulls, "step") as bar:
        seed = options.seed
        records, model = bandit.make_runs(make_model, n_runs, n_pulls, seed, bar.of_run)
    print("\n".join(bandit.describe(records)))
    for path in bandit.draw(name, records, options.out):
        say_saved(path)
    return model


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
    print(f"A table of logits, {n_runs} runs:")
    model = play("table", bandit.make_table, n_runs, n_pulls, options)
    n_runs, n_pulls = options.network_runs, options.network_pulls
    print(f"\nA linear network, {n_runs} runs:")
    play("network", bandit.make_network, n_runs, n_pulls, options)
    show_agent(model, bandit.ENV_ID, options, 1, max_steps=10, observation="index")


if __name__ == "__main__":
    main()
