"""The commands for exercises."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

_EPILOG = """\
examples:
  pgtoy exercise list                     what there is
  pgtoy exercise show returns             instruction and stub
  pgtoy exercise start returns            write the stub to returns.py
  pgtoy exercise check returns.py         right, or what is wrong and why
  pgtoy exercise show returns --solution

The exit status of check is 0 if all answers in the file are right, 1 if one is
wrong, and 2 if one could not be checked, such as a stub that is not written
yet.
"""


def add_command(commands: Any) -> None:  # noqa: ANN401
    """Adds `exercise` to the subparsers of `pgtoy`."""
    parser = commands.add_parser(
        "exercise",
        help="exercises on policy gradients that check themselves",
        description="Exercises on policy gradients that check themselves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=lambda _: _help(parser))
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    listing = actions.add_parser("list", help="list the exercises")
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="print an instruction and its stub")
    show.add_argument("name", metavar="NAME", help="such as returns")
    show.add_argument("--solution", action="store_true", help="a solution instead")
    show.set_defaults(run=_show)

    start = actions.add_parser("start", help="write a stub to a file")
    start.add_argument("name", metavar="NAME", help="such as returns")
    start.add_argument(
        "--to", type=Path, metavar="FILE", help="NAME.py in this folder by default"
    )
    start.set_defaults(run=_start)

    check = actions.add_parser("check", help="check the answers in a file")
    check.add_argument("file", metavar="FILE", help="such as returns.py")
    check.add_argument("--exercise", metavar="NAME", help="check this one only")
    check.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        help="of each check, in seconds of computing time (%(default)g)",
    )
    check.add_argument("--json", action="store_true", help="print results as JSON")
    check.set_defaults(run=_check)


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _list(options: argparse.Namespace) -> int:
    from pg_agents.exercises import EXERCISES

    if options.json:
        rows = [
            {
                "name": one.name,
                "title": one.title,
                "function": one.function,
                "instruction": one.instruction,
            }
            for one in EXERCISES
        ]
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(one.name) for one in EXERCISES)
    for one in EXERCISES:
        print(f"{one.name:{width}}  {one.title}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from pg_agents.exercises import exercise

    one = exercise(options.name)
    print(one.solution if options.solution else one.stub, end="")
    if not options.solution:
        print(f"\n\n# pgtoy exercise start {one.name}     writes this to {one.name}.py")
        print(f"# pgtoy exercise check {one.name}.py  checks it")
    return 0


def _start(options: argparse.Namespace) -> int:
    from pg_agents.exercises import exercise

    one = exercise(options.name)
    path = options.to or Path(f"{one.name}.py")
    if path.suffix != ".py":
        raise ValueError(f"--to must name a Python file, NAME.py, got {path}")
    try:
        # Not even between a test and the writing does another file get lost.
        with path.open("x", encoding="utf-8") as file:
            file.write(one.stub)
    except FileExistsError as error:
        raise FileExistsError(
            f"{path} exists and is left as it is; --to FILE takes another name"
        ) from error
    print(f"{path}: {one.title}")
    print(f"Write {one.function}, then: pgtoy exercise check {path}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from pg_agents.exercises import check_file

    results = check_file(options.file, options.exercise, timeout_s=options.timeout)
    if options.json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
    else:
        print("\n\n".join(map(str, results)))
    statuses = {result.exit_status for result in results}
    return 1 if 1 in statuses else max(statuses)
