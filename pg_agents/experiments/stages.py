"""What the stages of a run came to, in ``stages.json`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pg_agents.common.files import write_whole
from pg_agents.experiments.damage import DamagedRunError

STAGES = ("controller", "clone", "scratch", "from_clone")


@dataclass(frozen=True)
class Stage:
    """What a stage came to.

    Attributes:
        success_rate: share of the episodes whose last step was a success, in [0, 1].
        mean_return: of these episodes.
        n_episodes: how many there were.
        steps: of learning that the stage took.
    """

    success_rate: float
    mean_return: float
    n_episodes: int
    steps: int


def write_stages(path: Path, done: Mapping[str, Stage]) -> None:
    """Writes the stages that are done, whole or not at all.

    Args:
        path: the folder of the run.
        done: by name.
    """
    data = {name: asdict(stage) for name, stage in done.items()}
    content = (json.dumps(data, indent=1) + "\n").encode()
    write_whole(path / "stages.json", content, "json")


def read_stages(path: Path) -> dict[str, Stage]:
    """Returns the stages that are done, by name, in their order.

    Args:
        path: the folder of the run.

    Raises:
        DamagedRunError: (a ValueError) if the file is damaged.
    """
    file = path / "stages.json"
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_bytes())
        found = {name: Stage(**data[name]) for name in STAGES if name in data}
        if len(found) < len(data):
            raise ValueError("it has an unknown stage")
    except (ValueError, TypeError) as error:
        raise DamagedRunError(file, f"is cut off or damaged ({error})") from error
    return found
