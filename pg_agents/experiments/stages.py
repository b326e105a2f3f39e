"""Results of the stages of a run, in the file ``stages.json`` of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pg_agents.common.files import write_whole
from pg_agents.experiments.errors import DamagedRunError

STAGES = ("controller", "clone", "scratch", "from_clone")


@dataclass(frozen=True)
class Stage:
    """Result of a stage.

    Attributes:
        success_rate: share of the episodes whose last step was a success, in [0, 1].
        mean_return: mean return of these episodes.
        n_episodes: number of these episodes.
        steps: number of training steps of the stage.
    """

    success_rate: float
    mean_return: float
    n_episodes: int
    steps: int


def write_stages(path: Path, stages: Mapping[str, Stage]) -> None:
    """Writes the finished stages atomically.

    Args:
        path: the folder of the run.
        stages: results by name.
    """
    data = {name: asdict(stage) for name, stage in stages.items()}
    content = (json.dumps(data, indent=1) + "\n").encode()
    write_whole(path / "stages.json", content, "json")


def read_stages(path: Path) -> dict[str, Stage]:
    """Returns the finished stages by name, in their order.

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
        stages = {name: Stage(**data[name]) for name in STAGES if name in data}
        if len(stages) < len(data):
            raise ValueError("it has an unknown stage")
    except (ValueError, TypeError) as error:
        raise DamagedRunError(file, f"is truncated or damaged ({error})") from error
    return stages
