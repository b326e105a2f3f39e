"""The options of the live view, for `pgtoy run` and the demos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pg_agents.common.checks import check_positive

if TYPE_CHECKING:
    from pg_agents.live.view import LiveView


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--live`, `--live-film`, `--live-speed` and `--live-theme`."""
    group = parser.add_argument_group("live view", "each of these options opens it")
    group.add_argument(
        "--live",
        action="store_true",
        help="show the training in a window, or film it where there is no screen",
    )
    group.add_argument(
        "--live-film",
        type=Path,
        metavar="FILE.gif|mp4",
        help="write the frames to a file instead of a window",
    )
    group.add_argument(
        "--live-speed",
        type=float,
        metavar="N",
        help="updates per second at first; keys change it",
    )
    group.add_argument(
        "--live-theme", choices=("light", "dark"), help="light, if not given"
    )


def make_live_view(
    options: argparse.Namespace, updates_per_second: float | None = None
) -> LiveView | None:
    """Returns the view that the options ask for; None for none.

    Args:
        options: those of `add_live_options`, and the folder `out` for films and
            pictures, which is made if it does not exist.
        updates_per_second: speed at first if the options have none; None for no limit.

    Raises:
        ValueError: if the speed is not positive or the film has another suffix.
        OSError: if the film or the folder can't be written to.
    """
    given = (options.live_film, options.live_speed, options.live_theme)
    if not options.live and all(value is None for value in given):
        return None
    from pg_agents.live.screen import shows_windows
    from pg_agents.live.view import LiveView

    options.out.mkdir(parents=True, exist_ok=True)
    film = options.live_film
    if film is None and not shows_windows():
        film = options.out / "live.gif"
    speed = options.live_speed
    if speed is not None:
        check_positive("--live-speed", speed)
    return LiveView(
        film=film,
        theme=options.live_theme or "light",
        updates_per_second=updates_per_second if speed is None else speed,
        pictures=options.out,
    )
