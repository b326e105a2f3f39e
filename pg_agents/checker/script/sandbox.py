"""Runs a script in a child process of its own, in a temporary folder.

The script runs with the rights of the user: this keeps its files and its process out of
the way, and is no protection against malicious code.
"""

from __future__ import annotations

import pickle
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pg_agents.checker.script.recording import PATIENCE, Recording
from pg_agents.common.child import run_child

# CPU time for the start of the interpreter and for the last decoding.
_GRACE_S = 6.0
# Ends a process that exceeds its CPU time; 0 where there is no such signal.
_SIGXCPU = int(getattr(signal, "SIGXCPU", 0))


@dataclass(frozen=True)
class Job:
    """What the child process runs.

    Attributes:
        script: path of the script.
        args: its arguments.
        entry: `module:function` to call instead of running the script as a program.
        cells: code cells of a notebook to run, counted from 1; None for all.
        input: what `input()` reads; None if it must not be called.
        seconds: CPU time to record.
        limit: CPU time after which the process is ended.
        seed: of the tasks.
        result: path of the file that the recording is written to.
    """

    script: Path
    args: tuple[str, ...]
    entry: str | None
    cells: tuple[int, ...] | None
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
    cells: Sequence[int] | None = None,
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
        cells: code cells of a notebook to run, counted from 1; None for all.
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
            None if cells is None else tuple(cells),
            text,
            seconds=seconds,
            limit=timeout_s,
            seed=seed,
            result=result,
        )
        # Never a window, a sound, a GPU or an upload.
        end = run_child(
            "pg_agents.checker.script.child",
            job,
            Path(folder),
            cwd=work,
            timeout_s=PATIENCE * timeout_s,
            TMPDIR=folder,
            SDL_VIDEODRIVER="dummy",
            SDL_AUDIODRIVER="dummy",
            CUDA_VISIBLE_DEVICES="",
            WANDB_MODE="disabled",
        )
        if result.exists():
            recording: Recording = pickle.loads(result.read_bytes())
            error, last = recording.error, _last_line(end.printed)
            if error is not None and recording.exits and last:
                # Such as argparse's message.
                error = f"{error}; the last line that it printed: {last}"
            return replace(recording, error=error, output=end.printed)
    if end.status is None or (_SIGXCPU and end.status == -_SIGXCPU):
        error = (
            f"the script did no update of its policy in {timeout_s:g} s; give it more "
            "time, or arguments with which it updates more often"
        )
    else:
        last = _last_line(end.printed)
        error = f"its process ended with status {end.status}: {last}"
    return Recording(error=error, output=end.printed)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
