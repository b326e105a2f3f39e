"""What the commands `pgtoy plot` and `pgtoy compare` do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pg_agents.analysis.folders import RunGroup, read_groups
from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.networks import network_grid
from pg_agents.analysis.plots.files import save_figure
from pg_agents.analysis.plots.group_curves import curves_of
from pg_agents.analysis.plots.networks import plot_network_grid
from pg_agents.analysis.plots.panels import Curves
from pg_agents.analysis.plots.runs import (
    compare_runs,
    plot_curve_bands,
    plot_performance_profiles,
    plot_seed_strips,
)
from pg_agents.analysis.summaries import Summary, summarise, table
from pg_agents.common.checks import check_count
from pg_agents.common.files import check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AXES = {
    "steps": "Environment steps",
    "episodes": "Episodes",
    "seconds": "Seconds of training",
}
_PICTURES = (".png", ".pdf", ".svg")
# More runs than these and their lines hide the band.
_MOST_LINES = 30


def plot(options: argparse.Namespace) -> int:
    """Draws finished runs into a file.

    Args:
        options: of `add_plot_parser`.

    Returns:
        Exit status.

    Raises:
        ValueError: if a folder has no runs to draw, or an option is wrong.
    """
    _check_options(options, [options.to])
    groups = _read(options.folders)
    threshold = _threshold(options.threshold, groups)
    save_figure(_figure(options, groups, threshold), options.to)
    print(f"plot: {options.to}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Prints the table of finished runs, and draws them if that is asked for.

    Args:
        options: of `add_compare_parser`.

    Returns:
        Exit status.

    Raises:
        ValueError: if a folder has no runs to compare, or an option is wrong.
    """
    pictures = [path for path in (options.to, options.grid) if path is not None]
    _check_options(options, pictures)
    groups = _read(options.folders)
    threshold = _threshold(options.threshold, groups)
    summaries = summarise(groups, threshold, options.window, options.x)
    print(table(summaries, options.x))
    if threshold is None:
        print("no threshold: neither speed nor stability; name one by --threshold")
    else:
        print(
            f"threshold {threshold:g}, reached by the mean of {options.window} "
            f"episodes of training; {options.x} to it is the median over runs"
        )
    if options.to is not None:
        figure = _comparison(groups, summaries, threshold, options.window, options.x)
        save_figure(figure, options.to)
        print(f"plot: {options.to}")
    if options.grid is not None:
        if threshold is None:
            raise ValueError("--grid needs a threshold: name one by --threshold")
        grid = network_grid(groups, threshold, options.window, options.x)
        save_figure(plot_network_grid(grid, threshold, options.x), options.grid)
        print(f"plot: {options.grid}")
    return 0


def _figure(
    options: argparse.Namespace, groups: list[RunGroup], threshold: float | None
) -> Figure:
    scores = {group.name: group.scores for group in groups}
    if options.kind == "seeds":
        return plot_seed_strips(scores, "Mean evaluation return", threshold)
    if options.kind == "profile":
        return plot_performance_profiles(scores, "Mean evaluation return")
    return plot_curve_bands(
        _curves(groups, options.x, options.window, options.spread),
        _AXES[options.x],
        f"Return (mean of {options.window} episodes)",
        threshold,
        "95 % interval" if options.spread == "bootstrap" else "lowest to highest",
    )


def _comparison(
    groups: list[RunGroup],
    summaries: Sequence[Summary],
    threshold: float | None,
    window: int,
    unit: Unit,
) -> Figure:
    speeds = {s.name: s.speed for s in summaries if s.speed is not None}
    return compare_runs(
        _curves(groups, unit, window),
        {group.name: group.scores for group in groups},
        {name: found.to_threshold for name, found in speeds.items()} or None,
        {name: found.stability for name, found in speeds.items()} or None,
        threshold,
        _AXES[unit],
        window,
    )


def _curves(
    groups: list[RunGroup],
    unit: Unit,
    window: int,
    spread: Literal["bootstrap", "range"] = "bootstrap",
) -> dict[str, Curves]:
    n_runs = sum(len(group.runs) for group in groups)
    found = {group.name: curves_of(group, unit, window, spread) for group in groups}
    if n_runs <= _MOST_LINES:
        return found
    return {name: Curves(curves.band) for name, curves in found.items()}


def _read(folders: Sequence[str]) -> list[RunGroup]:
    groups = read_groups(folders)
    for group in groups:
        for _, reason in group.left_out:
            print(f"pgtoy: left out: {reason}", file=sys.stderr)
    return groups


def _threshold(given: float | None, groups: list[RunGroup]) -> float | None:
    """The one asked for, or the one that all groups have, or their environment."""
    if given is not None:
        return given
    named = {group.threshold for group in groups}
    if named == {None}:
        runs = [run for group in groups for run in group.runs]
        named = {_registered_threshold(env_id) for env_id in {r.env_id for r in runs}}
    return named.pop() if len(named) == 1 else None


def _registered_threshold(env_id: str) -> float | None:
    """Where Gymnasium calls the environment solved; None if it does not say."""
    import gymnasium

    from pg_agents.common.env_specs import registered_threshold

    try:
        return registered_threshold(env_id)
    except (gymnasium.error.Error, ImportError):
        # One that is not registered here: the runs can be read all the same.
        return None


def _check_options(options: argparse.Namespace, pictures: Sequence[Path]) -> None:
    """Refuses what can't be done, before anything is read."""
    check_count("--window", options.window)
    for path in pictures:
        if path.suffix not in _PICTURES:
            raise ValueError(f"a plot must end in {', '.join(_PICTURES)}, got {path}")
        check_writable(path)
