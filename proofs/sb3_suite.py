"""Runs Stable-Baselines3's own tests of A2C with our classes in its place.

`make sb3-suite` downloads the source distribution of the installed version, which holds
the tests, and runs every test that concerns A2C: those that are parametrised with A2C,
and those that have no class as a parameter and use A2C in their code. It prints how
many pass and why the others fail; a failure without a known reason is an error.

The tests need pandas and the program `zip`. This module is also the pytest plugin that
selects the tests.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
from stable_baselines3.common.base_class import BaseAlgorithm

import pg_agents

ROOT = Path(__file__).parent.parent
DOWNLOADS = ROOT / "out" / "sb3_suite"
CLASSES = ("ActorCritic", "REINFORCE")

_NAME = "asserts a log folder called A2C_1; ours is named after the class"
_NO_CRITIC = "asserts GAE; REINFORCE has no gae_lambda, its returns are Monte-Carlo"
_FEW_UPDATES = (
    "asserts what A2C has learnt after hundreds of updates; whole episodes allow few"
)
# Test function to reason; parametrisations share it.
REASONS: dict[str, dict[str, str]] = {
    "ActorCritic": {"test_tensorboard": _NAME},
    "REINFORCE": {
        "test_tensorboard": _NAME,
        "test_gae_computation": _NO_CRITIC,
        "test_infinite_horizon": (
            "asserts that a critic learns the value beyond a time limit; REINFORCE has "
            "no critic by default"
        ),
        "test_discrete": _FEW_UPDATES,
        "test_continuous": _FEW_UPDATES,
    },
}


def pytest_configure(config: pytest.Config) -> None:
    """Puts the class in A2C's place before the tests import it."""
    stand_in = getattr(pg_agents, os.environ["SB3_SUITE_CLASS"])
    stable_baselines3.A2C = stand_in  # type: ignore[misc]
    config.pluginmanager.register(_Results(Path(os.environ["SB3_SUITE_REPORT"])))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests that concern A2C."""
    items[:] = [item for item in items if concerns_a2c(item)]


def concerns_a2c(item: Any) -> bool:  # noqa: ANN401
    """Whether a collected test concerns the class in A2C's place."""
    spec = getattr(item, "callspec", None)
    values = list(_flat(spec.params.values())) if spec else []
    classes = [
        value
        for value in values
        if isinstance(value, type) and issubclass(value, BaseAlgorithm)
    ]
    if classes:
        return stable_baselines3.A2C in classes
    if "a2c" in [value for value in values if isinstance(value, str)]:
        return True
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(each.func for defs in fixtures for each in defs)]
    return any(
        re.search(r"\bA2C(\(|\.\w)", inspect.getsource(function))
        for function in functions
        if inspect.isfunction(function)
    )


def _flat(values: Any) -> Iterator[Any]:  # noqa: ANN401
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


class _Results:
    """Writes the outcome of each test to a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Records the first phase that does not pass, else the call."""
        if report.when == "call" or report.outcome != "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message.splitlines()[0] if crash else ""
            self._outcomes[report.nodeid] = (report.outcome, message)

    def pytest_sessionfinish(self) -> None:
        """Writes the file."""
        self._path.write_text(json.dumps(self._outcomes))


def downloaded() -> Path:
    """Returns the source distribution of the installed SB3; downloads it if needed."""
    release = version("stable-baselines3")
    path = DOWNLOADS / f"stable_baselines3-{release}.tar.gz"
    if not path.exists():
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "stable-baselines3", "--dest", str(DOWNLOADS)]
        subprocess.run([*command, f"stable-baselines3=={release}"], check=True)
    return path


def run_suite(
    name: str, folder: Path, tests: Sequence[str] = ("tests",)
) -> dict[str, tuple[str, str]]:
    """Runs the tests with a class in A2C's place; returns outcome and message of each.

    Args:
        name: of a class of `pg_agents`.
        folder: where SB3's tests lie.
        tests: folders or ids of tests, relative to `folder`.
    """
    report = folder / f"{name}.json"
    environment = {
        **os.environ,
        "SB3_SUITE_CLASS": name,
        "SB3_SUITE_REPORT": str(report),
        # `folder` holds a stand-in for ale_py, for worker processes too.
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
    }
    command = [sys.executable, "-m", "pytest", "-p", "proofs.sb3_suite", *tests]
    command += ["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "--tb=no"]
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    outcomes: dict[str, tuple[str, str]] = json.loads(report.read_text())
    return outcomes


def reason_for(name: str, test: str) -> str | None:
    """Returns why a test is known to fail with a class, or None."""
    function = test.rpartition("::")[2].partition("[")[0]
    return REASONS[name].get(function)


def describe(name: str, outcomes: dict[str, tuple[str, str]]) -> tuple[str, bool]:
    """Returns the lines to print, and whether every failure has a known reason."""
    run = {test: found for test, found in outcomes.items() if found[0] != "skipped"}
    failed = {test: found[1] for test, found in run.items() if found[0] == "failed"}
    lines = [f"{name} passes {len(run) - len(failed)} of {len(run)}"]
    if skipped := len(outcomes) - len(run):
        lines[0] += f" ({skipped} skipped)"
    for test, message in failed.items():
        lines.append(f"  {test}: {reason_for(name, test) or 'UNEXPLAINED'}")
        lines.append(f"    {message}")
    return "\n".join(lines), all(reason_for(name, test) for test in failed)


def main() -> None:
    """Prints the outcome for each class."""
    if importlib.util.find_spec("pandas") is None or shutil.which("zip") is None:
        sys.exit("SB3's tests need pandas (pip install pandas) and the program zip")
    explained = True
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(downloaded()) as archive:
            archive.extractall(scratch, filter="data")
        (source,) = Path(scratch).glob("stable_baselines3-*")
        folder = Path(scratch) / "suite"
        folder.mkdir()
        # Without the package beside them, which would be imported in place of the
        # installed one.
        (source / "tests").rename(folder / "tests")
        (source / "pyproject.toml").rename(folder / "pyproject.toml")
        if importlib.util.find_spec("ale_py") is None:
            # tests/test_utils.py imports it for the Atari environments.
            (folder / "ale_py.py").touch()
        for name in CLASSES:
            outcomes = run_suite(name, folder)
            unexplained = [
                test
                for test, (outcome, _) in outcomes.items()
                if outcome == "failed" and reason_for(name, test) is None
            ]
            if unexplained:
                # test_fps_logger measures wall-clock time, which a busy machine fails.
                print(f"{name}: second run of {', '.join(unexplained)}", flush=True)
                outcomes |= run_suite(name, folder, unexplained)
            text, known = describe(name, outcomes)
            print(text, flush=True)
            explained &= known
    sys.exit(0 if explained else 1)


if __name__ == "__main__":
    main()
