"""Runs over seeds: equal on every executor; no run lost, none counted twice."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pg_agents.experiments import (
    Progress,
    RunConfig,
    RunFolder,
    RunReport,
    run_one,
    run_seeds,
)
from pg_agents.experiments.seeds import RunsBar
from tests.pg_agents.experiments.tiny import HOOKS, numbers, tiny

SEEDS = (2, 1, 4)
KILLED = tiny(train=f"{HOOKS}:killed_once")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """Results of the seeds, run one after another in this process."""
    root = tmp_path_factory.mktemp("expected")
    return {seed: numbers(run_one(tiny(), seed, root)) for seed in SEEDS}


def check_reports(
    reports: Sequence[RunReport], config: RunConfig, root: Path, expected: Any
) -> None:
    """Every run once, in order, with the results of an undisturbed one."""
    assert [(report.seed, report.error) for report in reports] == [
        (seed, None) for seed in SEEDS
    ]
    assert len(list((root / config.name).glob("seed-*"))) == len(SEEDS)
    for report in reports:
        folder = RunFolder(report.folder)
        assert folder.path == RunFolder.path_of(root, config, report.seed)
        assert numbers(folder) == expected[report.seed]
        assert report.result == folder.result()


def check_worker_was_killed(root: Path) -> None:
    killed = int((root / "tiny" / "killed").read_text())
    assert killed != os.getpid() and not Path(f"/proc/{killed}").exists()


def test_one_process(tmp_path: Path, expected: Any) -> None:
    shares: list[tuple[int, float]] = []
    reports = run_seeds(
        tiny(),
        SEEDS,
        tmp_path,
        jobs=1,
        on_progress=lambda seed, progress: shares.append((seed, progress.share)),
    )
    check_reports(reports, tiny(), tmp_path, expected)
    for seed in SEEDS:
        of_seed = [share for other, share in shares if other == seed]
        # At the beginning, after each of 20 episodes, and at the end.
        assert of_seed == pytest.approx([*(n / 20 for n in range(21)), 1.0])


def test_threads(tmp_path: Path, expected: Any) -> None:
    """They take turns: SB3 seeds the generators of the whole process."""
    with ThreadPoolExecutor(3) as executor:
        reports = run_seeds(tiny(), SEEDS, tmp_path, executor)
    check_reports(reports, tiny(), tmp_path, expected)


@pytest.mark.slow
def test_the_pool_goes_on_after_a_worker_was_killed(
    tmp_path: Path, expected: Any
) -> None:
    shares: dict[int, list[float]] = {seed: [] for seed in SEEDS}

    def on_progress(seed: int, progress: Progress) -> None:
        shares[seed].append(progress.share)

    reports = run_seeds(KILLED, SEEDS, tmp_path, jobs=2, on_progress=on_progress)
    check_reports(reports, KILLED, tmp_path, expected)
    check_worker_was_killed(tmp_path)
    resumed = {report.seed: report.result.resumed_at for report in reports}  # type: ignore[union-attr]
    assert len(resumed[1]) == 1 and 0 < resumed[1][0] <= 100
    assert all(of_seed[-1] == 1.0 for of_seed in shares.values())
    # All runs are finished for a second call.
    assert run_seeds(KILLED, SEEDS, tmp_path, jobs=1) == reports


@pytest.fixture
def dask_executor(tmp_path: Path) -> Iterator[Executor]:
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    # A worker on a busy machine may take long to answer.
    timeouts = "distributed.comm.timeouts"
    patience = {f"{timeouts}.connect": "300s", f"{timeouts}.tcp": "300s"}
    scratch = {"temporary-directory": str(tmp_path / "scratch")}
    with (
        dask.config.set(patience | scratch),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster, timeout=300) as client,
    ):
        yield client.get_executor()


# `test_a_run_whose_worker_dies_is_submitted_again_so_many_times` is its fast half.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask_goes_on_after_a_worker_was_killed(
    dask_executor: Executor, tmp_path: Path, expected: Any
) -> None:
    reports = run_seeds(KILLED, SEEDS, tmp_path, dask_executor)
    check_reports(reports, KILLED, tmp_path, expected)
    check_worker_was_killed(tmp_path)
    result = reports[1].result
    assert result is not None and len(result.resumed_at) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "name",
    ["DebugExecutor", pytest.param("LocalExecutor", marks=pytest.mark.slow)],
)
def test_submitit(name: str, tmp_path: Path, expected: Any) -> None:
    submitit = pytest.importorskip("submitit")
    executor = getattr(submitit, name)(folder=tmp_path / "log")
    executor.update_parameters(timeout_min=30)
    reports = run_seeds(tiny(), SEEDS, tmp_path / "runs", executor)
    check_reports(reports, tiny(), tmp_path / "runs", expected)


class Inline(Executor):
    """Calls at once; the first futures have the given errors instead."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        future: Future[Any] = Future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
        else:
            future.set_result(function(*arguments))
        return future


