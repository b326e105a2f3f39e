"""Processes that run the code of users."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pg_agents.common.child import run_child

PROGRAM = """
import pathlib, pickle, subprocess, sys, time

job = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
print("got", job)
if job == "starts another":
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pathlib.Path("pid").write_text(str(other.pid))
if job == "sleeps":
    time.sleep(60)
sys.exit(3)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    return folder


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_a_child_gets_its_job_and_says_how_it_ended(work: Path) -> None:
    end = run_child("program", "a job", work.parent, cwd=work)
    assert end == (3, "got a job\n")


def test_a_child_is_killed_when_its_time_is_over(work: Path) -> None:
    began = time.monotonic()
    end = run_child("program", "sleeps", work.parent, cwd=work, timeout_s=0.5)
    assert end.status is None
    assert time.monotonic() - began < 30


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
def test_processes_that_a_child_started_end_with_it(work: Path) -> None:
    run_child("program", "starts another", work.parent, cwd=work)
    pid, end = int((work / "pid").read_text()), time.monotonic() + 30
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(pid)
