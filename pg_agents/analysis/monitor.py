"""The episodes of training, read from Stable-Baselines3's monitor files.

SB3's own reader is not used: it needs pandas, which is no dependency of ours, refuses
by assertions, and takes a line that was cut off for an episode.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_agents.analysis.scores import Floats
from pg_agents.common.checks import check_choice

Unit = Literal["steps", "episodes", "seconds"]
UNITS: tuple[Unit, ...] = ("steps", "episodes", "seconds")


class UnreadableRunError(ValueError):
    """A run's folder that can't be read; the message names the file."""


class Episodes(NamedTuple):
    """The episodes of training, in the order in which they ended.

    Attributes:
        returns: float64 [E], undiscounted.
        lengths: int64 [E], in steps.
        seconds: float64 [E], wall-clock time when each ended. A run that was resumed
            starts counting anew; its parts are put end to end, without the time in
            between.
        steps: int64 [E], environment steps taken when each ended. Where the file has no
            column for them they are the lengths added up, as in SB3's plots: of
            parallel environments those of ended episodes alone.
    """

    returns: Floats
    lengths: NDArray[np.int64]
    seconds: Floats
    steps: NDArray[np.int64]

    def ends(self, unit: Unit) -> Floats:
        """When each episode ended.

        Args:
            unit: what is counted.

        Returns:
            float64 [E], not falling.

        Raises:
            ValueError: if `unit` is not one of these.
        """
        check_choice("unit", unit, UNITS)
        if unit == "seconds":
            return self.seconds
        episodes = np.arange(1, len(self.lengths) + 1)
        return (self.steps if unit == "steps" else episodes).astype(np.float64)


def read_monitor(path: str | Path) -> Episodes:
    """Reads a file of Stable-Baselines3's `Monitor` or `VecMonitor`.

    A further column `steps`, such as our runs have, is read too.

    Args:
        path: the file.

    Returns:
        Its episodes; there may be none.

    Raises:
        UnreadableRunError: if the file is missing, its first lines are not SB3's, or a
            line is cut off or holds no finite return, positive length and time, or the
            steps fall.
    """
    path = Path(path)
    text = read_text(path)
    first, _, rest = text.partition("\n")
    try:
        header = json.loads(first[1:]) if first.startswith("#") else None
    except json.JSONDecodeError:
        header = None
    names = rest.partition("\n")[0].strip().split(",")
    if not isinstance(header, dict) or names[:3] != ["r", "l", "t"]:
        raise UnreadableRunError(
            f"{path} is no monitor file of Stable-Baselines3: its first line must be # "
            "and JSON, its second r,l,t"
        )
    if not text.endswith("\n"):
        raise UnreadableRunError(f"{path} is cut off in its last line")
    lines = list(csv.reader(rest.splitlines()[1:]))
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=3)]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    lengths, seconds = table[:, 1].astype(np.int64), table[:, 2]
    # Where time falls the run was resumed, and its clock started anew.
    fell = np.diff(seconds, prepend=0.0) < 0
    before = np.where(fell, np.concatenate([[0.0], seconds[:-1]]), 0.0)
    steps = np.cumsum(lengths)
    if "steps" in names:
        steps = _steps(path, lines, names.index("steps"))
    return Episodes(table[:, 0], lengths, seconds + np.cumsum(before), steps)


def _steps(path: Path, lines: list[list[str]], column: int) -> NDArray[np.int64]:
    try:
        steps = np.array([int(line[column]) for line in lines], dtype=np.int64)
    except (ValueError, IndexError) as error:
        raise UnreadableRunError(
            f"{path}: the column steps must hold whole numbers: {error}"
        ) from None
    if (np.diff(steps, prepend=0) < 0).any():
        raise UnreadableRunError(f"{path}: the column steps must not fall")
    return steps


def _row(path: Path, number: int, line: list[str]) -> tuple[float, float, float]:
    try:
        episode_return, length, seconds = (float(cell) for cell in line[:3])
    except ValueError:
        raise UnreadableRunError(
            f"{path}, line {number}: three numbers were expected, got "
            f"{','.join(line)!r}"
        ) from None
    good = math.isfinite(episode_return) and length >= 1 and length.is_integer()
    if not (good and seconds >= 0.0 and math.isfinite(seconds)):
        raise UnreadableRunError(
            f"{path}, line {number}: a finite return, a positive length and a time "
            f"were expected, got {','.join(line)!r}"
        )
    return episode_return, length, seconds


def read_text(path: Path) -> str:
    """Reads a file; a UnreadableRunError names one that can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableRunError(f"{path} can't be read: {error}") from error
