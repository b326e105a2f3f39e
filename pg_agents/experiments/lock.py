"""One process at a time: a claim on a folder that ends with the process."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_SECONDS = 0.05


class FolderBusyError(RuntimeError):
    """Another process, or another thread, is at work in the folder."""


@contextmanager
def claim(path: Path, wait_seconds: float = 10.0) -> Iterator[None]:
    """Holds a lock file, which the operating system frees with the process.

    So a lock is never stale: not after SIGKILL, nor when the number of a process that
    has gone is given to another. The file says who holds it, for people. It is removed
    in the end.

    Args:
        path: the lock file; its folder has to exist.
        wait_seconds: how long to wait for one who holds it. A process that was killed a
            moment ago may not have gone yet.

    Raises:
        FolderBusyError: if it is still held then.
    """
    deadline = time.monotonic() + wait_seconds
    while (file := _try(path)) is None:
        if time.monotonic() >= deadline:
            raise FolderBusyError(
                f"{path.parent} is in use by {_holder(path)}: wait for it to end, or "
                "end it"
            )
        time.sleep(_POLL_SECONDS)
    try:
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield
    finally:
        # Before it is freed: whoever gets the lock of a removed file tries anew.
        path.unlink(missing_ok=True)
        file.close()


def _try(path: Path) -> IO[str] | None:
    """Returns the open file, if the lock was free and the file is still there."""
    file = path.open("a+", encoding="utf-8")
    try:
        _lock(file)
        # The one before may have removed it since it was opened.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            return file
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    file.close()
    return None


def _lock(file: IO[Any]) -> None:
    if sys.platform == "win32":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
