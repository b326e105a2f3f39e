"""The same numbers wherever they are made; no run lost, none counted twice."""

from __future__ import annotations

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
    Moment,
    RunConfig,
    RunFolder,
    RunReport,
    run_one,
    run_seeds,
)
from pg_agents.experiments.executors import has_died
from tests.pg_agents.experiments.tiny import HOOKS, numbers, tiny

SEEDS = (2, 1, 4)
KILLED = tiny(train=f"{HOOKS}:killed_once")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What the seeds come to, one after another in this process."""
    root = tmp_path_factory.mktemp("straight")
    return {seed: numbers(run_one(tiny(), seed, root)) for seed in SEEDS}


def assert_all_there(
    reports: Sequence[RunReport], config: RunConfig, root: Path, straight: Any
) -> None:
    """Every run once, in order, with the numbers of an undisturbed one."""
    assert [(report.seed, report.error) for report in reports] == [
        (seed, None) for seed in SEEDS
    ]
    assert len(list((root / config.name).glob("seed-*"))) == len(SEEDS)
    for report in reports:
        folder = RunFolder(report.folder)
        assert folder.path == RunFolder.path_of(root, config, report.seed)
        assert numbers(folder) == straight[report.seed]
        assert report.result == folder.result()


def test_one_process_gives_what_run_one_gives(tmp_path: Path, straight: Any) -> None:
    shares: list[tuple[int, float]] = []
    reports = run_seeds(
        tiny(),
        SEEDS,
        tmp_path,
        jobs=1,
        on_progress=lambda seed, moment: shares.append((seed, moment.share)),
    )
    assert_all_there(reports, tiny(), tmp_path, straight)
    for seed in SEEDS:
        own = [share for each, share in shares if each == seed]
        # At the beginning, at each of 20 episodes, and when it is done.
        assert own == pytest.approx([*(n / 20 for n in range(21)), 1.0])


def test_threads_take_turns(tmp_path: Path, straight: Any) -> None:
    """Runs in one process would draw from each other's generators."""
    with ThreadPoolExecutor(3) as executor:
        reports = run_seeds(tiny(), SEEDS, tmp_path, executor)
    assert_all_there(reports, tiny(), tmp_path, straight)


@pytest.mark.slow
def test_the_pool_goes_on_after_a_worker_was_killed(
    tmp_path: Path, straight: Any
) -> None:
    seen: dict[int, list[float]] = {seed: [] for seed in SEEDS}

    def note(seed: int, moment: Moment) -> None:
        seen[seed].append(moment.share)

    reports = run_seeds(KILLED, SEEDS, tmp_path, jobs=2, on_progress=note)
    assert_all_there(reports, KILLED, tmp_path, straight)
    killed = int((tmp_path / "tiny" / "killed").read_text())
    assert killed != os.getpid() and not Path(f"/proc/{killed}").exists()
    resumed = {report.seed: report.result.resumed_at for report in reports}  # type: ignore[union-attr]
    assert len(resumed[1]) == 1 and 0 < resumed[1][0] <= 100
    assert all(shares[-1] == 1.0 for shares in seen.values())
    # The second call finds everything done.
    assert run_seeds(KILLED, SEEDS, tmp_path, jobs=1) == reports


class Inline(Executor):
    """Calls at once, and hands out what it is told to instead, in order."""

    def __init__(self, instead: Sequence[BaseException | None]) -> None:
        self.instead = list(instead)
        self.calls = 0

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        error = self.instead.pop(0) if self.instead else None
        future: Future[Any] = Future()
        if error is None:
            future.set_result(function(*arguments))
        else:
            future.set_exception(error)
        return future


class KilledWorker(Exception):  # noqa: N818
    """Named as Dask's."""


def test_a_death_is_retried_so_often_and_no_oftener(tmp_path: Path) -> None:
    executor = Inline([KilledWorker(), KilledWorker()])
    (report,) = run_seeds(tiny(), [1], tmp_path, executor, retries=2)
    assert report.error is None and executor.calls == 3
    executor = Inline([KilledWorker("x")] * 9)
    (report,) = run_seeds(tiny(), [2], tmp_path, executor, retries=2)
    assert report.error == "its worker died 3 times (KilledWorker: x)"
    assert executor.calls == 3 and report.result is None


