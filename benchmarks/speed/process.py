"""A process that measures, as seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Worker:
    """One side of a comparison in a process of its own.

    Args:
        settings: what it works on, see `benchmarks.speed.worker`.
        threads: threads for torch, OpenMP and the like.
        python: the interpreter; ours by default.
        module: the program.

    Attributes:
        ready: what it said once it was made.

    Raises:
        RuntimeError: if the process ends instead of answering.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        threads: int,
        python: Path | str = sys.executable,
        module: str = "benchmarks.speed.worker",
    ) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [str(python), "-m", module, json.dumps({**settings, "threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.ready = self._answer()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends a command; returns the answer."""
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(
                f"the process that measures ended with {self._process.returncode}: its "
                "words are above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Lets the process end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
