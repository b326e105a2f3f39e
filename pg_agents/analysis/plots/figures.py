"""The still plots."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pg_agents.analysis.plots.checks import (
    check_probabilities,
    check_records,
    resolve_names,
)
from pg_agents.analysis.plots.series import (
    Band,
    band_over_runs,
    common_grid,
    hold,
    mean_per_time,
    moving_average,
)
from pg_agents.analysis.plots.style import (
    colour,
    count_axis,
    draw_band,
    legend_beside,
    new_figure,
    runs_label,
)
from pg_agents.callbacks.recorder import TrainingRecord

_STEPS = "Environment steps"
_NO_EPISODES = (
    "no episode ended, or the environment has no Monitor (VecMonitor) to report returns"
)


def plot_action_probabilities(
    records: Sequence[TrainingRecord],
    action_names: Sequence[str],
    observation_names: Sequence[str] | None = None,
) -> Figure:
    """Probability of each action over training, one panel for each observation.

    A policy stays as it is between two updates, so each run's last recorded
    probabilities hold until its next ones; the runs are averaged at every time at
    which one of them changed, as far as the shortest run goes.

    Args:
        records: One record for each run, with probabilities [P, K, A].
        action_names: A names, for the legend.
        observation_names: K names, the titles of the panels; None numbers them.

    Returns:
        A figure with, for each action, the mean over the runs and a band of one
        standard deviation.

    Raises:
        ValueError: If there are no records, they have no probabilities or different
            numbers of them, no time in common, or the names are too few or too many.
    """
    n_observations, n_actions = check_probabilities(records)
    actions = resolve_names(action_names, n_actions, "action")
    titles = resolve_names(observation_names, n_observations, "observation")
    grid = common_grid([record.probability_timesteps for record in records])
    if len(grid) == 0:
        raise ValueError("the runs have no time in common: none overlaps all others")
    held = [
        hold(record.probability_timesteps, record.action_probabilities, grid)
        for record in records
    ]
    figure, panels = new_figure(2.2 + 3.2 * n_observations, 3.2, n_observations)
    for k, axes in enumerate(panels):
        for a, name in enumerate(actions):
            band = band_over_runs([run[:, k, a] for run in held], grid)
            draw_band(axes, band, a, name)
        axes.set_xlabel(_STEPS)
        count_axis(axes)
        if n_observations > 1 or observation_names is not None:
            axes.set_title(titles[k], fontsize="medium")
    panels[0].set_ylabel("Action probability")
    panels[0].set_ylim(-0.03, 1.03)
    legend_beside(figure, panels[0], runs_label(len(records)))
    return figure


def plot_rewards(
    records: Sequence[TrainingRecord], window: int | None = None
) -> Figure:
    """Reward of each step over training, mean and band of one standard deviation.

    Runs may be of unequal length: mean and band are over the runs still going.

    Args:
        records: One record for each run.
        window: Steps in the moving average that each run is smoothed with before
            the runs are compared; 1 leaves the rewards as they are; None is a
            fiftieth of the longest run.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no records, one has no steps, or ``window`` < 1.
    """
    check_records(records, "rewards", "was the Recorder given to learn()?")
    axis = max((record.reward_timesteps for record in records), key=len)
    window = max(1, len(axis) // 50) if window is None else window
    runs = [moving_average(record.rewards, window) for record in records]
    smoothed = f" (average of {window:,} steps)" if window > 1 else ""
    return _single_band(
        band_over_runs(runs, axis), len(records), _STEPS, f"Reward per step{smoothed}"
    )


def plot_total_rewards(records: Sequence[TrainingRecord]) -> Figure:
    """Sum of all rewards of each run, a dot each, with their mean and spread.

    Args:
        records: One record for each run. With parallel environments the sum is that
            of one environment on average.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no records or one has no steps.
    """
    check_records(records, "rewards", "was the Recorder given to learn()?")
    totals = np.array([record.rewards.sum() for record in records])
    runs = np.arange(1, len(totals) + 1)
    mean, sd = totals.mean(), totals.std()
    figure, (axes,) = new_figure(6.4, 3.4)
    axes.plot(runs, totals, "o", color=colour(0), ms=7, label="one run")
    axes.axhline(mean, color=colour(1), lw=1.5, label=f"mean {mean:,.4g}, sd {sd:,.3g}")
    axes.axhspan(mean - sd, mean + sd, color=colour(1), alpha=0.12, lw=0)
    axes.set_xlim(0.5, len(totals) + 0.5)
    count_axis(axes)
    axes.set_xlabel("Run")
    axes.set_ylabel("Total reward of the run")
    legend_beside(figure, axes)
    return figure


def plot_losses(records: Sequence[TrainingRecord], window: int = 1) -> Figure:
    """Policy loss of each update, mean and band of one standard deviation.

    Runs may be of unequal length: mean and band are over the runs still going.

    Args:
        records: One record for each run.
        window: Updates in the moving average; 1 leaves the losses as they are.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no records, one has no updates or no logged policy
            loss, or ``window`` < 1.
    """
    check_records(records, "policy_losses", "training ended before the first update")
    for run, record in enumerate(records):
        if np.isnan(record.policy_losses).any():
            raise ValueError(
                f"run {run} logged no policy loss (train/policy_loss or "
                "train/policy_gradient_loss) at some updates"
            )
    return _by_number(
        [r.policy_losses for r in records], window, "Update", "Policy loss"
    )


def plot_returns(records: Sequence[TrainingRecord], window: int = 1) -> Figure:
    """Return of each episode, mean and band of one standard deviation.

    Runs may be of unequal length: mean and band are over the runs still going.

    Args:
        records: One record for each run.
        window: Episodes in the moving average; 1 leaves the returns as they are.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no records, one has no finished episodes, or
            ``window`` < 1.
    """
    check_records(records, "episode_returns", _NO_EPISODES)
    returns = [record.episode_returns for record in records]
    return _by_number(returns, window, "Episode", "Episode return")


def plot_learning_curves(
    records: Mapping[str, Sequence[TrainingRecord]], window: int = 20
) -> Figure:
    """Episode return against environment steps, several algorithms together.

    Each run's returns are smoothed, then interpolated linearly onto the times at
    which any run of the same algorithm ended an episode, within the range that all
    of them cover: nothing is extrapolated.

    Args:
        records: For each algorithm, by name, one record for each run.
        window: Episodes in the moving average; 1 leaves the returns as they are.

    Returns:
        A figure with, for each algorithm, the mean over its runs and a band of one
        standard deviation.

    Raises:
        ValueError: If there are no algorithms, one has no records, a run has no
            finished episodes, the runs of an algorithm have no time in common, or
            ``window`` < 1.
    """
    if len(records) == 0:
        raise ValueError("at least one algorithm is needed, got an empty mapping")
    figure, (axes,) = new_figure(8.0, 3.8)
    for number, (name, runs) in enumerate(records.items()):
        check_records(runs, "episode_returns", _NO_EPISODES)
        label = f"{name} ({len(runs)} run{'s' if len(runs) > 1 else ''})"
        draw_band(axes, _learning_curve(name, runs, window), number, label)
    axes.set_xlabel(_STEPS)
    average = f" (average of {window} episodes)" if window > 1 else ""
    axes.set_ylabel(f"Episode return{average}")
    axes.set_xlim(left=0)
    count_axis(axes)
    # A single run has no band to explain.
    has_bands = any(len(runs) > 1 for runs in records.values())
    legend_beside(figure, axes, "mean ± 1 sd" if has_bands else None)
    return figure


def _learning_curve(name: str, runs: Sequence[TrainingRecord], window: int) -> Band:
    """Mean and spread of the returns of one algorithm over its environment steps."""
    curves = [
        mean_per_time(
            run.episode_timesteps, moving_average(run.episode_returns, window)
        )
        for run in runs
    ]
    grid = common_grid([times for times, _ in curves])
    if len(grid) == 0:
        raise ValueError(
            f"the runs of {name} have no time in common: none overlaps all others"
        )
    return band_over_runs([np.interp(grid, *curve) for curve in curves], grid)


def _by_number(
    runs: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    window: int,
    what: str,
    y_label: str,
) -> Figure:
    """Values of each update or episode, numbered from 1, smoothed."""
    smoothed = [moving_average(run, window) for run in runs]
    numbers = np.arange(1, max(len(run) for run in runs) + 1)
    average = f" (average of {window} {what.lower()}s)" if window > 1 else ""
    return _single_band(
        band_over_runs(smoothed, numbers), len(runs), what, y_label + average
    )


def _single_band(band: Band, n_runs: int, x_label: str, y_label: str) -> Figure:
    figure, (axes,) = new_figure(6.4, 3.4)
    draw_band(axes, band, 0, runs_label(n_runs))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    count_axis(axes)
    axes.legend(frameon=False, loc="best")
    return figure
