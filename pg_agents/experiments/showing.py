"""Rows that are shown or checked, where others are trained over seeds."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from pg_agents.checkpoint.archive import versions
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import load_hook
from pg_agents.experiments.recipe import Recipe


@dataclass(frozen=True)
class ShowRequest:
    """What a recipe's `show` is given.

    Attributes:
        recipe: name of the recipe.
        out: the folder of all runs, where it may look for trained ones.
        seed: of whatever is drawn.
    """

    recipe: str
    out: Path
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Where it writes; it exists."""
        path = self.out / self.recipe
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Shown:
    """What a recipe's `show` returns.

    Attributes:
        lines: what came of it, to be printed and to stand in the results page.
        passed: whether that is right; None if it could not be found out here.
    """

    lines: tuple[str, ...]
    passed: bool | None = True


@dataclass(frozen=True)
class ShownRecord:
    """A show on file, for the results page.

    Attributes:
        recipe: its name.
        seed: what it was run with.
        lines: see `Shown`.
        passed: see `Shown`.
        wall_seconds: that it took.
        versions: of Python and the libraries.
    """

    recipe: str
    seed: int
    lines: list[str]
    passed: bool | None
    wall_seconds: float
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Writes the record, whole or not at all."""
        content = json.dumps(asdict(self), indent=1) + "\n"
        write_whole(path, content.encode(), "json")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns what `write` has written.

        Raises:
            ValueError: if the file is damaged, or is none of these.
        """
        try:
            data: Any = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is cut off or damaged: {error}") from error
        known = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or set(data) != known:
            raise ValueError(f"{path} is no record of a show")
        return cls(**data)


def show(recipe: Recipe, out: Path, seed: int) -> ShownRecord:
    """Runs a recipe's show, and keeps its record as ``OUT/RECIPE/shown.json``.

    Raises:
        ValueError: if the recipe has none.
    """
    if recipe.show is None:
        raise ValueError(f"recipe {recipe.name} has no show: it is trained")
    request = ShowRequest(recipe.name, out, seed)
    began = time.monotonic()
    shown: Shown = load_hook(recipe.show)(request)
    seconds = round(time.monotonic() - began, 1)
    record = ShownRecord(
        recipe.name, seed, list(shown.lines), shown.passed, seconds, versions()
    )
    record.write(request.folder / "shown.json")
    return record
