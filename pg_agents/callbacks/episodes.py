"""Episodes that ended in the last environment step, as Monitor reports them."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class FinishedEpisode(NamedTuple):
    """One episode that has ended.

    Attributes:
        episode_return: Undiscounted sum of the rewards of the episode.
        length: Number of steps of the episode.
    """

    episode_return: float
    length: int


def finished_episodes(locals_: Mapping[str, Any]) -> list[FinishedEpisode]:
    """Read the episodes that ended in the last step from a callback's ``locals``.

    Args:
        locals_: The ``locals`` of an SB3 callback. Its ``"infos"`` has one
            dictionary for each environment; Monitor and VecMonitor put the key
            ``"episode"`` into it when an episode of that environment ends.

    Returns:
        The episodes in the order of their environments; empty when none ended.
    """
    reports = (info.get("episode") for info in locals_.get("infos", ()))
    return [
        FinishedEpisode(float(report["r"]), int(report["l"]))
        for report in reports
        if report is not None
    ]
