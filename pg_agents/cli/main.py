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
from typing import TYPE_CHECKING, Any

from pg_agents import __version__
from pg_agents.common.threads import default_to_one_thread

if TYPE_CHECKING:
    from pg_agents.checker.report import GradientReport

_REFUSALS = (ValueError, TypeError, ImportError, AttributeError, OSError)
# Options of `check` for functions and models alone, and for scripts alone: what they
# are if they are not given, which the parser leaves None.
_OBJECT_OPTIONS: dict[str, Any] = {
    "episodes": None,
    "batch_size": 8,
    "envs": 4,
    "horizon": None,
    "env": None,
    "policy": None,
    "critic": "own",
    "bootstrap": False,
}
_SCRIPT_OPTIONS: dict[str, Any] = {
    "entry": None,
    "cells": None,
    "input": None,
    "timeout": 20.0,
    "time_limit_is_terminal": False,
}
_PICTURES = (".png", ".pdf", ".svg")

# Commands of RL Zoo and of others, and ours that do the same.
_ELSEWHERE = {"enjoy": "watch", "train": "run", "list": "recipes", "tune": "sweep"}
_EXAMPLES = """\
examples:
  pgtoy check train.py                        is this script's gradient right?
  pgtoy check my_reinforce.py:loss            is this loss's?
  pgtoy recipes                               what can be run
  pgtoy watch pixelcopter-mc                  a trained agent, in a window
  pgtoy run sequence-reinforce --seeds 3      train
  pgtoy exercise list                         write it yourself, with a checker

`pgtoy COMMAND --help` says more.
"""
_EPILOG = """\
examples:
  pgtoy check train.py -- --num-envs 4
  pgtoy check train.ipynb --cells 1-4,7
  pgtoy check my_reinforce.py:loss
  pgtoy check my_package.losses:actor_loss --policy my_package.nets:Actor
  pgtoy check my_reinforce.py:loss --target algorithm --plot check.png
  pgtoy check stable_baselines3:A2C --env FrozenLake-v1

The object is a function (batch, policy) -> loss or gradient, a model with
Stable-Baselines3's interface, or the class of one, which is made with
"MlpPolicy" and its defaults. The exit status is 0 if the gradient is right for
the target, 1 if it is not, 2 if it could not be checked, and 3 if it is
undecided.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the command's own name; None for those of the process.

    Returns:
        Exit status.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    script_arguments: list[str] = []
    checks = arguments[:1] == ["check"]
    if checks and "numpy" not in sys.modules:
        default_to_one_thread(os.environ)
    if checks and "--" in arguments:
        # argparse would mix them with the command's own.
        end = arguments.index("--")
        arguments, script_arguments = arguments[:end], arguments[end + 1 :]
    parser, commands = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        parser.error(_unknown_command(arguments[0], commands))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    options.script_arguments = script_arguments
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader, such as `head`, has enough; Python would flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as error:
        # Errors of the code that the user checks are shown with their traceback.
        ours = options.command != "check" or _raised_here(error)
        if _is_refusal(error) and ours:
            print(f"pgtoy: error: {error}", file=sys.stderr)
        else:
            from pg_agents.checker.lines.place import users_traceback

            # All of it, where pgtoy itself has failed.
            trace = users_traceback(error) or error.__traceback__
            traceback.print_exception(error.with_traceback(trace))
        return 2
    except KeyboardInterrupt:
        print("pgtoy: interrupted", file=sys.stderr)
        return 130


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """Returns the parser and the names of its commands."""
    # They import NumPy, for which the number of threads is set before.
    from pg_agents.cli import exercise, run, sweep
    from pg_agents.cli.plot import add_compare_parser, add_plot_parser

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
    exercise.add_command(commands)
    add_plot_parser(commands)
    add_compare_parser(commands)
    return parser, list(commands.choices)


def _unknown_command(name: str, commands: list[str]) -> str:
    from pg_agents.experiments.settings import suggestion

    hint = suggestion(name, commands)
    if name in _ELSEWHERE:
        hint = f"did you mean {_ELSEWHERE[name]}?"
    return f"there is no command {name!r}: {hint}"


def _add_check(commands: Any) -> None:  # noqa: ANN401
    check = commands.add_parser(
        "check",
        help="say whether the gradient of a script, a loss or a model is right",
        usage="%(prog)s [OPTIONS] train.py [-- ARGUMENTS]\n"
        "       %(prog)s [OPTIONS] module:object",
        description="Say whether the policy gradient of a training script, of a loss\n"
        "or of a model is right, and if not, what is wrong.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = check.add_argument
    add(
        "subject",
        metavar="train.py | module:object",
        help="a training script or notebook (.ipynb), which runs unchanged with the "
        "arguments after --; or a loss or a model in a module or a .py file",
    )
    add(
        "--target",
        choices=("exact", "algorithm"),
        help="exact: the gradient of the expected discounted return, up to a positive "
        "factor; algorithm: also what documented algorithms have (exact for functions, "
        "algorithm for scripts and models)",
    )
    add("--env", help="id of a tabular environment (a battery of three tasks)")
    add("--policy", metavar="module:object", help="for functions: the network")
    add(
        "--critic",
        metavar="own|exact|module:object",
        help="exact: replace the model's critic by exact values; module:object, for "
        "functions: what fills batch.values (exact values, or those of the policy)",
    )
    add("--gamma", type=float, help="discount factor (the model's own, or 0.9)")
    add("--horizon", type=int, help="time limit in steps (the environment's, or 100)")
    add(
        "--bootstrap",
        action="store_true",
        default=None,
        help="the time limit is not part of the task: bootstrap there",
    )
    add(
        "--time-limit-is-terminal",
        action="store_true",
        default=None,
        help="of a script: the time limit is part of the task: do not bootstrap there",
    )
    add("--episodes", type=int, help="per task (8192; 2048 or fewer for a model)")
    add("--batch-size", type=int, help="episodes per call (8)")
    add("--envs", type=int, help="environments they come from (4)")
    add("--seed", type=int, default=0, help="of the sampling (%(default)s)")
    add("--entry", metavar="module:function", help="what to call in a script's folder")
    add(
        "--cells",
        metavar="1-4,7",
        type=_numbers,
        help="code cells of a notebook to run, counted from 1 (all)",
    )
    add(
        "--input",
        metavar="LINE",
        action="append",
        help="what a script's input() reads; may be repeated",
    )
    add(
        "--timeout",
        type=float,
        help="CPU time of a script, in s (20)",
    )
    add("--plot", type=Path, metavar="FILE", help="draw the gradient (png, pdf, svg)")
    add("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    # Imported here, as in all commands: `pgtoy --help` loads no torch or matplotlib.
    from pg_agents.analysis.plots import save_figure
    from pg_agents.checker.report import draw_report
    from pg_agents.common.files import check_writable

    if options.plot is not None:
        if options.plot.suffix not in _PICTURES:
            endings = ", ".join(_PICTURES)
            raise ValueError(f"--plot must end in {endings}, got {options.plot}")
        check_writable(options.plot)
    is_script = options.subject.endswith((".py", ".ipynb"))
    _refuse_options_of_others(options, is_script)
    if is_script:
        report = _check_script(options)
    elif options.script_arguments:
        raise ValueError(
            "arguments after -- are those of a script: the subject must be a .py or "
            f".ipynb file without an object, got {options.subject!r}"
        )
    else:
        report = _check_object(options)
    print(report.to_json() if options.json else report)
    if options.plot is not None and not report.tasks:
        print("plot: no gradient is finite, there is nothing to draw", file=sys.stderr)
    elif options.plot is not None:
        save_figure(draw_report(report), options.plot)
        print(f"plot: {options.plot}", file=sys.stderr)
    return report.exit_status


def _refuse_options_of_others(options: argparse.Namespace, is_script: bool) -> None:
    """Refuses options that the subject would not get, and sets those not given.

    Raises:
        ValueError: if there is one.
    """
    for name in _OBJECT_OPTIONS if is_script else _SCRIPT_OPTIONS:
        value = getattr(options, name)
        if value is None:
            continue
        option = f"--{name.replace('_', '-')}"
        if not is_script:
            raise ValueError(
                f"{option} is for scripts and notebooks, got {options.subject}"
            )
        given = option if value is True else f"{option} {value}"
        raise ValueError(
            f"{option} is for functions and models, got {options.subject}; if it is "
            f"an argument of the script: pgtoy check {options.subject} -- {given}"
        )
    for name, default in (_OBJECT_OPTIONS | _SCRIPT_OPTIONS).items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _check_script(options: argparse.Namespace) -> GradientReport:
    from pg_agents.checker.script.check import check_script

    if sys.stderr.isatty() and Path(options.subject).is_file():
        print(
            f"running {options.subject} on small tasks (at most "
            f"{options.timeout:g} s of processor time) ...",
            file=sys.stderr,
        )
    lines = options.input
    return check_script(
        options.subject,
        options.script_arguments,
        entry=options.entry,
        cells=options.cells,
        target=options.target or "algorithm",
        gamma=options.gamma,
        text=None if lines is None else "".join(f"{line}\n" for line in lines),
        timeout_s=options.timeout,
        seed=options.seed,
        time_limit_is_terminal=options.time_limit_is_terminal,
    )


def _numbers(text: str) -> list[int]:
    """Returns the numbers of a list such as "1-4,7"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, is_range, last = part.partition("-")
        if not first.isdigit() or (is_range and not last.isdigit()):
            raise argparse.ArgumentTypeError(
                f"must be numbers and ranges such as 1-4,7, got {text!r}"
            )
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _check_object(options: argparse.Namespace) -> GradientReport:
    from pg_agents.checker.check import check_policy_gradient

    modules: dict[str, ModuleType] = {}
    policy, critic = options.policy, options.critic
    if policy is not None:
        policy = _made("--policy", policy, modules)
    if critic not in ("own", "exact"):
        critic = _made("--critic", critic, modules)
    return check_policy_gradient(
        _subject(options.subject, options.env, options.seed, modules),
        options.env,
        target=options.target,
        gamma=options.gamma,
        horizon=options.horizon,
        bootstrap=options.bootstrap,
        policy=policy,
        critic=critic,
        n_episodes=options.episodes,
        batch_size=options.batch_size,
        n_envs=options.envs,
        seed=options.seed,
    )


