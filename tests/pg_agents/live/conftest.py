"""A virtual screen for windows that are driven by keys, and no screen otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def xvfb() -> Iterator[str]:
    """The display of a virtual screen of 1920 x 1200 pixels."""
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("Xvfb is not installed (Debian package xvfb)")
    read, write = os.pipe()
    # It writes the number of the display that it has found to be free.
    server = subprocess.Popen(
        [program, "-displayfd", str(write), "-screen", "0", "1920x1200x24"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start here")
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture
def screen(xvfb: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The virtual screen as this process's display."""
    monkeypatch.setenv("DISPLAY", xvfb)
    for name in ("SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return xvfb


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No display at all."""
    for name in ("DISPLAY", "SDL_VIDEODRIVER", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
