"""Read the folders that `pgtoy run` writes.

The folder of a run is `ROOT/RECIPE[-VARIANT]/seed-0007`. It holds `config.json`,
`monitor.csv` and `evaluation.json` and, once the run is finished, `result.json`. The
folder above is a group: the runs of all seeds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pg_agents.analysis.monitor import (
    Episode,
    Episodes,
    MonitorFileError,
    read_rows,
)
from pg_agents.analysis.statistics import Floats


class DamagedRunError(ValueError):
    """A file of a run is missing, cut off, damaged or edited.

    Args:
        path: the file.
        problem: the rest of the message, following the path.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} {problem}; delete the folder {path.parent} and run it again"
        )
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type[DamagedRunError], tuple[Path, str]]:
        """Pickles the arguments, for errors raised in worker processes."""
        return type(self), (self.path, self.problem)


class UnfinishedRunError(ValueError):
    """A run has no result yet: it was interrupted, or is in progress."""


@dataclass(frozen=True)
class Result:
    """The summary of a finished run.

    Attributes:
        mean_return: mean return of the evaluation episodes.
        sd_return: their standard deviation (dividing by their number).
        n_episodes: number of evaluation episodes.
        steps: training steps, summed over environments.
        episodes: number of training episodes.
        wall_seconds: duration of training, without pauses and evaluation.
        finished_at: UTC date and time in ISO 8601.
        resumed_at: steps at which training was resumed.
    """

    mean_return: float
    sd_return: float
    n_episodes: int
    steps: int
    episodes: int
    wall_seconds: float
    finished_at: str
    resumed_at: tuple[int, ...]


@dataclass(frozen=True)
class EvaluationRecord:
    """The episodes of an evaluation.

    Attributes:
        seed: of the environments and the actions.
        returns: undiscounted return of each episode.
        lengths: of each episode, in steps.
    """

    seed: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        recipe: name of the recipe.
        variant: of the recipe.
        seed: of the run.
        env_id: of the environment.
        result: the summary.
        evaluation: the evaluation's episodes.
        episodes: the training episodes.
    """

    path: Path
    recipe: str
    variant: str
    seed: int
    env_id: str
    result: Result
    evaluation: EvaluationRecord
    episodes: Episodes

    @property
    def score(self) -> float:
        """Mean return of the evaluation."""
        return float(np.mean(self.evaluation.returns))


@dataclass(frozen=True)
class RunGroup:
    """The finished runs of one recipe and variant.

    Attributes:
        name: of the folder.
        runs: at least one, ordered by seed.
        skipped: folders of unfinished and damaged runs, with the reason.
    """

    name: str
    runs: tuple[Run, ...]
    skipped: tuple[tuple[Path, str], ...] = ()

    @property
    def scores(self) -> Floats:
        """Mean evaluation return of each run, float64 [runs]."""
        return np.array([run.score for run in self.runs])

    @property
    def threshold(self) -> float | None:
        """Gymnasium's `reward_threshold` of the environment.

        None if it has none, is not registered here, or differs among the runs.
        """
        import gymnasium

        import pg_envs  # noqa: F401 - registers PGToy-*
        from pg_agents.common.env_specs import registered_threshold

        try:
            found = {registered_threshold(run.env_id) for run in self.runs}
        except (gymnasium.error.Error, ImportError):
            return None
        return found.pop() if len(found) == 1 else None


def read_groups(folders: Sequence[str | Path]) -> list[RunGroup]:
    """Reads groups of runs.

    Args:
        folders: each either a group or a folder of groups.

    Returns:
        The groups in the order given; those of one folder ordered by name.

    Raises:
        ValueError: if a folder does not exist or has no runs, a group is given twice,
            or `read_group` rejects it.
    """
    paths: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        groups = [folder]
        if not _seed_folders(folder):
            subfolders = (path for path in folder.iterdir() if path.is_dir())
            groups = sorted(filter(_seed_folders, subfolders), key=_natural_order)
        if not groups:
            raise ValueError(
                f"{folder} has no runs: folders seed-0000, seed-0001 and so on are "
                "expected in it, or in its folders"
            )
        paths += groups
    resolved = [path.resolve() for path in paths]
    for i, path in enumerate(resolved):
        if path in resolved[:i]:
            raise ValueError(f"the folder {paths[i]} is given twice")
    found = [read_group(path) for path in paths]
    names = [group.name for group in found]
    # Groups of the same name get the name of the folder above, too.
    return [
        replace(group, name=f"{path.parent.name}/{group.name}")
        if names.count(group.name) > 1
        else group
        for group, path in zip(found, resolved, strict=True)
    ]


def read_group(folder: str | Path) -> RunGroup:
    """Reads the finished runs in a folder with `seed-...` in it.

    Raises:
        ValueError: if no run is finished and undamaged, two have the same seed, or
            recipes or variants are mixed.
    """
    folder = Path(folder)
    runs, skipped = [], []
    for path in _seed_folders(folder):
        try:
            runs.append(read_run(path))
        except (DamagedRunError, UnfinishedRunError) as error:
            skipped.append((path, str(error)))
    if not runs:
        reasons = "; ".join(reason for _, reason in skipped) or "there are no runs"
        raise ValueError(f"no run in {folder} can be read: {reasons}")
    kinds = sorted({(run.recipe, run.variant) for run in runs})
    if len(kinds) > 1:
        raise ValueError(
            f"{folder} mixes runs of {' '.join(kinds[0])} and {' '.join(kinds[1])}; "
            "all runs in a folder must have the same recipe and variant"
        )
    runs.sort(key=lambda run: run.seed)
    for one, other in pairwise(runs):
        if one.seed == other.seed:
            raise ValueError(f"{one.path} and {other.path} both have seed {one.seed}")
    return RunGroup(folder.resolve().name, tuple(runs), tuple(skipped))


def read_run(folder: str | Path) -> Run:
    """Reads the folder of one finished run, without its model.

    Raises:
        UnfinishedRunError: (a ValueError) if there is no `result.json`.
        DamagedRunError: (a ValueError) if a file is missing, cut off or edited.
    """
    folder = Path(folder)
    if not (folder / "result.json").is_file():
        raise UnfinishedRunError(
            f"{folder} is unfinished: it has no result.json; run the recipe again to "
            "finish it"
        )
    config = read_config(folder)
    result, evaluation = read_result(folder), read_evaluation(folder)
    episodes = Episodes.from_rows(read_episodes(folder / "monitor.csv"))
    for name, found, expected in (
        ("evaluation.json", len(evaluation.returns), result.n_episodes),
        ("monitor.csv", len(episodes.returns), result.episodes),
    ):
        if found != expected:
            raise DamagedRunError(
                folder / name,
                f"has {found} episodes, and result.json counts {expected}",
            )
    return Run(
        folder,
        config["recipe"],
        config["variant"],
        config["seed"],
        config["settings"]["env_id"],
        result,
        evaluation,
        episodes,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Reads `config.json`: format, recipe, variant, seed and settings.

    Raises:
        DamagedRunError: (a ValueError) if it is missing or damaged.
    """
    config = _read_json(folder / "config.json")
    settings = config.get("settings")
    env_id = settings.get("env_id") if isinstance(settings, dict) else None
    for name, value, expected in (
        ("format", config.get("format"), int),
        ("recipe", config.get("recipe"), str),
        ("variant", config.get("variant"), str),
        ("seed", config.get("seed"), int),
        ("env_id", env_id, str),
    ):
        if not isinstance(value, expected) or isinstance(value, bool):
            raise DamagedRunError(
                folder / "config.json",
                f"is not the config of a run: {name} is {value!r}",
            )
    return config


