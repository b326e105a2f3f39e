"""Writes to files the figures that rl_zoo3's plots would show in windows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def take_figure(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Takes `--figure FILE` out of the arguments of a command.

    Returns:
        The file, or None, and the other arguments.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--figure", type=Path)
    options, rest = parser.parse_known_args(list(arguments))
    return options.figure, rest


def save_figures(plot: Callable[[], object], path: Path) -> list[Path]:
    """Runs a function that plots, and writes its figures instead of showing them.

    Args:
        plot: draws figures with pyplot, which it has imported.
        path: of the first figure; the second goes to `name-2.png` beside it.

    Returns:
        The files.
    """
    # Whoever plots has loaded it: we would choose its backend by loading it ourselves.
    pyplot: Any = sys.modules["matplotlib.pyplot"]
    show, before = pyplot.show, pyplot.get_fignums()
    pyplot.show = lambda *_, **__: None
    try:
        plot()
    finally:
        pyplot.show = show
    files: list[Path] = []
    for number in pyplot.get_fignums():
        if number not in before:
            suffix = f"-{len(files) + 1}" if files else ""
            files.append(path.with_stem(path.stem + suffix))
            pyplot.figure(number).savefig(files[-1])
            pyplot.close(number)
    return files
