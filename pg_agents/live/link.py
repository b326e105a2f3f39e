"""The viewer's process, as the training sees it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from pg_agents.live.messages import Close, Command, Update

# Not `multiprocessing`, which would import a script again that lacks a main guard.
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from pg_agents.live.viewer import main; main()"
)
_START_SECONDS = 60.0
_END_SECONDS = 300.0


@dataclass(frozen=True)
class Options:
    """What a viewer is started with.

    Attributes:
        size: width and height of the window or the film in pixels.
        theme: "light" or "dark".
        fps: largest number of frames a second.
        film: file of the film, .gif or .mp4; None for a window.
        spare_film: file of the film that is made if no window can be opened.
        folder: where pictures are saved.
        sends_pictures: whether frames are sent back, for a notebook.
    """

    size: tuple[int, int]
    theme: str
    fps: int
    film: Path | None
    spare_film: Path
    folder: Path
    sends_pictures: bool = False


class Link:
    """Starts the viewer, sends it messages, and receives its commands.

    Over a socket of this machine, without threads: one that holds Python's lock while
    another process has its core would stop the training. The viewer ends with the
    process that has started it.

    Args:
        options: of the viewer.

    Attributes:
        is_alive: whether the viewer listens.
    """

    def __init__(self, options: Options) -> None:
        # One thread each: the cores are for the training.
        environment = {
            **os.environ,
            "PYGAME_HIDE_SUPPORT_PROMPT": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        token = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
            port = server.getsockname()[1]
            self._connection = _accept(server, self._process, f"{port} {token}\n")
        self.is_alive = self._connection is not None
        self._n_unread = 0
        self._commands: list[Command] = []
        self._finalizer = weakref.finalize(self, _end, self._process, self._connection)
        self.send(options)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def is_busy(self) -> bool:
        """Whether the viewer has not taken the last `Update`."""
        return self._n_unread > 0

    def send(self, message: object) -> None:
        """Sends a message; the viewer reads at any time, also while it draws."""
        if not self.is_alive:
            return
        assert self._connection is not None, "it is alive"
        try:
            self._connection.send(message)
        except OSError:
            self._lose()
        self._n_unread += isinstance(message, Update)

    def commands(self, seconds: float = 0.0) -> list[Command]:
        """Returns the commands that have arrived since the last call.

        Args:
            seconds: how long to wait for one.
        """
        found = self._commands
        while self._connection is not None:
            try:
                if not self._connection.poll(0.0 if found else seconds):
                    break
                command = self._connection.recv()
            except (EOFError, OSError):
                self._lose()
                break
            if command.name == "read":
                self._n_unread -= 1
                seconds = 0.0
            else:
                found.append(command)
        self._commands = []
        return found

    def close(self) -> None:
        """Ends the viewer, which writes its film first; keeps its last commands."""
        if self._connection is not None and self._finalizer.detach():
            _ask_to_end(self._process, self._connection)
            self._commands = self.commands()
        self._lose()

    def _lose(self) -> None:
        self.is_alive = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _accept(
    server: socket.socket, process: subprocess.Popen[bytes], address: str
) -> Connection | None:
    """Returns the connection to the viewer; None if it ends before, or takes too long.

    Other processes do not know the token: nothing that they send is unpickled.
    """
    assert process.stdin is not None, "it is a pipe"
    try:
        with process.stdin as stream:
            stream.write(address.encode())
    except OSError:
        return None
    token = address.split()[1].encode()
    server.settimeout(0.2)
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            found, _ = server.accept()
        except TimeoutError:
            continue
        found.setblocking(True)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(found.detach())
        try:
            if connection.poll(5.0) and connection.recv_bytes(64) == token:
                return connection
        except (EOFError, OSError):
            pass
        connection.close()
    process.kill()
    return None


def _ask_to_end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    try:
        connection.send(Close())
    except OSError:
        pass  # It has ended.
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes], connection: Connection | None) -> None:
    """Ends the viewer of a link that is collected, or at the end of Python."""
    if connection is not None and not connection.closed:
        _ask_to_end(process, connection)
        connection.close()
    process.wait()
