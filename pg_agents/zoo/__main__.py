"""The command `python -m pg_agents.zoo`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pg_agents.zoo.figures import save_figures, take_figure
from pg_agents.zoo.register import register
from pg_envs import WindowClosed

PROG = "python -m pg_agents.zoo"


@dataclass(frozen=True)
class Command:
    """A script of rl_zoo3.

    Attributes:
        help: what it does.
        module: where it is.
        function: what to call there; None if the module is itself the script.
        needs: packages beyond rl_zoo3 that it imports, and the extra with each.
        plots: whether it draws figures.
    """

    help: str
    module: str
    function: str | None
    needs: tuple[tuple[str, str], ...] = ()
    plots: bool = False


_DRAWS = (("seaborn", "zoo"), ("pandas", "zoo"))
# The report that ends a search is a table of pandas: better refused than lost.
_TUNES = (("pandas", "zoo"),)
COMMANDS = {
    "train": Command("train an agent, or tune it", "rl_zoo3.train", "train", _TUNES),
    "enjoy": Command(
        "watch a trained agent", "rl_zoo3.enjoy", "enjoy", (("requests", "zoo"),)
    ),
    "record_video": Command(
        "film a trained agent", "rl_zoo3.record_video", None, (("moviepy", "video"),)
    ),
    "all_plots": Command(
        "plot evaluations, averaged over runs",
        "rl_zoo3.plots",
        "all_plots",
        _DRAWS,
        True,
    ),
    "plot_train": Command(
        "plot the returns of training", "rl_zoo3.plots", "plot_train", _DRAWS, True
    ),
    "plot_from_file": Command(
        "plot what all_plots has put in a file",
        "rl_zoo3.plots",
        "plot_from_file",
        _DRAWS,
        True,
    ),
}

_EPILOG = """\
examples:
  train --algo reinforce --env PGToy-Sequence-v0 --seed 0
  train --algo actor_critic --env CartPole-v1 --optimize-hyperparameters \\
      --n-trials 50 --storage logs/study.log --study-name cartpole
  train --algo actor_critic --env CartPole-v1 --storage logs/study.log \\
      --study-name cartpole
  enjoy --algo reinforce --env PGToy-Sequence-v0 --folder logs
  all_plots --algos reinforce --env PGToy-Sequence-v0 --exp-folders logs \\
      --figure results.png

Each command is rl_zoo3's script of that name and takes its arguments: COMMAND --help
lists them. A study that is named without --optimize-hyperparameters gives the
hyperparameters of its best trial, or of --trial-id. The plots also take --figure FILE:
they are then written there, not shown.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a script of rl_zoo3 that knows our algorithms.

    Args:
        arguments: the command and its arguments; None for those of the process.

    Returns:
        Exit status: 0, or 2 if a package is missing.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    # What follows the command is rl_zoo3's to read, --help included.
    name = _parser().parse_args(given[:1]).command
    missing = _missing(COMMANDS[name])
    if missing:
        print(f"{PROG}: error: {missing}", file=sys.stderr)
        return 2
    register()
    figure, rest = take_figure(given[1:]) if COMMANDS[name].plots else (None, given[1:])
    # rl_zoo3 knows environments by their plain ids, and ours are registered.
    rest = [re.sub(r"^(--env=)?pg_envs:", r"\1", argument) for argument in rest]
    before = sys.argv
    sys.argv = [f"{PROG} {name}", *rest]
    try:
        _run(COMMANDS[name], figure)
    except WindowClosed:
        # Whoever closes the window has seen enough.
        pass
    finally:
        sys.argv = before
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} COMMAND ...",
        description="RL Zoo with REINFORCE (reinforce), ActorCritic (actor_critic) and "
        "PGToy's environments:\n\n" + "\n".join(lines),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=tuple(COMMANDS), help=argparse.SUPPRESS)
    return parser


def _missing(command: Command) -> str | None:
    """Says which packages are missing and how to install them; None if none are."""
    needs = (("rl_zoo3", "zoo"), *command.needs)
    absent = [need for need in needs if importlib.util.find_spec(need[0]) is None]
    if not absent:
        return None
    packages = ", ".join(package for package, _ in absent)
    extras = ",".join(sorted({extra for _, extra in absent}))
    return f'{packages} must be installed: pip install "pgtoy[{extras}]"'


def _run(command: Command, figure: Path | None) -> None:
    if command.function is None:
        runpy.run_module(command.module, run_name="__main__")
        return
    script = getattr(importlib.import_module(command.module), command.function)
    if figure is None:
        script()
        return
    for file in save_figures(script, figure):
        print(f"figure: {file}")


if __name__ == "__main__":
    sys.exit(main())
