"""Results of the runs of a recipe, compared with what is reported for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from pg_agents.analysis.run_data import RunGroup, read_run
from pg_agents.analysis.statistics import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
)
from pg_agents.analysis.summary import (
    n_solved,
    reached_criterion,
    solved_criterion,
    summarise,
)
from pg_agents.callbacks import RunningReward
from pg_agents.common.env_specs import registered_threshold
from pg_agents.experiments.folder import RunFolder, write_json
from pg_agents.experiments.recipe import Point, Recipe, Reported
from pg_agents.experiments.seeds import RunReport
from pg_agents.experiments.settings import RunConfig, group_name
from pg_agents.experiments.warm_start import read_stages

# The running reward of fewer episodes is mostly noise; `StopWhenSolved` uses the same.
_MIN_EPISODES = 20
# Monitor files round returns to six digits.
_ROUNDING = 1e-6
# Measured coverage in % of the 95 % interval, by number of seeds: see
# `pg_agents.analysis.bootstrap_interval`.
_COVERAGE = {3: 75, 5: 90, 10: 93, 20: 94}


@dataclass(frozen=True)
class Metric:
    """A number of each seed, compared with a reported one.

    Attributes:
        name: of the metric.
        values: of each seed.
        reported: the number to be reached; None if there is none.
        source: of the reported number.
    """

    name: str
    values: tuple[float, ...]
    reported: float | None = None
    source: str = "reported"

    @property
    def iqm(self) -> float:
        """Interquartile mean over the seeds."""
        return float(interquartile_mean(self.values))

    @property
    def interval(self) -> Interval:
        """The 95 % bootstrap interval of the interquartile mean."""
        return bootstrap_interval(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the interquartile mean is at least the reported number."""
        if self.reported is None:
            return None
        return self.iqm >= self.reported - _ROUNDING * max(1.0, abs(self.reported))

    def __str__(self) -> str:
        """Returns such as ``18.9 [17.2, 21.4]; reported 18.5: reached``."""
        text = f"{self.iqm:.4g}"
        if len(self.values) > 1:
            text += f" [{self.interval.low:.4g}, {self.interval.high:.4g}]"
        if self.reported is None:
            return text
        verdict = "reached" if self.reached else "**falls short**"
        if not self.reached and self.reported <= self.interval.high:
            verdict += " (within the interval)"
        return f"{text}; {self.source} {self.reported:g}: {verdict}"


