"""Runs read from their folders.

A run lies in `ROOT/RECIPE[-VARIANT]/seed-0007/`, with `config.json`, `monitor.csv` (in
Stable-Baselines3's format), `evaluation.json` and, once it is finished, `result.json`.
A group is the folder above, with the runs of all seeds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pg_agents.analysis.monitor import (
    Episodes,
    UnreadableRunError,
    read_monitor,
    read_text,
)
from pg_agents.analysis.scores import Floats


class UnfinishedRunError(UnreadableRunError):
    """A run's folder without a result: it was cut off, or still goes on."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        recipe: what was run.
        variant: of the recipe; empty if it has none.
        seed: of the run.
        env_id: of the environment; empty if the config names none.
        threshold: return at which the task counts as solved, if the config has one.
        episodes: of training.
        evaluation: float64 [n], the return of each evaluation episode.
        timesteps: environment steps of training.
    """

    path: Path
    recipe: str
    variant: str
    seed: int
    env_id: str
    threshold: float | None
    episodes: Episodes
    evaluation: Floats
    timesteps: int

    @property
    def score(self) -> float:
        """Mean return of the evaluation."""
        return float(self.evaluation.mean())


@dataclass(frozen=True)
class RunGroup:
    """The finished runs of one recipe and variant.

    Attributes:
        name: of the folder.
        runs: in the order of their seeds, at least one.
        left_out: folders that are not among them, and why.
    """

    name: str
    runs: tuple[Run, ...]
    left_out: tuple[tuple[Path, str], ...] = field(default=())

    @property
    def scores(self) -> Floats:
        """Mean evaluation return of each run, float64 [runs]."""
        return np.array([run.score for run in self.runs])

    @property
    def threshold(self) -> float | None:
        """The threshold that all runs name; None if there is none, or several."""
        named = {run.threshold for run in self.runs}
        return named.pop() if len(named) == 1 else None


def read_groups(folders: Sequence[str | Path]) -> list[RunGroup]:
    """Reads groups of runs.

    Args:
        folders: each a group (a folder with `seed-...` in it) or a folder of groups.

    Returns:
        The groups, in the order given; those of one folder by name. Each says what was
        left out: unfinished and damaged runs.

    Raises:
        ValueError: if there is no such folder, it has no runs, none of a group's runs
            is finished, a group mixes recipes, or a group is given twice.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        groups = (
            [folder]
            if _seeds(folder)
            else sorted(
                (p for p in folder.iterdir() if p.is_dir() and _seeds(p)),
                key=_natural,
            )
        )
        if not groups:
            raise ValueError(
                f"{folder} has no runs: folders seed-0000, seed-0001 and so on are "
                "expected in it, or in its folders"
            )
        found += groups
    # The same runs twice would be compared with themselves.
    paths = [path.resolve() for path in found]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"the folder {found[number]} is given twice")
    return _named_apart([read_group(path) for path in found], found)


def read_group(folder: str | Path) -> RunGroup:
    """Reads the finished runs of one recipe and variant.

    Args:
        folder: with `seed-...` in it.

    Returns:
        The runs, and what was left out of them.

    Raises:
        ValueError: if no run is finished and whole, or recipes are mixed.
    """
    folder = Path(folder)
    runs, left_out = [], []
    for path in _seeds(folder):
        try:
            runs.append(read_run(path))
        except UnreadableRunError as error:
            left_out.append((path, str(error)))
    if not runs:
        reasons = "; ".join(reason for _, reason in left_out) or "there are no runs"
        raise ValueError(f"no run in {folder} can be read: {reasons}")
    kinds = sorted({(run.recipe, run.variant) for run in runs})
    if len(kinds) > 1:
        raise ValueError(
            f"{folder} mixes runs of {_kind(*kinds[0])} and {_kind(*kinds[1])}; "
            "a folder may hold those of one alone"
        )
    runs.sort(key=lambda run: run.seed)
    for one, other in pairwise(runs):
        if one.seed == other.seed:
            raise ValueError(
                f"{one.path} and {other.path} both are seed {one.seed}: a run counts "
                "once"
            )
    return RunGroup(folder.resolve().name, tuple(runs), tuple(left_out))


def read_run(path: str | Path) -> Run:
    """Reads the folder of one finished run.

    Args:
        path: the folder.

    Returns:
        The run.

    Raises:
        UnfinishedRunError: if it has no `result.json`.
        UnreadableRunError: if a file is missing, cut off or holds something else.
    """
    path = Path(path)
    if not (path / "result.json").is_file():
        raise UnfinishedRunError(
            f"{path} is unfinished: it has no result.json; run the recipe again to go "
            "on"
        )
    result, config = _json(path / "result.json"), _json(path / "config.json")
    variant = config.get("variant")
    threshold = config.get("threshold")
    if threshold is not None:
        threshold = _number(path / "config.json", "threshold", threshold)
    return Run(
        path,
        _recipe(path / "config.json", config),
        "" if variant is None else str(variant),
        _integer(path / "config.json", config, "seed"),
        _env_id(config),
        threshold,
        read_monitor(path / "monitor.csv"),
        _evaluation(path / "evaluation.json"),
        _integer(
            path / "result.json", result, "steps" if "steps" in result else "timesteps"
        ),
    )


def _evaluation(path: Path) -> Floats:
    returns = _json(path).get("returns")
    if not isinstance(returns, list) or not returns:
        raise UnreadableRunError(f"{path} must hold a list of returns, got {returns!r}")
    return np.array([_number(path, "returns", value) for value in returns])


def _recipe(path: Path, config: dict[str, Any]) -> str:
    """The recipe's name, which stands alone or in the recipe itself."""
    recipe = config.get("recipe")
    name = recipe.get("name") if isinstance(recipe, dict) else recipe
    if not isinstance(name, str) or not name:
        raise UnreadableRunError(f"{path} must name a recipe, got {name!r}")
    return name


def _env_id(config: dict[str, Any]) -> str:
    settings = config.get("settings")
    found = settings.get("env_id") if isinstance(settings, dict) else None
    return found if isinstance(found, str) else ""


def _integer(path: Path, content: dict[str, Any], key: str) -> int:
    value = content.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UnreadableRunError(
            f"{path}: {key} must be an integer >= 0, got {value!r}"
        )
    return value


def _number(path: Path, key: str, value: object) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value):  # type: ignore[arg-type]
        raise UnreadableRunError(f"{path}: {key} must be finite numbers, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UnreadableRunError(f"{path} is no whole JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnreadableRunError(f"{path} must hold a JSON object, got {content!r}")
    return content


def _seeds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("seed-*") if path.is_dir())


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts 1x64 before 1x256."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part) if part.isdigit() else 0, part) for part in parts]


def _kind(recipe: str, variant: str) -> str:
    return f"{recipe} ({variant})" if variant else recipe


def _named_apart(groups: list[RunGroup], paths: list[Path]) -> list[RunGroup]:
    """Names that differ: of two folders of one name, with the folder above."""
    names = [group.name for group in groups]
    return [
        RunGroup(f"{path.resolve().parent.name}/{g.name}", g.runs, g.left_out)
        if names.count(g.name) > 1
        else g
        for g, path in zip(groups, paths, strict=True)
    ]
