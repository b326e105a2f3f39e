"""The commands `pgtoy plot` and `pgtoy compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_agents.analysis.monitor import UNITS, Unit
from pg_agents.common.checks import check_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pg_agents.analysis import Curves, RunGroup
    from pg_agents.analysis.curves import Spread

_AXIS_LABELS = {
    "steps": "Environment steps",
    "episodes": "Episodes",
    "seconds": "Seconds of training",
}
_SUFFIXES = (".png", ".pdf", ".svg")
_SCORE_LABEL = "Mean evaluation return"
# The lines of more runs would hide the bands.
_MAX_LINES = 30


def add_plot_parser(commands: Any) -> None:  # noqa: ANN401
    """Adds `pgtoy plot` to the subparsers of argparse."""
    parser = commands.add_parser(
        "plot",
        help="draw learning curves, seeds or the profile of finished runs",
        description="Draw finished runs: interquartile mean and 95 % interval.",
    )
    _add_shared(parser, window=20)
    parser.add_argument(
        "--kind",
        choices=("curves", "seeds", "profile"),
        default="curves",
        help="curves: learning; seeds: a dot per run; profile: share of runs above a "
        "score (%(default)s)",
    )
    parser.add_argument(
        "--spread",
        choices=("bootstrap", "range"),
        default="bootstrap",
        help="band of the curves: interval of the mean, or lowest to highest run",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("runs.png"),
        metavar="FILE",
        help="png, pdf or svg (%(default)s)",
    )
    parser.set_defaults(run=plot)


def add_compare_parser(commands: Any) -> None:  # noqa: ANN401
    """Adds `pgtoy compare` to the subparsers of argparse."""
    parser = commands.add_parser(
        "compare",
        help="a table of finished runs: score, interval, speed, stability",
        description="Compare finished runs, each group with the first one. A run's "
        "score is its mean evaluation return; P(better) is the probability that a run "
        "scores more than one of the first group.",
    )
    _add_shared(parser, window=100)
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="draw it too (png, pdf, svg)"
    )
    parser.add_argument(
        "--grid",
        type=Path,
        metavar="FILE",
        help="draw speed and stability of the variants LAYERSxUNITS as heat maps",
    )
    parser.set_defaults(run=compare)


def _add_shared(parser: argparse.ArgumentParser, window: int) -> None:
    add = parser.add_argument
    add(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="with seed-... in it, or with folders of runs",
    )
    add("--x", choices=UNITS, default="steps", help="unit of time (%(default)s)")
    add(
        "--threshold",
        type=float,
        help="return to be reached (the environment's reward_threshold)",
    )
    add(
        "--window",
        type=int,
        default=window,
        help="episodes in the running mean of the returns (%(default)s)",
    )


def plot(options: argparse.Namespace) -> int:
    """Draws finished runs into a file, and returns the exit status.

    Raises:
        ValueError: if a folder has no runs to draw, or an option is invalid.
    """
    from pg_agents.analysis.plots import save_figure

    _check_options(options, [options.to])
    groups = _read(options.folders)
    figure = _figure(options, groups, _threshold(options, groups))
    figure.suptitle(_title(groups), fontsize="medium")
    save_figure(figure, options.to)
    print(f"plot: {options.to}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Prints a table of finished runs, draws them if asked to, returns the exit status.

    Raises:
        ValueError: if a folder has no runs to compare, or an option is invalid.
    """
    from pg_agents.analysis import network_grid, summarise, table
    from pg_agents.analysis.curves import check_window
    from pg_agents.analysis.plots import compare_runs, plot_network_grid, save_figure

    _check_options(options, [p for p in (options.to, options.grid) if p is not None])
    groups = _read(options.folders)
    env_ids = _env_ids(groups)
    if len(env_ids) > 1:
        print(
            f"pgtoy: scores of different environments do not compare: "
            f"{', '.join(env_ids)}",
            file=sys.stderr,
        )
    threshold = _threshold(options, groups)
    if threshold is not None:
        for group in groups:
            check_window(group, options.window)
    summaries = summarise(groups, threshold, options.window, options.x)
    print(table(summaries, options.x))
    if threshold is None:
        which = "" if all(group.threshold is None for group in groups) else " in common"
        print(
            f"no threshold{which}: neither speed nor stability; set one with "
            "--threshold"
        )
    if options.to is not None:
        figure = compare_runs(
            _curves(groups, options.x, options.window),
            {group.name: group.scores for group in groups},
            {s.name: s.speed for s in summaries if s.speed is not None},
            _AXIS_LABELS[options.x],
            options.window,
            _title(groups),
        )
        save_figure(figure, options.to)
        print(f"plot: {options.to}")
    if options.grid is not None:
        if threshold is None:
            raise ValueError("--grid needs a threshold: set one with --threshold")
        grid = network_grid(groups, threshold, options.window, options.x)
        figure = plot_network_grid(grid, threshold, options.x)
        figure.suptitle(_title(groups), fontsize="medium")
        save_figure(figure, options.grid)
        print(f"plot: {options.grid}")
    return 0


