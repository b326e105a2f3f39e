"""The command `python -m pg_agents.zoo`: rl_zoo3's scripts with our algorithms."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

from pg_agents.common.extras import install_command
from pg_agents.live.screen import has_screen
from pg_agents.zoo.register import register
from pg_envs import WindowClosed

PROG = "python -m pg_agents.zoo"
_PLOTS = {"seaborn": "zoo", "pandas": "zoo"}


class Script(NamedTuple):
    """A script of rl_zoo3.

    Attributes:
        help: what it does.
        module: its module.
        function: its function; None if the module is the script.
        packages: extra of each package that it imports and rl_zoo3 does not require.
    """

    help: str
    module: str
    function: str | None
    packages: dict[str, str]


COMMANDS = {
    # It writes the report of a search with pandas, after all trials.
    "train": Script(
        "train an agent, or tune its hyperparameters",
        "rl_zoo3.train",
        "train",
        {"pandas": "zoo"},
    ),
    "enjoy": Script(
        "watch a trained agent", "rl_zoo3.enjoy", "enjoy", {"requests": "zoo"}
    ),
    "record_video": Script(
        "film a trained agent", "rl_zoo3.record_video", None, {"moviepy": "video"}
    ),
    "all_plots": Script(
        "plot evaluations, averaged over runs", "rl_zoo3.plots", "all_plots", _PLOTS
    ),
    "plot_train": Script(
        "plot the returns of training", "rl_zoo3.plots", "plot_train", _PLOTS
    ),
    "plot_from_file": Script(
        "plot the results in a file of all_plots",
        "rl_zoo3.plots",
        "plot_from_file",
        _PLOTS,
    ),
}

_EPILOG = """\
examples:
  train --algo reinforce --env PGToy-Sequence-v0 --seed 0
  train --algo actor_critic --env CartPole-v1 --optimize-hyperparameters \\
      --n-trials 50 --storage logs/study.log --study-name cartpole
  train --algo actor_critic --env CartPole-v1 --storage logs/study.log \\
      --study-name cartpole --trial-id 7
  enjoy --algo reinforce --env PGToy-Sequence-v0 --folder logs
  plot_train --algo reinforce --env PGToy-Sequence-v0 --exp-folder logs

Each command is rl_zoo3's script of that name and takes its arguments: COMMAND --help
lists them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a script of rl_zoo3 with our algorithms registered.

    Args:
        arguments: the command and its arguments; None for those of the process.

    Returns:
        Exit status: 0, or 2 if a package or a screen is missing.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # The script parses what follows the command, --help included.
    command = _parser().parse_args(arguments[:1]).command
    script = COMMANDS[command]
    needed = {"rl_zoo3": "zoo", **script.packages}
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = sorted({needed[name] for name in missing})
        print(
            f"{PROG}: error: {', '.join(missing)} must be installed: "
            f"{install_command(*extras)}",
            file=sys.stderr,
        )
        return 2
    if command == "enjoy" and "--no-render" not in arguments and not has_screen():
        asks_for_help = {"-h", "--help"} & set(arguments)
        if not asks_for_help:
            print(
                f"{PROG}: error: there is no screen for a window: add --no-render for "
                "the returns alone, or make a film with record_video",
                file=sys.stderr,
            )
            return 2
    register()
    # rl_zoo3 looks ids up without their module, which is imported already.
    rest = [re.sub(r"^(--env=)?pg_envs:", r"\1", text) for text in arguments[1:]]
    before = sys.argv
    sys.argv = [f"{PROG} {command}", *rest]
    try:
        if script.function is None:
            runpy.run_module(script.module, run_name="__main__")
        else:
            getattr(importlib.import_module(script.module), script.function)()
    except WindowClosed:
        # The user has closed the window.
        pass
    finally:
        sys.argv = before
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {script.help}" for name, script in COMMANDS.items()]
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


if __name__ == "__main__":
    sys.exit(main())