@dataclass(frozen=True)
class RunsSummary:
    """The finished runs of a recipe's variant, as stored in `docs/results`.

    Every list has an entry for each seed.

    Attributes:
        recipe: name of the recipe.
        variant: of the recipe.
        settings: of the runs, as from `Settings.to_json`.
        seeds: of the runs.
        evaluation: mean return of each evaluation.
        p10: 10th percentile of the returns of each evaluation.
        points: the average training returns at the episodes that the recipe reports, by
            ``"EPISODE/WINDOW"``.
        running_reward: highest running reward of each training, from its 20th episode
            on; empty if the recipe reports none.
        solved: number of evaluations that reach Gymnasium's threshold; None without
            one.
        steps: of training.
        episodes: of training.
        wall_seconds: of training.
        versions: of Python and the libraries, in the first run.
        success: share of successful episodes by stage; empty for runs without stages.
    """

    recipe: str
    variant: str
    settings: dict[str, Any]
    seeds: list[int]
    evaluation: list[float]
    p10: list[float]
    points: dict[str, list[float]]
    running_reward: list[float]
    solved: int | None
    steps: list[int]
    episodes: list[int]
    wall_seconds: list[float]
    versions: dict[str, str]
    success: dict[str, list[float]] = field(default_factory=dict)

    def metrics(self, reported: Reported) -> list[Metric]:
        """Returns the metrics, those of training first."""
        # What is reported of a training holds for its own settings alone.
        is_notebook = self.variant == "notebook"
        metrics = []
        for point in reported.points:
            values = self.points.get(_key(point))
            if values:
                name = f"average of {point.window} at episode {point.episode}"
                value = point.value if is_notebook else None
                metrics.append(Metric(name, tuple(values), value))
        if self.running_reward:
            value = reported.running_reward if is_notebook else None
            values = self.running_reward
            metrics.append(Metric("highest running reward", tuple(values), value))
        for stage, values in self.success.items():
            name = f"success rate, {stage.replace('_', ' ')}"
            metrics.append(Metric(name, tuple(values)))
        if reported.solved is None:
            goal, source = reported.value, "reported"
        else:
            goal, source = reported.solved, "solved at"
        metrics.append(Metric("evaluation", tuple(self.evaluation), goal, source))
        if reported.tenth:
            metrics.append(Metric("10th percentile of its episodes", tuple(self.p10)))
        return metrics

    def write(self, folder: Path) -> Path:
        """Writes ``NAME.json`` atomically, and returns its path."""
        path = folder / f"{group_name(self.recipe, self.variant)}.json"
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file of `write`.

        Raises:
            ValueError: if it is damaged or not a summary.
        """
        try:
            found = cls(**json.loads(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path} is cut off or damaged: {error}") from error
        except TypeError as error:
            raise ValueError(f"{path} is not a summary of runs: {error}") from error
        lists: list[list[Any]] = [found.evaluation, found.p10, found.steps]
        lists += [found.episodes, found.wall_seconds]
        lists += [*found.points.values(), *found.success.values()]
        if {len(values) for values in lists} != {len(found.seeds)} or not found.seeds:
            raise ValueError(f"{path} must have an entry for each seed")
        return found


def summarise_runs(recipe: Recipe, folders: Sequence[RunFolder]) -> RunsSummary:
    """Returns the summary of finished runs.

    Args:
        recipe: chooses the metrics.
        folders: of at least one finished run, all with the same settings.

    Raises:
        DamagedRunError: (a ValueError) if a file is missing or damaged.
        ValueError: if there is no run, or the settings differ.
    """
    if not folders:
        raise ValueError("folders must hold at least one run, got none")
    config, reported = folders[0].config, recipe.reported
    for folder in folders:
        folder.check_is(config, folder.seed)
    runs = [read_run(folder.path) for folder in folders]
    scores = [run.score for run in runs]
    returns = [run.episodes.returns.tolist() for run in runs]
    shortest = min(map(len, returns))
    counts_episodes = config.settings.episodes is not None
    points, running_reward = {}, []
    for point in reported.points:
        if counts_episodes and point.episode <= shortest:
            window = slice(point.episode - point.window, point.episode)
            points[_key(point)] = [float(np.mean(of_run[window])) for of_run in returns]
    if reported.running_reward is not None and counts_episodes:
        if shortest >= _MIN_EPISODES:
            for of_run in returns:
                average = RunningReward()
                averages = [average.update(value) for value in of_run]
                running_reward.append(max(averages[_MIN_EPISODES - 1 :]))
    threshold = registered_threshold(config.settings.env_id)
    stages = [read_stages(folder.path) for folder in folders]
    shared = [name for name in stages[0] if all(name in found for found in stages)]
    return RunsSummary(
        recipe=config.recipe,
        variant=config.variant,
        settings=config.settings.to_json(),
        seeds=[folder.seed for folder in folders],
        evaluation=scores,
        p10=[float(np.percentile(run.evaluation.returns, 10)) for run in runs],
        points=points,
        running_reward=running_reward,
        solved=None if threshold is None else n_solved(scores, threshold),
        steps=[run.result.steps for run in runs],
        episodes=[run.result.episodes for run in runs],
        wall_seconds=[run.result.wall_seconds for run in runs],
        versions=json.loads((folders[0].path / "versions.json").read_bytes()),
        success={name: [s[name].success_rate for s in stages] for name in shared},
    )


def summary_text(
    recipe: Recipe, config: RunConfig, reports: Sequence[RunReport]
) -> str:
    """Returns the results of `run_seeds` in words.

    Args:
        recipe: with the reported results.
        config: that was run, including changed settings.
        reports: of the runs; failed ones are counted.
    """
    folders = [RunFolder(r.folder) for r in reports if r.result is not None]
    if folders:
        lines = _finished_lines(recipe, config, folders)
    else:
        lines = [f"{config.name}: no run has finished"]
    if recipe.reported != Reported():
        text = recipe.reported.text
        lines.append(f"for comparison, the source of this recipe reports: {text}")
    n_failed = len(reports) - len(folders)
    if n_failed:
        lines.append(f"{n_failed} of {len(reports)} runs failed")
    return "\n".join(lines)


def coverage(n_seeds: int) -> str:
    """Returns a remark on the coverage of the 95 % interval of so many seeds."""
    if n_seeds == 1:
        return ", so there is no interval"
    measured = max((n for n in _COVERAGE if n <= n_seeds), default=None)
    if measured is None:
        return "; with so few seeds a 95 % interval holds in less than 75 % of cases"
    held = _COVERAGE[measured]
    return f"; with so few seeds a 95 % interval holds in about {held} % of cases"


def _finished_lines(
    recipe: Recipe, config: RunConfig, folders: Sequence[RunFolder]
) -> list[str]:
    """Returns a line for each seed and metric, and how many runs solve the task."""
    lines = [f"{'seed':>6}  {'return':>18}  {'steps':>10}  {'episodes':>8}  {'s':>8}"]
    group = RunGroup(config.name, tuple(read_run(folder.path) for folder in folders))
    for run in group.runs:
        result = run.result
        score = f"{result.mean_return:.4g} ± {result.sd_return:.3g}"
        lines.append(
            f"{run.seed:>6}  {score:>18}  {result.steps:>10}  "
            f"{result.episodes:>8}  {result.wall_seconds:>8.1f}"
        )
    n = len(folders)
    seeds = "1 seed" if n == 1 else f"interquartile means over {n} seeds"
    lines += ["", f"{config.name}: {seeds}{coverage(n)}"]
    metrics = summarise_runs(recipe, folders).metrics(recipe.reported)
    width = max(len(metric.name) for metric in metrics)
    for metric in metrics:
        text = str(metric).replace("**", "")
        lines.append(f"  {metric.name.ljust(width)}  {text}")
    summary = summarise([group], group.threshold)[0]
    speed = summary.speed
    if speed is not None:
        lines += [
            f"  {summary.n_solved} of {n} {solved_criterion(speed)}",
            f"  {speed.n_reached} of {n} {reached_criterion(speed)}",
        ]
    return lines


def _key(point: Point) -> str:
    return f"{point.episode}/{point.window}"