def read_result(folder: Path) -> Result:
    """Reads `result.json`.

    Raises:
        DamagedRunError: (a ValueError) if it is missing or damaged.
    """
    path = folder / "result.json"
    data = _read_json(path, Result)
    resumed_at = data["resumed_at"]
    counts = [data["n_episodes"], data["steps"], data["episodes"]]
    numbers = [data["mean_return"], data["sd_return"], data["wall_seconds"], *counts]
    if not isinstance(resumed_at, list) or not _are_finite([*numbers, *resumed_at]):
        raise DamagedRunError(path, "must hold finite numbers")
    return Result(**{**data, "resumed_at": tuple(resumed_at)})


def read_evaluation(folder: Path) -> EvaluationRecord:
    """Reads `evaluation.json`.

    Raises:
        DamagedRunError: (a ValueError) if it is missing or damaged.
    """
    path = folder / "evaluation.json"
    data = _read_json(path, EvaluationRecord)
    returns, lengths = data["returns"], data["lengths"]
    lists = isinstance(returns, list) and isinstance(lengths, list)
    if not lists or not returns or len(returns) != len(lengths):
        raise DamagedRunError(path, "must hold the return and length of each episode")
    if not _are_finite([*returns, *lengths]):
        raise DamagedRunError(path, "must hold finite numbers")
    return EvaluationRecord(data["seed"], tuple(returns), tuple(lengths))


def read_episodes(path: Path, *, until_damage: bool = False) -> list[Episode]:
    """Reads `monitor.csv` as `read_rows` does.

    Raises:
        DamagedRunError: (a ValueError) if it is missing or damaged.
    """
    try:
        return read_rows(path, until_damage=until_damage)
    except MonitorFileError as error:
        raise DamagedRunError(path, error.problem) from error


def _read_json(path: Path, type_: type | None = None) -> dict[str, Any]:
    """Reads a JSON object, with the fields of a dataclass if one is given."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedRunError(path, "is missing") from None
    except (OSError, ValueError) as error:
        raise DamagedRunError(path, f"is cut off or damaged ({error})") from error
    if not isinstance(data, dict):
        raise DamagedRunError(path, f"must hold a JSON object, got {data!r}")
    if type_ is not None:
        expected = [field.name for field in fields(type_)]
        if set(data) != set(expected):
            raise DamagedRunError(
                path, f"must have the entries {', '.join(expected)}, got {list(data)}"
            )
    return data


def _are_finite(values: Sequence[object]) -> bool:
    return all(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        for value in values
    )


def _seed_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("seed-*") if path.is_dir())


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts 1x64 before 1x256."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part) if part.isdigit() else 0, part) for part in parts]
