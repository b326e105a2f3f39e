"""Plots of training records: mean and band as NumPy computes them, and bad input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from pg_agents.analysis.plots import (
    animate_action_probabilities,
    plot_action_probabilities,
    plot_learning_curves,
    plot_losses,
    plot_returns,
    plot_rewards,
    plot_total_rewards,
)
from pg_agents.analysis.plots.style import PALETTE
from pg_agents.callbacks import TrainingRecord
from tests.pg_agents.analysis.plots.records import (
    ACTIONS,
    Floats,
    make_record,
    random_probabilities,
)


def line(axes: Axes, index: int = 0) -> tuple[Floats, Floats]:
    """Returns x and y of a line, as drawn."""
    drawn = axes.get_lines()[index]
    return np.asarray(drawn.get_xdata(), float), np.asarray(drawn.get_ydata(), float)


def band(axes: Axes, x: Floats, index: int = 0) -> tuple[Floats, Floats]:
    """Returns the lower and upper edge of a band at each x, as drawn."""
    drawn = axes.collections[index]
    assert isinstance(drawn, PolyCollection)
    corners = np.asarray(drawn.get_paths()[0].vertices)
    edges = [corners[np.isclose(corners[:, 0], at), 1] for at in x]
    return np.array([e.min() for e in edges]), np.array([e.max() for e in edges])


def assert_band(axes: Axes, x: Floats, values: Floats, index: int = 0) -> None:
    """Compares with NumPy's mean and quantiles over the rows of `values`."""
    mean = values.mean(axis=0)
    tenth, ninetieth = np.quantile(values, [0.1, 0.9], axis=0)
    np.testing.assert_array_equal(line(axes, index)[0], x)
    np.testing.assert_allclose(line(axes, index)[1], mean, rtol=1e-12)
    low, high = band(axes, x, index)
    np.testing.assert_allclose(low, tenth, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(high, ninetieth, rtol=1e-9, atol=1e-12)


def legend_texts(figure: Figure) -> list[str]:
    legends = [*figure.legends, figure.axes[0].get_legend()]
    return [t.get_text() for g in legends if g is not None for t in g.get_texts()]


def test_action_probabilities_are_mean_and_middle_over_runs() -> None:
    runs = [random_probabilities(seed) for seed in range(4)]
    figure = plot_action_probabilities(
        [make_record(run) for run in runs], ACTIONS, ["here", "there"]
    )
    assert [axes.get_title() for axes in figure.axes] == ["here", "there"]
    x = np.arange(0.0, 60.0, 10.0)
    for k, axes in enumerate(figure.axes):
        assert axes.get_xlabel() == "Environment steps"
        for action in range(3):
            values = np.stack([run[:, k, action] for run in runs])
            assert_band(axes, x, values, action)
            assert axes.get_lines()[action].get_color() == PALETTE[action]
    assert figure.axes[0].get_ylabel() == "Action probability"
    assert [text.get_text() for text in figure.axes[0].texts] == ACTIONS
    assert figure.get_suptitle() == "mean and middle 80 % of the runs"


def test_action_probabilities_hold_until_the_next_update_of_the_run() -> None:
    one = make_record(np.array([[[0.0, 1.0]], [[0.4, 0.6]]]), [0, 10])
    other = make_record(
        np.array([[[0.2, 0.8]], [[0.6, 0.4]], [[1.0, 0.0]]]), [0, 4, 30]
    )
    figure = plot_action_probabilities([one, other], ["a", "b"])
    # At step 10 the second run is still at its policy of step 4; the first ends there.
    values = np.array([[0.0, 0.0, 0.4], [0.2, 0.6, 0.6]])
    assert_band(figure.axes[0], np.array([0.0, 4.0, 10.0]), values)


def test_rewards_are_smoothed_run_by_run_and_then_averaged() -> None:
    runs = np.random.default_rng(1).normal(size=(3, 40))
    records = [make_record(rewards=run) for run in runs]
    axes = plot_rewards(records, window=4).axes[0]
    smoothed = [[run[max(0, i - 3) : i + 1].mean() for i in range(40)] for run in runs]
    assert_band(axes, np.arange(2.0, 82.0, 2.0), np.array(smoothed))
    assert axes.get_ylabel() == "Reward per step (average of 4 steps)"
    raw = plot_rewards(records, window=1).axes[0]
    assert_band(raw, np.arange(2.0, 82.0, 2.0), runs)
    assert raw.get_ylabel() == "Reward per step"


def test_rewards_window_is_a_fiftieth_by_default() -> None:
    axes = plot_rewards([make_record(rewards=np.arange(200.0))]).axes[0]
    assert axes.get_ylabel() == "Reward per step (average of 4 steps)"
    assert line(axes)[1][-1] == pytest.approx(197.5)


def test_total_rewards_are_a_dot_a_run_and_their_mean() -> None:
    records = [
        make_record(rewards=np.array(r)) for r in ([1.0, 2.0], [5.0], [4.0, 5.0])
    ]
    figure = plot_total_rewards(records)
    x, totals = line(figure.axes[0], 0)
    assert x.tolist() == [1, 2, 3]
    assert totals.tolist() == [3, 5, 9]
    assert line(figure.axes[0], 1)[1] == pytest.approx(np.mean([3, 5, 9]))
    assert legend_texts(figure)[1] == "mean 5.667, sd 2.49"


@pytest.mark.parametrize(
    ("plot", "field", "label"),
    [(plot_losses, "losses", "Update"), (plot_returns, "returns", "Episode")],
)
def test_losses_and_returns_by_number(
    plot: Callable[..., Figure], field: str, label: str
) -> None:
    runs = np.random.default_rng(2).normal(size=(5, 12))
    axes = plot([make_record(**{field: run}) for run in runs]).axes[0]
    assert_band(axes, np.arange(1.0, 13.0), runs)
    assert axes.get_xlabel() == label
    smooth = plot([make_record(**{field: run}) for run in runs], window=12).axes[0]
    assert line(smooth)[1][-1] == pytest.approx(runs.mean())


def test_unequal_runs_are_averaged_over_those_in_progress() -> None:
    records = [
        make_record(returns=np.array(r)) for r in ([1.0, 2.0, 9.0], [3.0], [5.0])
    ]
    axes = plot_returns(records).axes[0]
    np.testing.assert_allclose(line(axes)[1], [3.0, 2.0, 9.0])
    # A tenth of the way from 1 to 5 are 0.2 of the two steps between the runs.
    expected = [[1.4, 2.0, 9.0], [4.6, 2.0, 9.0]]
    np.testing.assert_allclose(band(axes, np.array([1.0, 2.0, 3.0])), expected)


def test_learning_curves_are_interpolated_onto_common_times() -> None:
    one = make_record(returns=np.array([0.0, 10.0]), episode_timesteps=[10, 20])
    other = make_record(
        returns=np.array([4.0, 6.0, 6.0]), episode_timesteps=[5, 15, 30]
    )
    figure = plot_learning_curves({"A2C": [one, other], "PPO": [one]}, window=1)
    axes = figure.axes[0]
    # Both runs cover 10 to 20; at 10 the second is half-way from 4 to 6.
    assert_band(
        axes, np.array([10.0, 15.0, 20.0]), np.array([[0.0, 5, 10], [5.0, 6, 6]]), 0
    )
    assert_band(axes, np.array([10.0, 20.0]), np.array([[0.0, 10.0]]), 1)
    assert [text.get_text() for text in axes.texts] == ["A2C", "PPO"]
    assert figure.get_suptitle() == "mean and middle 80 % of 1 to 2 runs each"
    assert axes.get_xlabel() == "Environment steps"


def test_learning_curve_averages_episodes_that_end_together() -> None:
    record = make_record(returns=np.array([1.0, 3.0, 8.0]), episode_timesteps=[4, 4, 8])
    axes = plot_learning_curves({"A2C": [record]}, window=1).axes[0]
    assert line(axes)[1].tolist() == [2.0, 8.0]
    smooth = plot_learning_curves({"A2C": [record]}, window=2).axes[0]
    np.testing.assert_allclose(line(smooth)[1], [1.5, 5.5])


def test_bands_do_not_leave_what_is_possible() -> None:
    """One of ten runs at 0: mean 0.9, standard deviation 0.3."""
    runs = [np.full((4, 1, 2), [float(i > 0), float(i == 0)]) for i in range(10)]
    axes = plot_action_probabilities([make_record(run) for run in runs], ["a", "b"])
    x = line(axes.axes[0])[0]
    low, high = band(axes.axes[0], x)
    assert (low >= 0).all() and (high <= 1).all()


def test_lines_that_end_together_have_labels_of_their_own() -> None:
    """From bottom to top in the order of their ends, a label's height apart."""
    run = np.full((5, 1, 3), [0.2, 0.6, 0.2])
    figure = plot_action_probabilities([make_record(run)], ACTIONS)
    labels = {text.get_text(): text for text in figure.axes[0].texts}
    assert set(labels) == set(ACTIONS)
    heights = sorted(text.get_position()[1] for text in labels.values())
    assert min(np.diff(heights)) >= 0.07
    assert labels[ACTIONS[1]].get_position()[1] == max(heights)
    for name, text in labels.items():
        assert isinstance(text, Annotation)
        # Each is joined to the end of its own line.
        assert text.xy == (40.0, run[-1, 0, ACTIONS.index(name)])
    colours = [labels[name].get_color() for name in ACTIONS]
    assert colours == list(PALETTE[:3])


def test_titles_name_the_runs_and_the_best_value_has_a_line() -> None:
    records = [make_record(returns=np.arange(4.0)), make_record(returns=np.ones(4))]
    figure = plot_returns(records, title="REINFORCE on X-v0", best=3.0)
    assert figure.get_suptitle() == "REINFORCE on X-v0, 2 runs"
    axes = figure.axes[0]
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([3.0, 3.0])
    assert [text.get_text() for text in axes.texts] == ["best possible: 3"]
    losses = plot_losses([make_record(losses=np.arange(3.0))], title="A on B")
    assert losses.get_suptitle() == (
        "A on B, 1 run\n(only its gradient is used: the value need not fall)"
    )


def test_long_runs_are_thinned_but_keep_their_ends() -> None:
    axes = plot_losses([make_record(losses=np.arange(5000.0))]).axes[0]
    x, y = line(axes)
    assert len(x) == 1000
    assert (x[0], y[0], x[-1], y[-1]) == (1, 0, 5000, 4999)


def test_pyplot_is_not_imported() -> None:
    load = "import sys; from pg_agents.analysis.plots import *"
    code = f"{load}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
def test_empty_records_are_rejected(
    plot: Callable[[list[TrainingRecord]], Figure],
) -> None:
    with pytest.raises(ValueError, match="at least one TrainingRecord is needed"):
        plot([])
    with pytest.raises(ValueError, match="run 0 has no "):
        plot([make_record()])


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"], "abc"])
def test_a_wrong_number_of_names_is_rejected(
    names: list[str] | str, tmp_path: Path
) -> None:
    record = make_record(random_probabilities(0))
    with pytest.raises(ValueError, match="3 action names are needed"):
        plot_action_probabilities([record], names)
    with pytest.raises(ValueError, match="3 action names are needed"):
        animate_action_probabilities(record, names, tmp_path / "x.gif")
    with pytest.raises(ValueError, match="2 observation names are needed"):
        plot_action_probabilities([record], ACTIONS, ["one"])


WIDE = make_record(random_probabilities(0))
NARROW = make_record(random_probabilities(0, n_observations=1))
LATE = make_record(random_probabilities(0), list(range(1000, 1006)))
SHORT = make_record(returns=np.ones(2), episode_timesteps=[1, 2])
LATER = make_record(returns=np.ones(2), episode_timesteps=[3, 4])
NOT_LOGGED = make_record(losses=np.array([1.0, np.nan]))
REWARDS = make_record(rewards=np.ones(3))


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (
            lambda: plot_action_probabilities([WIDE, NARROW], ACTIONS),
            r"same observations.*\(2, 3\), \(1, 3\)",
        ),
        (lambda: plot_action_probabilities([WIDE, LATE], ACTIONS), "no time in common"),
        (lambda: plot_learning_curves({"A2C": [SHORT, LATER]}), "runs of A2C have no"),
        (lambda: plot_learning_curves({}), "at least one algorithm"),
        (lambda: plot_losses([NOT_LOGGED]), "run 0 logged no policy loss"),
        (lambda: plot_rewards([REWARDS], 0), "window must be an integer >= 1, got 0"),
    ],
)
def test_records_that_cannot_be_plotted_are_rejected(
    plot: Callable[[], Figure], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plot()
