"""Runs a script in a child process of its own, in a temporary folder.

The script runs with the rights of the user: this keeps its files and its process out of
the way, and is no protection against malicious code.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pg_agents.checker.script.recording import PATIENCE, Recording
from pg_agents.common.child import child_environment

# CPU time for the start of the interpreter and for the last decoding.
_GRACE_S = 6.0
_KEPT_OUTPUT = 4000
# Ends a process that exceeds its CPU time; 0 where there is no such signal.
_SIGXCPU = int(getattr(signal, "SIGXCPU", 0))


@dataclass(frozen=True)
class Job:
    """What the child process runs.

    Attributes:
        script: path of the script.
        args: its arguments.
        entry: `module:function` to call instead of running the script as a program.
        input: what `input()` reads; None if it must not be called.
        seconds: CPU time to record.
        limit: CPU time after which the process is ended.
        seed: of the tasks.
        result: path of the file that the recording is written to.
    """

    script: Path
    args: tuple[str, ...]
    entry: str | None
    input: str | None
    seconds: float
    limit: float
    seed: int
    result: Path


def run(
    script: Path,
    args: Sequence[str] = (),
    *,
    entry: str | None = None,
    text: str | None = None,
    timeout_s: float = 20.0,
    seed: int = 0,
) -> Recording:
    """Runs a script and returns what it did.

    The child process works in a temporary folder, which is removed at the end. It ends
    itself when enough was recorded, and is killed, with the processes that it started,
    when the time is over.

    Args:
        script: path of the script.
        args: its arguments.
        entry: `module:function` to call instead of running the script as a program.
        text: what the script reads from its standard input.
        timeout_s: limit of the CPU time in seconds. On a busy machine `PATIENCE` times
            as many seconds may pass.
        seed: seed of the tasks, of Python's, NumPy's and torch's random generators.
    """
    with tempfile.TemporaryDirectory(prefix="pgtoy-script-") as folder:
        work, result = Path(folder, "work"), Path(folder, "result.pickle")
        work.mkdir()
        seconds = max(1.0, timeout_s - _GRACE_S)
        job = Job(
            script.resolve(),
            tuple(args),
            entry,
            text,
            seconds=seconds,
            limit=timeout_s,
            seed=seed,
            result=result,
        )
        job_file, output = Path(folder, "job.pickle"), Path(folder, "output.txt")
        job_file.write_bytes(pickle.dumps(job))
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "pg_agents.checker.script.child", str(job_file)],
                cwd=work,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timed_out = False
            try:
                process.wait(PATIENCE * timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                _kill_group(process)
        printed = output.read_text(encoding="utf-8", errors="replace")[-_KEPT_OUTPUT:]
        if result.exists():
            recording: Recording = pickle.loads(result.read_bytes())
            return replace(recording, output=printed)
    if timed_out or (_SIGXCPU and process.returncode == -_SIGXCPU):
        error = (
            f"the script did no update of its policy in {timeout_s:g} s; give it more "
            "time, or arguments with which it updates more often"
        )
    else:
        last = printed.strip().rpartition("\n")[2]
        error = f"its process ended with status {process.returncode}: {last}"
    return Recording(error=error, output=printed)


def _environment(folder: str) -> dict[str, str]:
    """Returns the environment variables of the child."""
    return child_environment(
        TMPDIR=folder,
        SDL_VIDEODRIVER="dummy",
        SDL_AUDIODRIVER="dummy",
        CUDA_VISIBLE_DEVICES="",
        WANDB_MODE="disabled",
    )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and those that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
