"""Recipes that show or check something: functions of a `DemoRequest`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.checkpoint.archive import versions
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import load_function
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import find_recipe
from pg_agents.experiments.run import NO_LIMIT, run_one, silence
from pg_agents.experiments.settings import RunConfig
from pg_agents.experiments.viewer import find_run


@dataclass(frozen=True)
class DemoRequest:
    """Argument of a recipe's `demo` function.

    Attributes:
        recipe: name of the recipe.
        out: the folder of all runs.
        seed: seed of everything random.
    """

    recipe: str
    out: Path
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Folder for the demo's files, which it creates."""
        path = self.out / self.recipe
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class DemoResult:
    """Outcome of a demo.

    Attributes:
        lines: what it found, to be printed and to be shown in the results page.
        passed: whether that is as it should be; None if it could not be checked here.
    """

    lines: tuple[str, ...]
    passed: bool | None = True


@dataclass(frozen=True)
class DemoRecord:
    """Outcome of a demo as stored in ``demo.json``, for the results page.

    Attributes:
        recipe: name of the recipe.
        seed: seed of the demo.
        lines: see `DemoResult`.
        passed: see `DemoResult`.
        wall_seconds: duration in seconds.
        versions: versions of Python and the libraries.
    """

    recipe: str
    seed: int
    lines: list[str]
    passed: bool | None
    wall_seconds: float
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Writes the record atomically."""
        content = json.dumps(asdict(self), indent=1) + "\n"
        write_whole(path, content.encode(), "json")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the record that `write` has written.

        Raises:
            ValueError: if the file is damaged, or is no record of a demo.
        """
        try:
            data: Any = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is truncated or damaged: {error}") from error
        if not isinstance(data, dict) or set(data) != {f.name for f in fields(cls)}:
            raise ValueError(f"{path} is no record of a demo")
        return cls(**data)


def run_demo(recipe: Recipe, out: Path, seed: int) -> DemoRecord:
    """Runs a recipe's demo, and stores its record as ``OUT/RECIPE/demo.json``.

    Raises:
        ValueError: if the recipe has no demo.
    """
    if recipe.demo is None:
        raise ValueError(f"recipe {recipe.name} has no demo: it is trained")
    request = DemoRequest(recipe.name, out, seed)
    began = time.monotonic()
    result: DemoResult = load_function(recipe.demo)(request)
    seconds = round(time.monotonic() - began, 1)
    record = DemoRecord(
        recipe.name, seed, list(result.lines), result.passed, seconds, versions()
    )
    record.write(request.folder / "demo.json")
    return record


def trained_config() -> RunConfig:
    """Returns the config of the demos' run: the fastest that solves CartPole."""
    return find_recipe("one-step-actor-critic").config("best")


def trained_run(request: DemoRequest) -> RunFolder:
    """Returns a finished run, and trains one if there is none."""
    config = trained_config()
    try:
        return find_run(config, request.out)
    except ValueError:
        print(f"There is no run of {config.name} in {request.out}: training one.")
        return run_one(config, request.seed, request.out)


def learn_until_stopped(
    model: BaseAlgorithm, callbacks: Sequence[BaseCallback]
) -> None:
    """Trains without SB3's log until a callback ends the training."""
    silence(model)
    model.learn(
        NO_LIMIT,
        list(callbacks),
        log_interval=None,  # type: ignore[arg-type]
        reset_num_timesteps=model.num_timesteps == 0,
    )