def _figure(
    options: argparse.Namespace, groups: list[RunGroup], threshold: float | None
) -> Figure:
    from pg_agents.analysis import plots

    scores = {group.name: group.scores for group in groups}
    if options.kind == "seeds":
        return plots.plot_seed_strips(scores, _SCORE_LABEL, threshold)
    if options.kind == "profile":
        return plots.plot_performance_profiles(scores, _SCORE_LABEL)
    return plots.plot_curve_bands(
        _curves(groups, options.x, options.window, options.spread),
        _AXIS_LABELS[options.x],
        f"Return (mean of {options.window} episodes)",
        threshold,
        "95 % interval" if options.spread == "bootstrap" else "lowest to highest",
    )


def _title(groups: list[RunGroup]) -> str:
    """Returns environments and the number of runs; the groups are named beside."""
    n_runs = sorted({len(group.runs) for group in groups})
    counts = " to ".join(map(str, dict.fromkeys((n_runs[0], n_runs[-1]))))
    of_each = " of each" if len(groups) > 1 else ""
    return f"{', '.join(_env_ids(groups))}: {counts} runs{of_each}"


def _env_ids(groups: list[RunGroup]) -> list[str]:
    return sorted({run.env_id for group in groups for run in group.runs})


def _curves(
    groups: list[RunGroup], unit: Unit, window: int, spread: Spread = "bootstrap"
) -> dict[str, Curves]:
    from pg_agents.analysis import Curves, learning_curves

    curves = {g.name: learning_curves(g, unit, window, spread) for g in groups}
    if sum(len(group.runs) for group in groups) <= _MAX_LINES:
        return curves
    return {name: Curves(found.band) for name, found in curves.items()}


def _read(folders: Sequence[str]) -> list[RunGroup]:
    from pg_agents.analysis import read_groups

    groups = read_groups(folders)
    for group in groups:
        for _, reason in group.skipped:
            print(f"pgtoy: skipped: {reason}", file=sys.stderr)
    return groups


def _threshold(options: argparse.Namespace, groups: list[RunGroup]) -> float | None:
    """Returns the threshold asked for, or the one that all groups have."""
    if options.threshold is not None:
        return float(options.threshold)
    thresholds = {group.threshold for group in groups}
    return thresholds.pop() if len(thresholds) == 1 else None


def _check_options(options: argparse.Namespace, figures: Sequence[Path]) -> None:
    """Rejects invalid options before anything is read."""
    from pg_agents.common.files import check_writable

    check_count("--window", options.window)
    for path in figures:
        if path.suffix not in _SUFFIXES:
            raise ValueError(f"a plot must end in {', '.join(_SUFFIXES)}, got {path}")
        check_writable(path)
