"""The runs of a recipe in a small file, and the figures that they amount to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np

from pg_agents.callbacks import RunningReward
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.recipe import Point, Recipe, Reported
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.files import write_whole
from pg_agents.statistics import (
    Interval,
    interquartile_mean,
    stratified_bootstrap_interval,
)

# Before, the running reward says little: as `StopWhenSolved` has it.
_MIN_EPISODES = 20
# Monitor files round returns to six digits.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Figure:
    """One figure of several seeds, beside the notebook's.

    Attributes:
        what: which figure, in words.
        values: of each seed.
        reported: the notebook's; None where it has none.
    """

    what: str
    values: tuple[float, ...]
    reported: float | None = None

    @property
    def iqm(self) -> float:
        """Interquartile mean over the seeds."""
        return float(interquartile_mean(np.array(self.values)))

    @property
    def interval(self) -> Interval:
        """The 95 % bootstrap interval of the interquartile mean."""
        return stratified_bootstrap_interval(np.array(self.values))

    @property
    def reached(self) -> bool | None:
        """Whether the interquartile mean is at least the notebook's figure."""
        if self.reported is None:
            return None
        return self.iqm >= self.reported - _ROUNDING * max(1.0, abs(self.reported))

    def __str__(self) -> str:
        """Returns such as ``18.9 [17.2, 21.4]; notebook 18.5: reached``."""
        said = f"{self.iqm:.4g}"
        if len(self.values) > 1:
            said += f" [{self.interval.low:.4g}, {self.interval.high:.4g}]"
        if self.reported is None:
            return said
        verdict = "reached" if self.reached else "**falls short**"
        if not self.reached and self.reported <= self.interval.high:
            verdict += " (within the interval)"
        return f"{said}; notebook {self.reported:g}: {verdict}"


@dataclass(frozen=True)
class RunsSummary:
    """The finished runs of a recipe's variant: all that the results page needs.

    Every list has an entry for each seed.

    Attributes:
        recipe: name of the recipe.
        variant: of it.
        settings: of the runs, as `Settings.to_json` has them.
        seeds: which were run.
        evaluation: mean return of each evaluation.
        tenth: 10th percentile of the returns in it.
        points: the averages of training at the episodes that the recipe reports, by
            ``"EPISODE/WINDOW"``.
        running_reward: the highest of each training, from its 20th episode on; empty
            where the recipe reports none.
        solved: evaluations that reach Gymnasium's threshold; None without one.
        steps: of training.
        episodes: of training.
        wall_seconds: of training.
        versions: of Python and the libraries, in the first run.
    """

    recipe: str
    variant: str
    settings: dict[str, Any]
    seeds: list[int]
    evaluation: list[float]
    tenth: list[float]
    points: dict[str, list[float]]
    running_reward: list[float]
    solved: int | None
    steps: list[int]
    episodes: list[int]
    wall_seconds: list[float]
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """As the folder of the runs is named."""
        settings = Settings.from_json(self.settings)
        return RunConfig(self.recipe, self.variant, settings).name

    def figures(self, reported: Reported) -> list[Figure]:
        """Returns the figures, those on the way first."""
        notebook = self.variant == "notebook"
        found = []
        for point in reported.points:
            values = self.points.get(_key(point))
            if values:
                what = f"average of {point.window} at episode {point.episode}"
                found.append(Figure(what, tuple(values), point.value))
        if self.running_reward:
            what = "highest running reward"
            values = self.running_reward
            found.append(Figure(what, tuple(values), reported.running_reward))
        # Ours may be evaluated in an environment with another cap.
        value = reported.value if notebook else None
        found.append(Figure("evaluation", tuple(self.evaluation), value))
        if reported.tenth:
            what = "10th percentile of its episodes"
            found.append(Figure(what, tuple(self.tenth)))
        return found

    def write(self, folder: Path) -> Path:
        """Writes ``NAME.json``, whole or not at all, and returns its path."""
        path = folder / f"{self.name}.json"
        content = json.dumps(asdict(self), indent=1) + "\n"
        write_whole(path, content.encode(), "json")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns what `write` has written.

        Raises:
            ValueError: if the file is damaged, or is none of these.
        """
        try:
            data = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is cut off or damaged: {error}") from error
        known = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or set(data) != known:
            raise ValueError(f"{path} is no summary of runs")
        found = cls(**data)
        lists: list[list[Any]] = [
            found.evaluation,
            found.tenth,
            found.steps,
            found.episodes,
            found.wall_seconds,
            *found.points.values(),
        ]
        lengths = {len(each) for each in lists}
        if lengths != {len(found.seeds)} or not found.seeds:
            raise ValueError(f"{path} must have an entry for each seed")
        return found


def summarise_runs(recipe: Recipe, folders: Sequence[RunFolder]) -> RunsSummary:
    """Returns the summary of finished runs.

    Args:
        recipe: whose figures are taken.
        folders: of at least one finished run, all with the same settings.

    Raises:
        DamagedRunError: (a ValueError) if a file is missing or damaged.
        ValueError: if there is no run, or the settings differ.
    """
    if not folders:
        raise ValueError("folders must hold at least one run, got none")
    config = folders[0].config
    for folder in folders:
        folder.check_is(config, folder.seed)
    results = [folder.result() for folder in folders]
    returns = [[e.episode_return for e in folder.episodes()] for folder in folders]
    settings = config.settings
    means = [result.mean_return for result in results]
    threshold = gymnasium.spec(settings.env_id).reward_threshold
    return RunsSummary(
        recipe=config.recipe,
        variant=config.variant,
        settings=settings.to_json(),
        seeds=[folder.seed for folder in folders],
        evaluation=means,
        tenth=[float(np.percentile(f.evaluation().returns, 10)) for f in folders],
        points=_points(recipe.reported, settings, returns),
        running_reward=_highest(recipe.reported, settings, returns),
        solved=None if threshold is None else sum(m >= threshold for m in means),
        steps=[result.steps for result in results],
        episodes=[result.episodes for result in results],
        wall_seconds=[result.wall_seconds for result in results],
        versions=_versions(folders[0]),
    )


def _points(
    reported: Reported, settings: Settings, returns: Sequence[Sequence[float]]
) -> dict[str, list[float]]:
    """Averages at an episode, where episodes are counted as the notebooks do."""
    if settings.episodes is None:
        return {}
    found = {}
    for point in reported.points:
        if all(len(each) >= point.episode for each in returns):
            start = point.episode - point.window
            found[_key(point)] = [
                float(np.mean(each[start : point.episode])) for each in returns
            ]
    return found


def _highest(
    reported: Reported, settings: Settings, returns: Sequence[Sequence[float]]
) -> list[float]:
    if reported.running_reward is None or settings.episodes is None:
        return []
    if any(len(each) < _MIN_EPISODES for each in returns):
        return []
    found = []
    for each in returns:
        average = RunningReward()
        course = [average.update(value) for value in each]
        found.append(max(course[_MIN_EPISODES - 1 :]))
    return found


def _key(point: Point) -> str:
    return f"{point.episode}/{point.window}"


def _versions(folder: RunFolder) -> dict[str, str]:
    found: Mapping[str, Any] = json.loads((folder.path / "versions.json").read_bytes())
    return {name: str(version) for name, version in found.items()}