def _subject(
    name: str, env: str | None, seed: int, modules: dict[str, ModuleType]
) -> Any:  # noqa: ANN401
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    subject = _imported("the subject", name, modules)
    if isinstance(subject, type) and issubclass(subject, OnPolicyAlgorithm):
        return subject("MlpPolicy", env or _battery_env(), seed=seed)  # type: ignore[call-arg]
    return subject


def _battery_env() -> Any:  # noqa: ANN401
    from pg_agents.checker.battery import battery
    from pg_envs import TabularEnv

    return TabularEnv(battery()[0].mdp)


def _made(argument: str, name: str, modules: dict[str, ModuleType]) -> Any:  # noqa: ANN401
    """Returns the module or function of a name; a class is called without arguments."""
    found = _imported(argument, name, modules)
    return found() if isinstance(found, type) else found


def _imported(argument: str, name: str, modules: dict[str, ModuleType]) -> Any:  # noqa: ANN401
    """Returns the object of a name; modules are imported once per command."""
    module_name, colon, path = name.rpartition(":")
    if not (colon and module_name and path):
        raise ValueError(
            f"{argument} must read module:object or file.py:object, got {name!r}"
        )
    if module_name not in modules:
        modules[module_name] = _import_module(module_name)
    found: Any = modules[module_name]
    for part in path.split("."):
        if not hasattr(found, part):
            raise AttributeError(f"{module_name} has no {path}")
        found = getattr(found, part)
    return found


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
