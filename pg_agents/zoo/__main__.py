"""The command `python -m pg_agents.zoo`: rl_zoo3's scripts with our algorithms."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import sys
from collections.abc import Sequence

from pg_agents.zoo.register import register
from pg_envs import WindowClosed

PROG = "python -m pg_agents.zoo"
# Help, module and function (None: the module is the script), and the packages that it
# imports beyond rl_zoo3's own requirements, with their extra. train writes the report
# of a search with pandas, after all trials.
COMMANDS: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    "train": (
        "train an agent, or tune its hyperparameters",
        "rl_zoo3.train",
        "train",
        {"pandas": "zoo"},
    ),
    "enjoy": (
        "watch a trained agent",
        "rl_zoo3.enjoy",
        "enjoy",
        {"requests": "zoo"},
    ),
    "record_video": (
        "film a trained agent",
        "rl_zoo3.record_video",
        None,
        {"moviepy": "video"},
    ),
    "all_plots": (
        "plot evaluations, averaged over runs",
        "rl_zoo3.plots",
        "all_plots",
        {"seaborn": "zoo", "pandas": "zoo"},
    ),
    "plot_train": (
        "plot the returns of training",
        "rl_zoo3.plots",
        "plot_train",
        {"seaborn": "zoo", "pandas": "zoo"},
    ),
    "plot_from_file": (
        "plot the results in a file of all_plots",
        "rl_zoo3.plots",
        "plot_from_file",
        {"seaborn": "zoo", "pandas": "zoo"},
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
        Exit status: 0, or 2 if a package is missing.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # The script parses what follows the command, --help included.
    command = _parser().parse_args(arguments[:1]).command
    _, module, function, packages = COMMANDS[command]
    needed = {"rl_zoo3": "zoo", **packages}
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({needed[name] for name in missing}))
        print(
            f"{PROG}: error: {', '.join(missing)} must be installed: pip install "
            f'"pgtoy[{extras}]"',
            file=sys.stderr,
        )
        return 2
    register()
    # rl_zoo3 looks ids up without their module, which is imported already.
    rest = [re.sub(r"^(--env=)?pg_envs:", r"\1", text) for text in arguments[1:]]
    before = sys.argv
    sys.argv = [f"{PROG} {command}", *rest]
    try:
        if function is None:
            runpy.run_module(module, run_name="__main__")
        else:
            getattr(importlib.import_module(module), function)()
    except WindowClosed:
        # The user has closed the window.
        pass
    finally:
        sys.argv = before
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {entry[0]}" for name, entry in COMMANDS.items()]
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
