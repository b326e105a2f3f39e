"""A claim excludes others, and ends with its process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from pg_agents.experiments import FolderBusyError
from pg_agents.experiments import lock as lock_module
from pg_agents.experiments.lock import claim


def test_who_comes_second_is_told_who_is_there(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with claim(path):
        message = rf"{tmp_path} is in use by process {os.getpid()} on "
        with pytest.raises(FolderBusyError, match=message):
            with claim(path, wait_seconds=0.1):
                raise AssertionError("two at once")
    assert not path.exists()
    with claim(path, wait_seconds=0):
        assert path.exists()


def test_it_is_freed_by_an_exception(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(ArithmeticError), claim(path):
        raise ArithmeticError
    with claim(path, wait_seconds=0):
        pass


def hold_for_ever(path: Path, ready: int) -> None:
    with claim(path):
        os.write(ready, b"x")
        signal.pause()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    at_read, at_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            hold_for_ever(path, at_write)
        finally:
            os._exit(1)
    try:
        os.read(at_read, 1)
        with pytest.raises(FolderBusyError, match=f"in use by process {child} on"):
            with claim(path, wait_seconds=0):
                raise AssertionError("two at once")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # The file is still there, and says the number of a process that has gone.
    assert path.exists()
    with claim(path, wait_seconds=0):
        assert str(os.getpid()) in path.read_text()
    os.close(at_read)
    os.close(at_write)


def test_the_lock_of_a_file_that_was_removed_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, its holder leaves, and another comes in."""
    path = tmp_path / ".lock"
    lock = lock_module._lock
    files: list[int] = []

    def slow(file: IO[Any]) -> None:
        if not files:
            path.unlink()
            path.touch()
        files.append(os.fstat(file.fileno()).st_ino)
        lock(file)

    monkeypatch.setattr(lock_module, "_lock", slow)
    with claim(path):
        assert len(files) == 2 and files[0] != files[1] == path.stat().st_ino


def test_of_many_at_once_one_is_in(tmp_path: Path) -> None:
    """Each removes the file when it leaves, which must let nobody slip in."""
    path, inside, most = tmp_path / ".lock", [0], [0]

    def work() -> None:
        for _ in range(3):
            with claim(path, wait_seconds=60):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and inside == [0]