class KilledWorker(Exception):  # noqa: N818
    """Has the name of Dask's."""


def test_a_run_whose_worker_dies_is_submitted_again_so_many_times(
    tmp_path: Path,
) -> None:
    executor = Inline(KilledWorker(), KilledWorker())
    (report,) = run_seeds(tiny(), [1], tmp_path, executor, retries=2)
    assert report.error is None and executor.calls == 3
    executor = Inline(*[KilledWorker("x")] * 9)
    (report,) = run_seeds(tiny(), [2], tmp_path, executor, retries=2)
    assert report.error == "its worker died 3 times (KilledWorker: x)"
    assert executor.calls == 3 and report.result is None


def test_another_error_of_the_executor_is_reported(tmp_path: Path) -> None:
    executor = Inline(ArithmeticError("odd"))
    (report,) = run_seeds(tiny(), [1], tmp_path, executor)
    assert report.error == "ArithmeticError: odd" and executor.calls == 1
    shut_down = ThreadPoolExecutor(1)
    shut_down.shutdown()
    reports = run_seeds(tiny(), SEEDS, tmp_path, shut_down)
    assert all("it can't be submitted" in str(report.error) for report in reports)


def test_a_run_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    config = tiny(train=f"{HOOKS}:fails")
    reports = run_seeds(config, SEEDS, tmp_path, jobs=1)
    assert [report.result is None for report in reports] == [False, True, False]
    failed = reports[1]
    assert failed.error == "ArithmeticError: no such luck"
    assert failed.folder == tmp_path / "tiny" / "seed-0001"
    assert failed.details is not None and "tiny.py" in failed.details


@pytest.mark.parametrize(
    ("seeds", "named", "message"),
    [
        ([], {}, "at least one, got none"),
        ([1, 2, 1], {}, "seeds must be different integers, at least one, got 1 twice"),
        ([-1], {}, "a seed must be an integer from 0"),
        ([1], {"jobs": 0}, "jobs must be an integer >= 1, got 0"),
        ([1], {"retries": -1}, "retries must be an integer >= 0, got -1"),
    ],
)
def test_invalid_arguments_raise(
    seeds: list[int], named: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_seeds(tiny(), seeds, tmp_path, **named)
    assert list(tmp_path.iterdir()) == []


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.communicate()


def n_lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
def test_ctrl_c_ends_the_pool_with_checkpoints_saved(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """SIGINT reaches the parent alone, as with `kill -INT`."""
    config = tiny(episodes=100_000, checkpoint_every=10**9)
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "from tests.pg_agents.experiments.tiny import tiny\n"
        "from pg_agents.experiments import run_seeds\n"
        # A test run in the background ignores SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if __name__ == '__main__':\n"
        "    config = tiny(episodes=100_000, checkpoint_every=10**9)\n"
        f"    run_seeds(config, [1, 2], {str(tmp_path)!r}, jobs=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    request.addfinalizer(lambda: _end_group(process))
    paths = [RunFolder.path_of(tmp_path, config, seed) for seed in (1, 2)]
    deadline = time.monotonic() + 300
    # Until both have recorded an episode.
    while not all(n_lines(path / "monitor.csv") > 2 for path in paths):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert stderr.decode().rstrip().endswith("KeyboardInterrupt")
    for path in paths:
        (checkpoint,) = (path / "checkpoint").glob("model_*_steps.zip")
        last = (path / "monitor.csv").read_text().splitlines()[-1].split(",")
        assert checkpoint.name == f"model_{last[3]}_steps.zip"
        assert not (path / "result.json").exists()


def test_the_bar_shows_the_mean_share_and_the_last_episode() -> None:
    def bar_after(n_runs: int, *calls: tuple[int, Progress]) -> str:
        file = io.StringIO()
        with RunsBar("name", n_runs, file) as bar:
            for seed, progress in calls:
                bar.show(seed, progress)
            bar.refresh()
        return file.getvalue().split("\r")[-1].rstrip()

    text = bar_after(4, (0, Progress(1.0)), (5, Progress(0.2, 30, 4, 1.5)))
    # (1 + 0.2) / 4
    assert text.startswith("name:  30%|")
    assert text.endswith("1 of 4 runs done, seed 5: episode 4, 30 steps, return 1.5")
    # A run that is resumed from a checkpoint falls back.
    text = bar_after(1, (3, Progress(0.75)), (3, Progress(0.5, 30, 4, 1.5, 1.25)))
    assert text.startswith("name:  50%|")
    assert text.endswith("], episode 4, 30 steps, return 1.5, running 1.25")
