"""Write the `monitor.csv` of a run: each training episode once, in SB3's format.

The columns `steps` and `episode` beside those of SB3's Monitor tell which episodes came
before a checkpoint. `pg_agents.analysis.monitor` reads the file.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from stable_baselines3.common.monitor import ResultsWriter

from pg_agents.analysis.monitor import COLUMNS, Episode, last_episode
from pg_agents.analysis.run_data import DamagedRunError, read_episodes
from pg_agents.common.files import write_whole

__all__ = [
    "Episode",
    "appending_writer",
    "cut_back",
    "last_episode",
    "new_writer",
    "row",
]


def new_writer(path: Path, env_id: str) -> ResultsWriter:
    """Returns the writer of a new file, or raises an OSError and writes nothing."""
    header = json.dumps({"t_start": time.time(), "env_id": env_id})
    heading = f"#{header}\n{','.join(COLUMNS)}\r\n"
    # Atomically: on a full disk SB3's writer would leave half a header.
    write_whole(path, heading.encode(), "csv")
    return appending_writer(path)


def appending_writer(path: Path) -> ResultsWriter:
    """Returns a writer that appends to a file."""
    return ResultsWriter(str(path), None, COLUMNS[3:], override_existing=False)


def row(episode: Episode) -> dict[str, float]:
    """Returns the argument of a writer's `write_row`."""
    return dict(zip(COLUMNS, episode, strict=True))


def cut_back(path: Path, steps: int, n_episodes: int) -> list[Episode]:
    """Truncates the file to a checkpoint, and returns the episodes up to there.

    The resumed run writes the episodes after the checkpoint again.

    Args:
        path: the file.
        steps: training steps at the checkpoint.
        n_episodes: number of episodes that had ended by then.

    Raises:
        DamagedRunError: (a ValueError) if episodes from before the checkpoint are
            missing.
        OSError: if the file can't be written; it is unchanged then.
    """
    episodes = read_episodes(path, until_damage=True)
    before = [episode for episode in episodes if episode.steps <= steps]
    if len(before) != n_episodes:
        raise DamagedRunError(
            path,
            f"has {len(before)} episodes of the {n_episodes} before the checkpoint at "
            f"{steps} steps",
        )
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) > 2 + n_episodes:
        write_whole(path, b"".join(lines[: 2 + n_episodes]), "csv")
    return before
