"""Executes the notebooks, and prints how long each takes.

    python notebooks/execute.py                # all
    python notebooks/execute.py 01-bandit      # some
    python notebooks/execute.py --to out       # and keeps them with their outputs
    python notebooks/execute.py --write        # and writes the times into README.md

A notebook fails where a cell raises an error or writes to standard error. The exit
status is 0 if none does. Needs the extra `notebooks`.
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Execution:
    """What became of a notebook.

    Attributes:
        notebook: with its outputs, as far as it got.
        seconds: wall-clock time, the start of the kernel included.
        cpu_seconds: time of all cores that the kernel took.
        error: what went wrong; empty if nothing did.
    """

    notebook: Any
    seconds: float
    cpu_seconds: float
    error: str


def names() -> list[str]:
    """Returns the names of all notebooks, in order."""
    return sorted(path.stem for path in FOLDER.glob("[0-9][0-9]-*.md"))


def execute(name: str, timeout: int = 3600) -> Execution:
    """Executes a notebook in an empty folder, in a process of its own.

    Args:
        name: of the notebook, without suffix.
        timeout: seconds that a cell may take, many times what it needs: other processes
            may share the cores.
    """
    notebook: Any = jupytext.read(FOLDER / f"{name}.md")
    error, began, cpu_before = "", time.monotonic(), _cpu_seconds_of_children()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=timeout,
            # Of the kernel; its default of 60 s is too short on a busy machine.
            startup_timeout=timeout,
            resources={"metadata": {"path": folder}},
            # Errors only: it warns that its sockets are not encrypted.
            extra_arguments=["--log-level=40"],
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
            error = str(failure)
    seconds = time.monotonic() - began
    cpu_seconds = _cpu_seconds_of_children() - cpu_before
    return Execution(notebook, seconds, cpu_seconds, error or _standard_error(notebook))


def _cpu_seconds_of_children() -> float:
    """Returns the time that child processes took, once they have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _standard_error(notebook: Any) -> str:  # noqa: ANN401
    """Returns what the cells wrote to standard error, such as warnings."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    return "".join(o["text"] for o in outputs if o.get("name") == "stderr")


def write_times(executions: dict[str, Execution], path: Path) -> None:
    """Writes times into the table of a page, between its marks; others stay.

    Raises:
        ValueError: if the page has no marks.
    """
    page = path.read_text(encoding="utf-8")
    marked = re.search(
        r"<!-- generated: times -->\n(.*?)<!-- end -->", page, flags=re.DOTALL
    )
    if marked is None:
        raise ValueError(f"{path} must have a part '<!-- generated: times -->'")
    known = re.findall(r"^\| \[(.*?)\].*\| (\d+) s \|$", marked[1], re.MULTILINE)
    times = {name: int(seconds) for name, seconds in known}
    times |= {name: round(done.cpu_seconds) for name, done in executions.items()}
    rows = [f"| [{name}]({name}.md) | {times[name]} s |" for name in sorted(times)]
    lines = ["| notebook | time |", "|---|---:|", *rows]
    lines.append(f"| together | {sum(times.values())} s |")
    table = "\n".join(lines)
    page = page[: marked.start(1)] + f"\n{table}\n\n" + page[marked.end(1) :]
    path.write_text(page, encoding="utf-8")


def main() -> int:
    """Executes the notebooks of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=names(), metavar="NAME")
    parser.add_argument("--to", type=Path, help="folder for the executed notebooks")
    parser.add_argument(
        "--write", action="store_true", help="write the times into README.md"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"there is no notebook {unknown[0]}; there are {names()}")
    if options.to is not None:
        options.to.mkdir(parents=True, exist_ok=True)
    print(f"{'notebook':28} {'seconds':>8} {'CPU':>8}")
    executions: dict[str, Execution] = {}
    for name in options.names:
        done = executions[name] = execute(name)
        mark = "  failed" if done.error else ""
        print(
            f"{name:28} {done.seconds:8.1f} {done.cpu_seconds:8.1f}{mark}", flush=True
        )
        if options.to is not None:
            nbformat.write(done.notebook, options.to / f"{name}.ipynb")
    seconds = sum(done.seconds for done in executions.values())
    cpu_seconds = sum(done.cpu_seconds for done in executions.values())
    print(f"{'together':28} {seconds:8.1f} {cpu_seconds:8.1f}")
    failed = {name: done for name, done in executions.items() if done.error}
    if options.write:
        completed = {n: done for n, done in executions.items() if n not in failed}
        write_times(completed, FOLDER / "README.md")
    for name, done in failed.items():
        print(f"\n{name}:\n{done.error}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
