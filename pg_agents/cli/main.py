"""The command `pgtoy`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pg_agents import __version__
from pg_agents.cli import run, sweep
from pg_agents.cli.plot import add_compare_parser, add_plot_parser

_REFUSALS = (ValueError, TypeError, ImportError, AttributeError, OSError)
_DEFAULT_ENV = "PGToy-Sequence-v0"
_PICTURES = (".png", ".pdf", ".svg")

_EXAMPLES = """\
examples:
  pgtoy check my_reinforce.py:loss            is this gradient right?
  pgtoy recipes                               what can be run
  pgtoy watch pixelcopter-mc                  a trained agent, in a window
  pgtoy run sequence-reinforce --seeds 3      train

`pgtoy COMMAND --help` says more.
"""
_EPILOG = """\
examples:
  pgtoy check my_reinforce.py:loss
  pgtoy check my_package.losses:reinforce --gamma 0.99 --plot check.png
  pgtoy check stable_baselines3:A2C --env FrozenLake-v1

The object is a function (batch, policy) -> loss or gradient, a model with
Stable-Baselines3's interface, or the class of one, which is made with "MlpPolicy" and
its defaults. The exit status is 0 if the gradient is unbiased, 1 if it is not, 2 if it
could not be checked, and 3 if the sample was too small to tell.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the command's own name; None for those of the process.

    Returns:
        Exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return int(options.run(options))
    except Exception as error:
        # Errors of the code that the user checks are shown with their traceback.
        ours = options.command != "check" or _raised_here(error)
        if _is_refusal(error) and ours:
            print(f"pgtoy: error: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 2
    except KeyboardInterrupt:
        print("pgtoy: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pgtoy",
        description="Policy gradients to run, watch and check.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pgtoy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_check(commands)
    run.add_commands(commands)
    sweep.add_command(commands)
    add_plot_parser(commands)
    add_compare_parser(commands)
    return parser


def _add_check(commands: Any) -> None:  # noqa: ANN401
    check = commands.add_parser(
        "check",
        help="compare the gradient of a loss or a model with the exact one",
        description="Compare the gradient of a loss or a model with the exact one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = check.add_argument
    add("subject", metavar="module:object", help="a module, or a .py file")
    add("--env", default=_DEFAULT_ENV, help="id of a tabular environment (%(default)s)")
    add("--gamma", type=float, help="discount factor (the model's own, or 0.9)")
    add("--horizon", type=int, help="time limit in steps (the environment's own)")
    add(
        "--bootstrap",
        action="store_true",
        help="the time limit is not part of the task: bootstrap there",
    )
    add("--episodes", type=int, help="to sample (16384; 2048 or fewer for a model)")
    add("--batch-size", type=int, default=8, help="episodes per call (%(default)s)")
    add("--envs", type=int, default=4, help="environments they come from (%(default)s)")
    add(
        "--critic",
        choices=("own", "exact"),
        default="own",
        help="exact: replace the model's critic by exact values",
    )
    add("--seed", type=int, default=0, help="of the sampling (%(default)s)")
    add("--plot", type=Path, metavar="FILE", help="draw the estimates (png, pdf, svg)")
    add("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    # Imported here, as in all commands: `pgtoy --help` loads no torch or matplotlib.
    from pg_agents.analysis.plots import save_figure
    from pg_agents.checker.check import check_policy_gradient
    from pg_agents.checker.report import draw_report
    from pg_agents.common.files import check_writable

    if options.plot is not None:
        if options.plot.suffix not in _PICTURES:
            endings = ", ".join(_PICTURES)
            raise ValueError(f"--plot must end in {endings}, got {options.plot}")
        check_writable(options.plot)
    report = check_policy_gradient(
        _subject(options.subject, options.env, options.seed),
        options.env,
        gamma=options.gamma,
        horizon=options.horizon,
        bootstrap=options.bootstrap,
        n_episodes=options.episodes,
        batch_size=options.batch_size,
        n_envs=options.envs,
        critic=options.critic,
        seed=options.seed,
    )
    print(report.to_json() if options.json else report)
    if options.plot is not None:
        save_figure(draw_report(report), options.plot)
        print(f"plot: {options.plot}", file=sys.stderr)
    return {"unbiased": 0, "undecided": 3}.get(report.verdict, 1)


def _subject(name: str, env: str, seed: int) -> Any:  # noqa: ANN401
    module_name, colon, path = name.rpartition(":")
    if not (colon and module_name and path):
        raise ValueError(
            f"the subject must read module:object or file.py:object, got {name!r}"
        )
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    subject: Any = _import_module(module_name)
    for part in path.split("."):
        if not hasattr(subject, part):
            raise AttributeError(f"{module_name} has no {path}")
        subject = getattr(subject, part)
    if isinstance(subject, type) and issubclass(subject, OnPolicyAlgorithm):
        return subject("MlpPolicy", env, seed=seed)  # type: ignore[call-arg]
    return subject


def _import_module(name: str) -> ModuleType:
    # As `python -m` does.
    sys.path.insert(0, os.getcwd())
    if not name.endswith(".py"):
        return importlib.import_module(name)
    file = Path(name)
    if not file.is_file():
        raise ValueError(f"there is no file {name}")
    # For its imports of modules beside it.
    sys.path.insert(0, str(file.parent.resolve()))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def _is_refusal(error: Exception) -> bool:
    """Whether the message of an error suffices without a traceback."""
    from gymnasium.error import Error

    return isinstance(error, (*_REFUSALS, Error))


def _raised_here(error: BaseException) -> bool:
    """Whether an error was raised by this package or the import, not the subject."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    name = last.tb_frame.f_globals.get("__name__", "") if last else ""
    return name.split(".")[0] in ("pg_agents", "pg_envs", "gymnasium", "importlib")


if __name__ == "__main__":
    sys.exit(main())
