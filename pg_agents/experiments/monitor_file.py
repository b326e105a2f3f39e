"""monitor.csv: each episode of a training once, in SB3's Monitor format.

Besides SB3's columns, return ``r``, length ``l`` and seconds ``t``, there are
``steps``, the steps taken when the episode ended, summed over environments, and
``episode``, counted from 1. They tell which episodes a checkpoint has seen.
"""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

from stable_baselines3.common.monitor import ResultsWriter

from pg_agents.common.files import write_whole
from pg_agents.experiments.errors import DamagedRunError

EXTRA_COLUMNS = ("steps", "episode")
_COLUMNS = ("r", "l", "t", *EXTRA_COLUMNS)
# A row has five numbers, of some twenty characters at most.
_TAIL_BYTES = 400


class Episode(NamedTuple):
    """A finished episode of a training.

    Attributes:
        episode_return: undiscounted.
        length: in steps.
        seconds: since training began, pauses left out.
        steps: taken so far, summed over environments.
        number: counted from 1.
    """

    episode_return: float
    length: int
    seconds: float
    steps: int
    number: int


def new_writer(path: Path, env_id: str) -> ResultsWriter:
    """Returns the writer of a file that begins anew.

    Raises:
        OSError: if it can't be written; it is as it was then.
    """
    header = json.dumps({"t_start": time.time(), "env_id": env_id})
    heading = f"#{header}\n{','.join(_COLUMNS)}\r\n"
    # Whole at once, where SB3's writer would leave half a heading on a full disk.
    write_whole(path, heading.encode(), "csv")
    return appending_writer(path)


def appending_writer(path: Path) -> ResultsWriter:
    """Returns a writer that goes on with a file."""
    return ResultsWriter(str(path), None, EXTRA_COLUMNS, override_existing=False)


def row(episode: Episode) -> dict[str, float]:
    """Returns an episode as a writer takes it."""
    return dict(zip(_COLUMNS, episode, strict=True))


def read_episodes(path: Path) -> list[Episode]:
    """Returns the episodes of a finished run.

    Raises:
        DamagedRunError: if the file is missing, cut off or edited.
    """
    lines = _lines(path)
    episodes = _rows(lines[2:])
    if len(episodes) != len(lines) - 2:
        raise DamagedRunError(path, f"can't be read from line {len(episodes) + 3} on")
    return episodes


def cut_back(path: Path, steps: int, n_episodes: int) -> list[Episode]:
    """Takes the file back to a checkpoint, and returns the episodes up to there.

    What a killed run wrote after the checkpoint is removed: the run that goes on writes
    those episodes again.

    Args:
        path: the file.
        steps: steps taken at the checkpoint.
        n_episodes: episodes that had ended by then.

    Raises:
        DamagedRunError: if episodes from before the checkpoint are missing.
        OSError: if it can't be written; it is as it was then.
    """
    lines = _lines(path)
    kept = [episode for episode in _rows(lines[2:]) if episode.steps <= steps]
    if len(kept) != n_episodes:
        raise DamagedRunError(
            path,
            f"has {len(kept)} episodes of the {n_episodes} that the checkpoint at "
            f"{steps} steps has seen",
        )
    text = "".join(lines[: 2 + len(kept)])
    if len(lines) > 2 + len(kept):
        write_whole(path, text.encode(), "csv")
    return kept


def last_episode(path: Path) -> Episode | None:
    """Returns the newest episode of a run that is going on; None if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read().decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return None
    # The first of them may be half a line, or the header.
    found = [_episode(line) for line in tail[-2:]]
    return next((each for each in reversed(found) if each is not None), None)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        raise DamagedRunError(path, "is missing") from None
    if len(lines) < 2 or lines[1] != ",".join(_COLUMNS) + "\r\n":
        raise DamagedRunError(path, "has no heading like that of SB3's Monitor")
    try:
        json.loads(lines[0].removeprefix("#"))
    except ValueError:
        raise DamagedRunError(path, "has a damaged first line") from None
    return lines


def _rows(lines: list[str]) -> list[Episode]:
    """Returns the episodes before the first line that can't be one."""
    found: list[Episode] = []
    for number, line in enumerate(lines, 1):
        episode = _episode(line)
        if episode is None or episode.number != number:
            break
        if found and episode.steps < found[-1].steps:
            break
        found.append(episode)
    return found


def _episode(line: str) -> Episode | None:
    # A line that was cut off has no end, though its numbers may look whole.
    if not line.endswith("\n"):
        return None
    cells = next(csv.reader([line]), [])
    try:
        r, length, seconds, steps, number = cells
        found = Episode(float(r), int(length), float(seconds), int(steps), int(number))
    except ValueError:
        return None
    return found if math.isfinite(found.seconds) else None
