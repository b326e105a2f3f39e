"""Plots of what `Recorder` recorded: mean over runs, and the middle 80 % of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pg_agents.analysis.curves import (
    CurveBand,
    evenly_spaced,
    hold,
    mean_band,
    running_mean,
)
from pg_agents.analysis.plots.style import (
    best_line,
    colour,
    count_axis,
    draw_band,
    label_ends,
    legend_beside,
    new_figure,
    set_title,
)
from pg_agents.analysis.statistics import Floats
from pg_agents.callbacks.recorder import TrainingRecord

_STEPS = "Environment steps"
_NO_STEPS = "was the Recorder given to learn()?"
_NO_EPISODES = (
    "no episode ended, or the environment has no Monitor (VecMonitor) to report returns"
)


def plot_action_probabilities(
    records: Sequence[TrainingRecord],
    action_names: Sequence[str],
    observation_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plots the probability of each action over training, one panel per observation.

    The policy is constant between two updates, so each run's last recorded
    probabilities hold until its next ones. The runs are averaged at every time at which
    one of them changed, as far as all of them cover.

    Args:
        records: one for each run, with probabilities [P, K, A].
        action_names: A names, for the legend.
        observation_names: K names, the titles of the panels; None for numbers.
        title: such as algorithm and environment; the number of runs follows it.

    Raises:
        ValueError: if there are no records, they have no probabilities, of different
            shapes, or no time in common, or the number of names is wrong.
    """
    n_observations, n_actions = check_probabilities(records)
    actions = check_names(action_names, n_actions, "action")
    titles = check_names(observation_names, n_observations, "observation")
    grid = _common_times([record.probability_timesteps for record in records])
    if len(grid) == 0:
        raise ValueError("the runs have no time in common")
    held = np.stack(
        [
            hold(record.probability_timesteps, record.action_probabilities, grid)
            for record in records
        ]
    )
    width = 6.4 if n_observations == 1 else 0.8 + 2.9 * n_observations
    figure, panels = new_figure(width, 3.4, n_observations)
    for k, axes in enumerate(panels):
        for a, name in enumerate(actions):
            draw_band(axes, mean_band(grid, held[:, :, k, a]), a, name)
        axes.set_xlabel(_STEPS)
        count_axis(axes)
        if n_observations > 1 or observation_names is not None:
            axes.set_title(titles[k], fontsize="medium")
    panels[0].set_ylabel("Action probability")
    panels[0].set_ylim(-0.03, 1.03)
    for axes in panels:
        label_ends(axes, actions)
    note = "mean and middle 80 % of the runs" if len(records) > 1 else ""
    set_title(figure, title, len(records), note)
    return figure