def test_what_is_no_death_is_not_retried(tmp_path: Path) -> None:
    executor = Inline([ArithmeticError("odd")])
    (report,) = run_seeds(tiny(), [1], tmp_path, executor)
    assert report.error == "ArithmeticError: odd" and executor.calls == 1
    assert not has_died(ArithmeticError()) and has_died(KilledWorker())


def test_a_run_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    config = tiny(train=f"{HOOKS}:fails")
    reports = run_seeds(config, SEEDS, tmp_path, jobs=1)
    assert [report.result is None for report in reports] == [False, True, False]
    failed = reports[1]
    assert failed.error == "ArithmeticError: no such luck"
    assert failed.folder == tmp_path / "tiny" / "seed-0001"
    assert failed.details is not None and "tiny.py" in failed.details


def test_a_shut_executor_is_reported(tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    reports = run_seeds(tiny(), SEEDS, tmp_path, executor)
    assert all("it can't be submitted" in str(report.error) for report in reports)


@pytest.mark.parametrize(
    ("seeds", "named", "message"),
    [
        ([], {}, "at least one, got none"),
        ([1, 2, 1], {}, "seeds must be different integers, at least one, got 1 twice"),
        ([-1], {}, "a seed must be from 0"),
        ([1], {"jobs": 0}, "jobs must be an integer >= 1, got 0"),
        ([1], {"retries": -1}, "retries must be an integer >= 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(
    seeds: list[int], named: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        run_seeds(tiny(), seeds, tmp_path, **named)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def dask_executor(tmp_path: Path) -> Iterator[Executor]:
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    # A worker on a busy machine takes a while to answer, and is not dead.
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask_goes_on_after_a_worker_was_killed(
    dask_executor: Executor, tmp_path: Path, straight: Any
) -> None:
    """Two worker processes; SIGKILL in the middle of seed 1."""
    reports = run_seeds(KILLED, SEEDS, tmp_path, dask_executor)
    assert_all_there(reports, KILLED, tmp_path, straight)
    killed = int((tmp_path / "tiny" / "killed").read_text())
    assert killed != os.getpid() and not Path(f"/proc/{killed}").exists()
    result = reports[1].result
    assert result is not None and len(result.resumed_at) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "name",
    ["DebugExecutor", pytest.param("LocalExecutor", marks=pytest.mark.slow)],
)
def test_submitit_s_executors_do_as_well(
    name: str, tmp_path: Path, straight: Any
) -> None:
    submitit = pytest.importorskip("submitit")
    executor = getattr(submitit, name)(folder=tmp_path / "log")
    executor.update_parameters(timeout_min=30)
    reports = run_seeds(tiny(), SEEDS, tmp_path / "runs", executor)
    assert_all_there(reports, tiny(), tmp_path / "runs", straight)


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """Leaves no process behind, whatever went wrong."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.communicate()


def n_lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
def test_ctrl_c_ends_the_pool_with_checkpoints_saved(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """SIGINT to the parent alone, as `kill -INT` does; then the same call goes on."""
    config = tiny(episodes=100_000, checkpoint_every=10**9)
    code = (
        "import signal\n"
        "from tests.pg_agents.experiments.tiny import tiny\n"
        "from pg_agents.experiments import run_seeds\n"
        # Who starts the tests in the background has them ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if __name__ == '__main__':\n"
        "    config = tiny(episodes=100_000, checkpoint_every=10**9)\n"
        f"    run_seeds(config, [1, 2], {str(tmp_path)!r}, jobs=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]),
    }
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    request.addfinalizer(lambda: _end_group(process))
    paths = [RunFolder.path_of(tmp_path, config, seed) for seed in (1, 2)]
    deadline = time.monotonic() + 300
    # Until both have written down an episode.
    while not all(n_lines(path / "monitor.csv") > 2 for path in paths):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert said.decode().rstrip().endswith("KeyboardInterrupt")
    for path in paths:
        (kept,) = (path / "checkpoint").glob("model_*_steps.zip")
        last = (path / "monitor.csv").read_text().splitlines()[-1].split(",")
        assert kept.name == f"model_{last[3]}_steps.zip"
        assert not (path / ".lock").exists() and not (path / "result.json").exists()
