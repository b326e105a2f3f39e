"""The file that a sweep is written to, opened safely after a process was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pg_agents.common.files import check_writable

_ADVICE = 'sweeps need Optuna, an extra: pip install "pgtoy[sweeps]"'


@contextmanager
def open_journal(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens a journal for as long as the block runs, for this process alone.

    Optuna appends each operation as a line. What a killed process leaves is mended: a
    last line that was cut off is removed, as nobody can have acted on it, and so is
    Optuna's lock, which would hold up the next process for half a minute. Both are safe
    because a lock of ours, which the system takes back from the dead, keeps others out.

    Args:
        path: of the journal; it is made if there is none.

    Yields:
        Optuna's `JournalStorage`.

    Raises:
        ImportError: if the extra is not installed; says how to install it.
        ValueError: if the folder does not exist, the file is no journal, or another
            process has it open.
        OSError: if it can't be written to.
    """
    try:
        from filelock import FileLock, Timeout
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise ImportError(f"{_ADVICE} ({error})") from error
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} for the journal {path}")
    if path.exists() and not path.is_file():
        raise ValueError(f"the journal must be a file, got {path}")
    check_writable(path)
    lock = FileLock(path.with_name(f"{path.name}.in-use"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another process works on {path}: a sweep runs in one process at a time"
        ) from None
    try:
        _mend(path)
        yield JournalStorage(JournalFileBackend(str(path)))
    finally:
        lock.release()


def _mend(path: Path) -> None:
    """Removes what a killed process has left, and refuses what it can't have left."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            good = "op_code" in json.loads(line)
        except (ValueError, TypeError):
            good = False
        if not good:
            raise ValueError(
                f"{path} is no journal of Optuna, or damaged: line {number} reads "
                f"{line[:60]!r}; name another file, or delete it and start anew"
            )
    if content and not whole and not content.startswith(b'{"op_code"'[: len(content)]):
        # Cut off or not, this was never a journal: it is somebody's file.
        raise ValueError(f"{path} is no journal of Optuna: name another file")
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
