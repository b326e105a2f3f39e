"""The bar over all runs."""

from __future__ import annotations

import io

from pg_agents.experiments import Moment
from pg_agents.experiments.progress import RunsBar


def shown(n_runs: int, moments: list[tuple[int, Moment]]) -> str:
    file = io.StringIO()
    with RunsBar("name", n_runs, file) as bar:
        for seed, moment in moments:
            bar.show(seed, moment)
        bar._bar.refresh()
    return file.getvalue().split("\r")[-1].rstrip()


def test_it_adds_up_the_shares_of_all_runs() -> None:
    moments = [(0, Moment(1.0)), (5, Moment(0.2, 30, 4, 1.5))]
    # (1 + 0.2) / 4
    bar = shown(4, moments)
    assert bar.startswith("name:  30%|")
    assert bar.endswith("1 of 4 runs done, seed 5: episode 4, 30 steps, return 1.5")


def test_a_share_that_falls_back_does_so_on_the_bar() -> None:
    """As when a killed run is taken up again from its checkpoint."""
    moments = [(0, Moment(0.75)), (0, Moment(0.5))]
    assert shown(1, moments).startswith("name:  50%|")


def test_of_a_single_run_it_tells_the_running_reward() -> None:
    bar = shown(1, [(3, Moment(0.5, 30, 4, 1.5, 1.25))])
    assert bar.endswith("], episode 4, 30 steps, return 1.5, running 1.25")
