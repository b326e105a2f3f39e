"""What the commands `pgtoy plot` and `pgtoy compare` are called with.

Apart from `commands`, which does what is asked: that loads matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pg_agents.analysis.monitor import UNITS

_KINDS = ("curves", "seeds", "profile")

# argparse names its own type of subparsers with an underscore.
Commands = Any


def add_plot_parser(commands: Commands) -> None:
    """Enters `pgtoy plot`.

    Args:
        commands: what `add_subparsers` has returned.
    """
    parser = commands.add_parser(
        "plot",
        help="draw learning curves, seeds or the profile of finished runs",
        description="Draw finished runs: interquartile mean and 95 % interval.",
    )
    _add_shared(parser, 20)
    parser.add_argument(
        "--kind",
        choices=_KINDS,
        default="curves",
        help="curves: learning; seeds: a dot a run; profile: share of runs above a "
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
    parser.set_defaults(run=_plot)


def add_compare_parser(commands: Commands) -> None:
    """Enters `pgtoy compare`.

    Args:
        commands: what `add_subparsers` has returned.
    """
    parser = commands.add_parser(
        "compare",
        help="a table of finished runs: score, interval, speed, stability",
        description="Compare finished runs, each group with the first one. A run's "
        "score is its mean evaluation return; P(better) is the probability that a run "
        "scores more than one of the first group.",
    )
    _add_shared(parser, 100)
    add = parser.add_argument
    add("--to", type=Path, metavar="FILE", help="draw it too (png, pdf, svg)")
    add(
        "--grid",
        type=Path,
        metavar="FILE",
        help="draw speed and stability of the variants LAYERSxUNITS as heat maps",
    )
    parser.set_defaults(run=_compare)


def _add_shared(parser: argparse.ArgumentParser, window: int) -> None:
    add = parser.add_argument
    add(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="with seed-... in it, or with folders of runs",
    )
    add("--x", choices=UNITS, default="steps", help="what is counted (%(default)s)")
    add("--threshold", type=float, help="return to be reached (the task's own)")
    add(
        "--window",
        type=int,
        default=window,
        help="episodes in the running mean of the returns (%(default)s)",
    )


def _plot(options: argparse.Namespace) -> int:
    from pg_agents.cli.plot import plot

    return plot(options)


def _compare(options: argparse.Namespace) -> int:
    from pg_agents.cli.plot import compare

    return compare(options)
