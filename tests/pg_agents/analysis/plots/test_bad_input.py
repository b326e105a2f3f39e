import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pg_agents.analysis.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_learning_curves,
    plot_losses,
    plot_returns,
    plot_rewards,
    plot_total_rewards,
)
from pg_agents.callbacks import TrainingRecord
from tests.pg_agents.analysis.plots.records import (
    ACTIONS,
    make_record,
    random_probabilities,
)


@pytest.mark.parametrize(
    "plot",
    [
        lambda records: plot_action_probabilities(records, ACTIONS),
        plot_rewards,
        plot_total_rewards,
        plot_losses,
        plot_returns,
        lambda records: plot_learning_curves({"A2C": records}),
    ],
)
def test_refuses_no_records_and_empty_records(
    plot: Callable[[list[TrainingRecord]], Figure],
) -> None:
    with pytest.raises(ValueError, match="at least one TrainingRecord is needed"):
        plot([])
    with pytest.raises(ValueError, match="run 0 has no "):
        plot([make_record()])


def test_refuses_no_algorithms() -> None:
    with pytest.raises(ValueError, match="at least one algorithm"):
        plot_learning_curves({})


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"], "abc"])
def test_refuses_a_wrong_number_of_names(
    names: list[str] | str, tmp_path: Path
) -> None:
    record = make_record(random_probabilities(0))
    with pytest.raises(ValueError, match="3 action names are needed"):
        plot_action_probabilities([record], names)
    with pytest.raises(ValueError, match="3 action names are needed"):
        animate_action_probabilities(record, names, tmp_path / "x.gif")
    with pytest.raises(ValueError, match="2 observation names are needed"):
        plot_action_probabilities([record], ACTIONS, ["one"])


def test_refuses_runs_that_differ_or_never_overlap() -> None:
    one = make_record(random_probabilities(0))
    other = make_record(random_probabilities(0, n_observations=1))
    with pytest.raises(ValueError, match=r"same observations.*\(2, 3\), \(1, 3\)"):
        plot_action_probabilities([one, other], ACTIONS)
    times = np.arange(1000, 1006)
    later = dataclasses.replace(one, probability_timesteps=times)
    with pytest.raises(ValueError, match="no time in common"):
        plot_action_probabilities([one, later], ACTIONS)
    early = make_record(returns=np.ones(2), episode_timesteps=[1, 2])
    late = make_record(returns=np.ones(2), episode_timesteps=[3, 4])
    with pytest.raises(ValueError, match="runs of A2C have no time in common"):
        plot_learning_curves({"A2C": [early, late]})


def test_refuses_losses_that_were_not_logged() -> None:
    with pytest.raises(ValueError, match="run 0 logged no policy loss"):
        plot_losses([make_record(losses=np.array([1.0, np.nan]))])


def test_refuses_a_window_below_1() -> None:
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        plot_rewards([make_record(rewards=np.ones(3))], window=0)
