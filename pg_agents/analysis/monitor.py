"""Read the episodes of training from monitor files of Stable-Baselines3.

SB3's own reader needs pandas, and counts a line that was cut off as an episode.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_agents.analysis.statistics import Floats
from pg_agents.common.checks import check_choice

Unit = Literal["steps", "episodes", "seconds"]
UNITS: tuple[Unit, ...] = ("steps", "episodes", "seconds")
# `pgtoy run` writes the columns of SB3's Monitor and two more.
COLUMNS = ("r", "l", "t", "steps", "episode")
# Room for two rows: each has five numbers of about twenty characters at most.
_TAIL_BYTES = 400


class MonitorFileError(ValueError):
    """A monitor file is missing or damaged.

    Args:
        path: the file.
        problem: the rest of the message, following the path.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path, self.problem = path, problem


class Episode(NamedTuple):
    """One row of a monitor file.

    Attributes:
        episode_return: undiscounted.
        length: in steps.
        seconds: wall-clock time since training started; `pgtoy run` leaves out pauses.
        steps: environment steps taken so far, summed over environments.
        number: counted from 1.
    """

    episode_return: float
    length: int
    seconds: float
    steps: int
    number: int


class Episodes(NamedTuple):
    """The episodes of training, in the order in which they ended.

    Attributes:
        returns: float64 [E], undiscounted.
        lengths: int64 [E], in steps.
        seconds: float64 [E], wall-clock time at the end of each. Where the clock of the
            file restarts, after a resumed training, the parts are joined without the
            pause between them.
        steps: int64 [E], environment steps taken at the end of each.
    """

    returns: Floats
    lengths: NDArray[np.int64]
    seconds: Floats
    steps: NDArray[np.int64]

    @classmethod
    def from_rows(cls, rows: Sequence[Episode]) -> Episodes:
        """Returns the columns of the rows of a monitor file."""
        table = np.array(rows, dtype=np.float64).reshape(-1, len(Episode._fields))
        returns, lengths, seconds, steps, _ = table.T
        # Training was resumed where time goes backwards.
        restarted = np.diff(seconds, prepend=0.0) < 0
        before = np.where(restarted, np.concatenate([[0.0], seconds[:-1]]), 0.0)
        return cls(
            returns,
            lengths.astype(np.int64),
            seconds + np.cumsum(before),
            steps.astype(np.int64),
        )

    def ends(self, unit: Unit) -> Floats:
        """Returns when each episode ended, float64 [E], in the given unit.

        Raises:
            ValueError: if `unit` is not one of `UNITS`.
        """
        check_choice("unit", unit, UNITS)
        if unit == "seconds":
            return self.seconds
        numbers = np.arange(1, len(self.lengths) + 1)
        return (self.steps if unit == "steps" else numbers).astype(np.float64)


def read_monitor(path: str | Path) -> Episodes:
    """Reads a file of Stable-Baselines3's `Monitor` or `VecMonitor`, or of `pgtoy run`.

    Without a column `steps`, the steps are the cumulated lengths, as in SB3's plots:
    with parallel environments, steps of unfinished episodes are missing from them.

    Raises:
        MonitorFileError: (a ValueError) if the file is missing or damaged.
    """
    return Episodes.from_rows(read_rows(Path(path)))


def read_rows(path: Path, *, until_damage: bool = False) -> list[Episode]:
    """Reads the rows of a monitor file.

    Args:
        path: the file.
        until_damage: return the rows before the first damaged one, instead of raising.

    Raises:
        MonitorFileError: if the file is missing, its first two lines are not those of
            SB3, or a row is damaged: cut off, or with a return that is not finite, a
            length below 1, a negative time, decreasing steps or a wrong number.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MonitorFileError(path, "is missing") from None
    except OSError as error:
        raise MonitorFileError(path, f"can't be read: {error}") from error
    lines = content.decode(errors="replace").splitlines(keepends=True)
    columns = _columns(path, lines)
    rows: list[Episode] = []
    for number, line in enumerate(lines[2:], start=3):
        row = parse_row(line, columns, rows[-1] if rows else Episode(0, 0, 0, 0, 0))
        if row is None and until_damage:
            break
        if row is None:
            raise MonitorFileError(path, f"is damaged in line {number}: {line!r}")
        rows.append(row)
    return rows


def last_episode(path: Path) -> Episode | None:
    """Returns the newest episode of a run in progress; None before the first."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read().decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return None
    # The last row may be unfinished; the one before may be the header.
    rows = [parse_row(line, COLUMNS, previous=None) for line in tail[-2:]]
    return next((row for row in reversed(rows) if row is not None), None)


def parse_row(
    line: str, columns: Sequence[str], previous: Episode | None
) -> Episode | None:
    """Returns the episode of a row, or None if the row is damaged.

    Args:
        line: with its line break.
        columns: names of the columns.
        previous: the episode before, to check and complete steps and number with; None
            if unknown.
    """
    # A row that was cut off may look whole, but for its line break.
    if not line.endswith("\n"):
        return None
    last = previous or Episode(0, 0, 0, 0, 0)
    try:
        row = dict(zip(columns, next(csv.reader([line])), strict=True))
        length = int(row["l"])
        steps = int(row.get("steps", last.steps + length))
        number = int(row.get("episode", last.number + 1))
        episode = Episode(float(row["r"]), length, float(row["t"]), steps, number)
    except (ValueError, csv.Error):
        return None
    valid = math.isfinite(episode.episode_return) and length >= 1
    valid = valid and 0.0 <= episode.seconds < math.inf
    if previous is not None:
        valid = valid and steps >= previous.steps and number == previous.number + 1
    return episode if valid else None


def _columns(path: Path, lines: Sequence[str]) -> list[str]:
    try:
        header = json.loads(lines[0][1:]) if lines[0].startswith("#") else None
        columns = lines[1].strip().split(",") if lines[1].endswith("\n") else []
    except (IndexError, ValueError):
        header, columns = None, []
    if not isinstance(header, dict) or columns[:3] != ["r", "l", "t"]:
        raise MonitorFileError(
            path,
            "is not a monitor file of Stable-Baselines3: the first line must be # and "
            "JSON, the second r,l,t",
        )
    return columns
