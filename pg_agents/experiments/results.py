"""The runs of a recipe in a small file, and the figures that they amount to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from pg_agents.callbacks import RunningReward
from pg_agents.common.env_specs import registered_threshold
from pg_agents.common.files import write_whole
from pg_agents.experiments.figure import Figure
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.recipe import Point, Recipe, Reported
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.experiments.stages import read_stages

# Before, the running reward says little: as `StopWhenSolved` has it.
_MIN_EPISODES = 20


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
        success: share of episodes that reach the goal, by stage of the run; empty for
            runs without stages.
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
    success: dict[str, list[float]] = field(default_factory=dict)

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
                theirs = point.value if notebook else None
                found.append(Figure(what, tuple(values), theirs))
        if self.running_reward:
            theirs = reported.running_reward if notebook else None
            values = self.running_reward
            found.append(Figure("highest running reward", tuple(values), theirs))
        for stage, values in self.success.items():
            what = f"success rate, {stage.replace('_', ' ')}"
            found.append(Figure(what, tuple(values)))
        evaluation = Figure("evaluation", tuple(self.evaluation), reported.value)
        if reported.solved is not None:
            evaluation = replace(evaluation, reported=reported.solved, by="solved at")
        found.append(evaluation)
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
        # Runs without stages are older than the entry for them.
        if not isinstance(data, dict) or set(data) | {"success"} != known:
            raise ValueError(f"{path} is no summary of runs")
        found = cls(**data)
        lists: list[list[Any]] = [
            found.evaluation,
            found.tenth,
            found.steps,
            found.episodes,
            found.wall_seconds,
            *found.points.values(),
            *found.success.values(),
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
    threshold = registered_threshold(settings.env_id)
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
        success=_success(folders),
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


def _success(folders: Sequence[RunFolder]) -> dict[str, list[float]]:
    """Success rates by stage, of the stages that every run has."""
    stages = [read_stages(folder.path) for folder in folders]
    names = [name for name in stages[0] if all(name in each for each in stages)]
    return {name: [each[name].success_rate for each in stages] for name in names}


def _key(point: Point) -> str:
    return f"{point.episode}/{point.window}"


def _versions(folder: RunFolder) -> dict[str, str]:
    found: Mapping[str, Any] = json.loads((folder.path / "versions.json").read_bytes())
    return {name: str(version) for name, version in found.items()}