def plot_rewards(
    records: Sequence[TrainingRecord],
    window: int | None = None,
    title: str | None = None,
    best: float | None = None,
) -> Figure:
    """Plots the reward of each step over training.

    Runs may be of unequal length: mean and band are over the runs still in progress.

    Args:
        records: one for each run.
        window: steps in the running mean that smooths each run; 1 for none; None for a
            fiftieth of the longest run.
        title: such as algorithm and environment; the number of runs follows it.
        best: the best possible mean reward of a step, drawn as a line.

    Raises:
        ValueError: if there are no records, one has no steps, or `window` < 1.
    """
    _check_records(records, "rewards", _NO_STEPS)
    times = max((record.reward_timesteps for record in records), key=len)
    window = max(1, len(times) // 50) if window is None else window
    smoothed = [running_mean(record.rewards, window, 1) for record in records]
    y_label = "Reward per step" + _smoothing_label(window, "steps")
    band = mean_band(times, smoothed)
    figure = _plot_band(band, len(records), _STEPS, y_label, best)
    set_title(figure, title, len(records))
    return figure


def plot_total_rewards(
    records: Sequence[TrainingRecord],
    title: str | None = None,
    best: float | None = None,
) -> Figure:
    """Plots the sum of all rewards of each run as a dot, with mean and spread.

    Args:
        records: one for each run. With parallel environments the sum is the average
            over environments.
        title: such as algorithm and environment; the number of runs follows it.
        best: the best possible total, drawn as a line.

    Raises:
        ValueError: if there are no records or one has no steps.
    """
    _check_records(records, "rewards", _NO_STEPS)
    totals = np.array([record.rewards.sum() for record in records])
    mean, sd = totals.mean(), totals.std()
    figure, (axes,) = new_figure(6.4, 3.4)
    numbers = np.arange(1, len(totals) + 1)
    size = 7 if len(totals) <= 20 else 5
    axes.plot(numbers, totals, "o", color=colour(0), ms=size, label="one run")
    axes.axhline(mean, color=colour(1), lw=1.5, label=f"mean {mean:,.4g}, sd {sd:,.3g}")
    low, high = np.quantile(totals, [0.1, 0.9])
    axes.axhspan(low, high, color=colour(1), alpha=0.12, lw=0, label="middle 80 %")
    if best is not None:
        best_line(axes, best)
    # With room for the whole of the first dot and the last one.
    margin = max(0.5, 0.02 * len(totals))
    axes.set_xlim(1 - margin, len(totals) + margin)
    axes.margins(y=0.1)
    count_axis(axes)
    axes.set_xlabel("Run")
    axes.set_ylabel("Total reward of the run")
    legend_beside(figure, axes)
    set_title(figure, title, len(records))
    return figure


def plot_losses(
    records: Sequence[TrainingRecord], window: int = 1, title: str | None = None
) -> Figure:
    """Plots the policy loss of each update, with a note that it need not fall.

    Only its gradient means something: each update has a loss of its own, whose value
    depends on the returns of its episodes.

    Runs may be of unequal length: mean and band are over the runs still in progress.

    Args:
        records: one for each run.
        window: updates in the running mean that smooths each run; 1 for none.
        title: such as algorithm and environment; the number of runs follows it.

    Raises:
        ValueError: if there are no records, one has no updates or no logged policy
            loss, or `window` < 1.
    """
    _check_records(records, "policy_losses", "training ended before the first update")
    for run, record in enumerate(records):
        if np.isnan(record.policy_losses).any():
            raise ValueError(
                f"run {run} logged no policy loss (train/policy_loss or "
                "train/policy_gradient_loss) at some updates"
            )
    losses = [record.policy_losses for record in records]
    figure = _plot_numbered(losses, window, "Update", "Policy loss")
    note = "(only its gradient is used: the value need not fall)"
    set_title(figure, title, len(records), note)
    return figure


def plot_returns(
    records: Sequence[TrainingRecord],
    window: int = 1,
    title: str | None = None,
    best: float | None = None,
) -> Figure:
    """Plots the return of each episode.

    Runs may be of unequal length: mean and band are over the runs still in progress.

    Args:
        records: one for each run.
        window: episodes in the running mean that smooths each run; 1 for none.
        title: such as algorithm and environment; the number of runs follows it.
        best: the best possible return, drawn as a line.

    Raises:
        ValueError: if there are no records, one has no finished episodes, or `window`
            < 1.
    """
    _check_records(records, "episode_returns", _NO_EPISODES)
    returns = [record.episode_returns for record in records]
    figure = _plot_numbered(returns, window, "Episode", "Episode return", best)
    set_title(figure, title, len(records))
    return figure


def plot_learning_curves(
    records: Mapping[str, Sequence[TrainingRecord]],
    window: int = 20,
    title: str | None = None,
    best: float | None = None,
) -> Figure:
    """Plots the episode return against environment steps, for several algorithms.

    Each run's returns are smoothed, then interpolated linearly onto the times at which
    any run of the same algorithm ended an episode, as far as all of them cover.

    Args:
        records: for each algorithm, by name, one record for each run.
        window: episodes in the running mean that smooths each run; 1 for none.
        title: such as the environment.
        best: the best possible return, drawn as a line.

    Raises:
        ValueError: if there are no algorithms, one has no records, a run has no
            finished episodes, the runs of an algorithm have no time in common, or
            `window` < 1.
    """
    if len(records) == 0:
        raise ValueError("at least one algorithm is needed, got an empty mapping")
    figure, (axes,) = new_figure(7.2, 4.2)
    for index, (name, runs) in enumerate(records.items()):
        _check_records(runs, "episode_returns", _NO_EPISODES)
        draw_band(axes, _learning_curve(name, runs, window), index, name)
    axes.set_xlabel(_STEPS)
    axes.set_ylabel("Episode return" + _smoothing_label(window, "episodes"))
    axes.set_xlim(left=0)
    count_axis(axes)
    if best is not None:
        best_line(axes, best)
    axes.set_ylim(axes.get_ylim())
    label_ends(axes, list(records))
    counts = sorted({len(runs) for runs in records.values()})
    note = ""
    if counts[-1] > 1:
        numbers = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        note = f"mean and middle 80 % of {numbers} runs each"
    if title or note:
        lines = [line for line in (title, note) if line]
        figure.suptitle("\n".join(lines), fontsize="medium")
    return figure


def check_probabilities(records: Sequence[TrainingRecord]) -> tuple[int, int]:
    """Returns the numbers of observations K and actions A of all runs.

    Raises:
        ValueError: if there are no records, one has no probabilities, or the runs
            differ in K or A.
    """
    hint = "record them with Recorder(observations=...)"
    _check_records(records, "action_probabilities", hint)
    shapes = [record.action_probabilities.shape[1:] for record in records]
    if len(set(shapes)) > 1:
        raise ValueError(
            "all runs must have the same observations and actions, got [K, A] of "
            f"{shapes}"
        )
    n_observations, n_actions = shapes[0]
    return n_observations, n_actions


def check_names(names: Sequence[str] | None, n: int, kind: str) -> Sequence[str]:
    """Returns n names, numbered ones if None are given.

    Args:
        names: for the actions or observations.
        n: how many are needed.
        kind: `"action"` or `"observation"`.

    Raises:
        ValueError: if their number is wrong.
    """
    if names is None:
        return [f"{kind} {number}" for number in range(n)]
    if isinstance(names, str) or len(names) != n:
        raise ValueError(
            f"{n} {kind} names are needed, one for each {kind} of the record, got "
            f"{names!r}"
        )
    return names


def _check_records(records: Sequence[TrainingRecord], field: str, hint: str) -> None:
    if len(records) == 0:
        raise ValueError("at least one TrainingRecord is needed, got an empty list")
    for run, record in enumerate(records):
        if getattr(record, field).size == 0:
            raise ValueError(f"run {run} has no {field}; {hint}")


def _learning_curve(
    name: str, runs: Sequence[TrainingRecord], window: int
) -> CurveBand:
    curves = []
    for run in runs:
        smoothed = running_mean(run.episode_returns, window, 1)
        # Episodes of parallel environments that end together are averaged.
        times, index, counts = np.unique(
            run.episode_timesteps, return_inverse=True, return_counts=True
        )
        curves.append((times, np.bincount(index, weights=smoothed) / counts))
    grid = _common_times([times for times, _ in curves])
    if len(grid) == 0:
        raise ValueError(f"the runs of {name} have no time in common")
    return mean_band(grid, [np.interp(grid, *curve) for curve in curves])


def _common_times(
    times: Sequence[NDArray[np.int64]], max_points: int = 500
) -> NDArray[np.int64]:
    """Returns the times of all runs within the range that every run covers, thinned."""
    start, end = max(t[0] for t in times), min(t[-1] for t in times)
    grid: NDArray[np.int64] = np.unique(np.concatenate(times))
    grid = grid[(grid >= start) & (grid <= end)]
    return grid[evenly_spaced(len(grid), max_points)]


def _plot_numbered(
    runs: Sequence[Floats],
    window: int,
    x_label: str,
    y_label: str,
    best: float | None = None,
) -> Figure:
    """Plots one value for each update or episode, numbered from 1, smoothed."""
    numbers = np.arange(1, max(len(run) for run in runs) + 1)
    band = mean_band(numbers, [running_mean(run, window, 1) for run in runs])
    y_label += _smoothing_label(window, f"{x_label.lower()}s")
    return _plot_band(band, len(runs), x_label, y_label, best)


def _plot_band(
    band: CurveBand, n_runs: int, x_label: str, y_label: str, best: float | None
) -> Figure:
    figure, (axes,) = new_figure(6.4, 3.4)
    draw_band(axes, band, 0, _band_label(n_runs))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    count_axis(axes)
    if best is not None:
        best_line(axes, best)
    axes.legend(frameon=False, loc="best")
    return figure


def _band_label(n_runs: int) -> str:
    return f"mean and middle 80 % of {n_runs} runs" if n_runs > 1 else "1 run"


def _smoothing_label(window: int, unit: str) -> str:
    return f" (average of {window:,} {unit})" if window > 1 else ""
