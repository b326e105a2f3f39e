"""Processes that run the code of users."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pg_agents.common.threads import default_to_one_thread

_KEPT_OUTPUT = 4_000


class ChildEnd(NamedTuple):
    """How a child process ended.

    Attributes:
        status: its exit status; None if the time was over.
        printed: the last characters that it has printed.
    """

    status: int | None
    printed: str


def run_child(
    module: str,
    job: object,
    folder: Path,
    *,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    **variables: str,
) -> ChildEnd:
    """Runs `python -m module FILE`, where FILE has the pickled job.

    At the end, and when this process is interrupted, it is killed with the processes
    that it has started.

    Args:
        module: name of the module.
        job: what it is to do.
        folder: an empty folder, for the files of the job and its output.
        cwd: its working folder; None for that of this process.
        timeout_s: limit of the wall-clock time in seconds; None if it ends itself.
        **variables: environment variables, beside those of `child_environment`.
    """
    job_file, output = folder / "job.pickle", folder / "output.txt"
    job_file.write_bytes(pickle.dumps(job))
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(job_file)],
            cwd=cwd,
            env=child_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timed_out = False
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill_group(process)
    printed = output.read_text(encoding="utf-8", errors="replace")[-_KEPT_OUTPUT:]
    return ChildEnd(None if timed_out else process.returncode, printed)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and, where there are process groups, those it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    process.wait()


def child_environment(**variables: str) -> dict[str, str]:
    """Returns the variables of this process, changed for a child that imports pgtoy.

    Plots are not shown, output is not held back, no warnings are printed and no files
    written beside sources. BLAS has one thread unless the user has set another number.

    Args:
        **variables: more of them.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": root if not path else os.pathsep.join([root, path]),
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    default_to_one_thread(environment)
    return environment
