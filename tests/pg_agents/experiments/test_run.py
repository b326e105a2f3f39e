"""A run that is interrupted, killed or refused: the result is that of a whole one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pg_agents import REINFORCE, RandomAgent
from pg_agents.callbacks import RunningReward, newest_checkpoint
from pg_agents.checkpoint.archive import versions
from pg_agents.checkpoint.state import next_seed
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.experiments import (
    DamagedRunError,
    FolderBusyError,
    OtherRunError,
    Progress,
    RunConfig,
    RunFolder,
    RunProgress,
    run_one,
)
from pg_agents.experiments import run as run_module
from pg_agents.experiments.building import algorithm_class
from pg_agents.live.view import LiveView
from tests.pg_agents.checkpoint.foreign import edited, foreign
from tests.pg_agents.experiments.tiny import EXACT, HOOKS, numbers, tiny


class PowerCut(BaseException):
    """An exception that the code under test does not handle, like a kill."""


def cut_at(episode: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.episodes == episode:
            raise PowerCut

    return on_progress


def cut_run(episode: int, config: RunConfig, root: Path) -> Path:
    """Ends a run after an episode has been recorded; returns its folder."""
    with pytest.raises(PowerCut):
        run_one(config, 1, root, on_progress=cut_at(episode))
    path = RunFolder.path_of(root, config, 1)
    assert not (path / "result.json").exists()
    return path


def newest(path: Path) -> Path:
    checkpoint = newest_checkpoint(path / "checkpoint")
    assert checkpoint is not None
    return checkpoint


def never(progress: Progress) -> None:
    raise AssertionError("it was trained again")


def test_the_files_of_a_run(tmp_path: Path) -> None:
    config = tiny()
    folder = run_one(config, 7, tmp_path)
    assert folder.path == tmp_path / "tiny" / "seed-0007"
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "checkpoint",
        "config.json",
        "evaluation.json",
        "model.zip",
        "monitor.csv",
        "result.json",
        "versions.json",
    ]
    result, episodes = folder.check(), folder.episodes()
    assert result.episodes == len(episodes) == 20
    assert result.steps == episodes[-1].steps == sum(e.length for e in episodes)
    assert json.loads((folder.path / "versions.json").read_text()) == versions()
    again = RunFolder(folder.path)
    assert (again.config, again.seed, again.finished) == (config, 7, True)


def test_the_evaluation_of_random_actions_beside_a_loop_in_python(
    tmp_path: Path,
) -> None:
    config = tiny(algorithm="RandomAgent", arguments={}, policy_kwargs={})
    folder = run_one(config, 3, tmp_path)
    record, model = folder.evaluation(), folder.load_model()
    assert isinstance(model, RandomAgent)
    space = model.policy.action_space
    space.seed(record.seed)
    state, total, length = 0, 0.0, 0
    returns: list[float] = []
    lengths: list[int] = []
    while len(returns) < 4:
        action, length = int(space.sample()), length + 1
        at_goal = state == 2 and action == 1
        total += 1.0 if at_goal else -0.05
        state = min(max(state + action - 1, 0), 2)
        if at_goal or length == 20:
            returns.append(total)
            lengths.append(length)
            state, total, length = 0, 0.0, 0
    assert record.lengths == tuple(lengths)
    assert record.returns == pytest.approx(returns, abs=1e-6)
    result, mean = folder.result(), sum(returns) / 4
    assert result.mean_return == pytest.approx(mean, abs=1e-6)
    variance = sum((r - mean) ** 2 for r in returns) / 4
    assert result.sd_return == pytest.approx(variance**0.5, abs=1e-6)


def test_a_finished_run_is_left_unchanged(tmp_path: Path) -> None:
    folder = run_one(tiny(), 1, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}
    run_one(tiny(), 1, tmp_path, on_progress=never)
    assert {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")} == before


@pytest.mark.parametrize("name", sorted(EXACT))
def test_a_run_cut_off_several_times_equals_a_whole_one(
    name: str, tmp_path: Path
) -> None:
    config = EXACT[name]
    whole = run_one(config, 1, tmp_path / "whole")
    n_episodes = whole.result().episodes
    # Before the first checkpoint, in the middle, and again after that.
    for episode in (2, n_episodes // 2, n_episodes - 2):
        path = cut_run(episode, config, tmp_path)
        # A killed process leaves half a line and temporary files.
        with (path / "monitor.csv").open("a") as file:
            file.write("0.25,1")
        (path / ".result.json.0123.pgtoy-tmp").write_text('{"mean_')
    folder = run_one(config, 1, tmp_path)
    assert [p.name for p in folder.path.iterdir() if p.name.startswith(".")] == []
    assert numbers(folder) == numbers(whole)
    resumed = folder.result().resumed_at
    assert resumed == tuple(sorted(resumed)) and 1 <= len(resumed) <= 3
    assert whole.result().resumed_at == ()


def test_the_progress_is_saved_with_checkpoints(tmp_path: Path) -> None:
    path = cut_run(15, tiny(), tmp_path)
    model = REINFORCE.load(newest(path))
    progress: RunProgress = vars(model)["run_progress"]
    rows = (path / "monitor.csv").read_text().splitlines()[2:]
    returns = [
        float(r)
        for r, _, _, steps, _ in (row.split(",") for row in rows)
        if int(steps) <= model.num_timesteps
    ]
    assert 0 < progress.n_episodes == len(returns) < 15
    expected = RunningReward()
    for episode_return in returns:
        expected.update(episode_return)
    assert progress.running_reward.value == expected.value
    folder = run_one(tiny(), 1, tmp_path)
    for episode in folder.episodes()[len(returns) :]:
        expected.update(episode.episode_return)
    ended: RunProgress = vars(folder.load_model())["run_progress"]
    assert (ended.n_episodes, ended.ended) == (20, True)
    assert ended.running_reward.value == expected.value


def test_a_resumed_run_is_solved_at_the_same_episode(tmp_path: Path) -> None:
    """The running reward before the interruption counts."""
    solved = {"reward_threshold": 0.6, "min_episodes": 20}
    config = tiny(episodes=500, stop_when_solved=solved)
    whole = run_one(config, 1, tmp_path / "whole")
    n_episodes = whole.result().episodes
    assert 20 < n_episodes < 500
    cut_run(n_episodes - 5, config, tmp_path)
    assert numbers(run_one(config, 1, tmp_path)) == numbers(whole)


@pytest.mark.parametrize("algorithm", ["A2C", "PPO"])
def test_sb3_s_algorithms_resume_with_a_new_seed(
    algorithm: str, tmp_path: Path
) -> None:
    """Their checkpoints hold no random states; the same continuation each time."""
    arguments: dict[str, Any] = {"n_steps": 16, "gamma": 0.9}
    if algorithm == "PPO":
        arguments["batch_size"] = 16
    config = tiny(
        algorithm=algorithm,
        arguments=arguments,
        timesteps=300,
        train=f"{HOOKS}:writes_process",
    )
    results: list[dict[str, Any]] = []
    for root in (tmp_path / "one", tmp_path / "two"):
        cut_run(20, config, root)
        # The state of the generators in a new process is arbitrary.
        torch.manual_seed(len(results))
        folder = run_one(config, 1, root)
        assert 300 <= folder.result().steps < 316
        results.append(numbers(folder))
        # Not the first seed again, with which the run would repeat itself.
        (steps,) = folder.result().resumed_at
        seed = (folder.path / "process").read_text().split()[-1]
        assert seed == str(next_seed(1, steps)) != "1"
    assert results[0] == results[1]


@pytest.mark.filterwarnings("ignore:the environment is reset")
def test_an_environment_whose_state_cannot_be_saved_is_reset(tmp_path: Path) -> None:
    config = tiny(env_id="CartPole-v1", env_kwargs={}, episodes=25)
    cut_run(12, config, tmp_path)
    folder = run_one(config, 1, tmp_path)
    assert len(folder.episodes()) == folder.check().episodes == 25


def test_a_run_cut_off_after_training_is_only_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")

    def killed(folder: RunFolder) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "evaluate", killed)
        with pytest.raises(PowerCut):
            run_one(tiny(), 1, tmp_path)
    folder = run_one(tiny(), 1, tmp_path, on_progress=never)
    assert numbers(folder) == numbers(whole)
    assert folder.result().resumed_at == ()


def test_a_stop_request_saves_a_checkpoint(tmp_path: Path) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")
    calls: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        run_one(
            tiny(),
            1,
            tmp_path,
            on_progress=calls.append,
            stop_asked=lambda: len(calls) > 5,
        )
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    last = (path / "monitor.csv").read_text().splitlines()[-1].split(",")
    assert newest(path).name == f"model_{last[3]}_steps.zip"
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(whole)


def test_the_first_ctrl_c_is_a_stop_request(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.episodes == 4:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_one(tiny(), 1, tmp_path, on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    assert len((path / "monitor.csv").read_text().splitlines()) == 2 + 4
    folder = run_one(tiny(), 1, tmp_path)
    assert len(folder.result().resumed_at) == 1


def test_the_second_ctrl_c_interrupts_at_once(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_one(tiny(), 1, tmp_path, on_progress=interrupt)
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    assert newest_checkpoint(path / "checkpoint") is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"learning_rate": -1.0}, ValueError),
        ({"n_env": 3}, ValueError),
        ({"policy_kwargs__net_arc": [3]}, ValueError),
        ({"env_kwargs__no_such": 1}, TypeError),
        ({"extra": "robotics"}, ModuleNotFoundError),
        ({"extra": "no-such"}, ValueError),
        ({"train": "module.function"}, ValueError),
        ({"train": "json:no_such"}, ValueError),
    ],
)
def test_refused_settings_leave_no_folder(
    changes: dict[str, Any],
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(error):
        run_one(tiny(**changes), 1, tmp_path)
    assert not RunFolder.path_of(tmp_path, tiny(), 1).exists()


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, True])
def test_an_invalid_seed_raises(seed: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a seed must be an integer from 0"):
        run_one(tiny(), seed, tmp_path)


def test_other_settings_in_the_folder_are_named(tmp_path: Path) -> None:
    cut_run(10, tiny(), tmp_path)
    message = "arguments.gamma is 0.9 there and 0.8 here; choose another folder"
    with pytest.raises(OtherRunError, match=message):
        run_one(tiny(gamma=0.8), 1, tmp_path)
    run_one(tiny(), 1, tmp_path)
    with pytest.raises(OtherRunError, match="episodes is 20 there and 21 here"):
        run_one(tiny(episodes=21), 1, tmp_path)


HOLD = """
import os, signal, sys
from pg_agents.experiments import run_one
from tests.pg_agents.experiments.tiny import tiny

def hold(progress):
    print("training", flush=True)
    signal.pause()

run_one(tiny(), 1, sys.argv[1], on_progress=hold)
"""


def test_a_folder_is_locked_until_its_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"training\n"
        monkeypatch.setattr(run_module, "_LOCK_SECONDS", 0.0)
        path = RunFolder.path_of(tmp_path, tiny(), 1)
        before = sorted(path.iterdir())
        with pytest.raises(FolderBusyError, match=f"{path} is in use by another"):
            run_one(tiny(), 1, tmp_path)
        assert sorted(path.iterdir()) == before
    finally:
        holder.kill()
        holder.communicate()
    assert run_one(tiny(), 1, tmp_path).finished


@pytest.mark.filterwarnings("ignore:.*is renamed to.*damaged")
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")
    path = cut_run(17, tiny(), tmp_path)
    assert len(list((path / "checkpoint").iterdir())) == 2
    newest(path).write_bytes(newest(path).read_bytes()[:-9])
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(whole)


@pytest.mark.filterwarnings("ignore:.*(is renamed to|starts over)")
def test_without_an_undamaged_checkpoint_a_run_starts_over(tmp_path: Path) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")
    path = cut_run(17, tiny(), tmp_path)
    for checkpoint in (path / "checkpoint").iterdir():
        checkpoint.write_bytes(b"PK")
    folder = run_one(tiny(), 1, tmp_path)
    assert numbers(folder) == numbers(whole)
    assert folder.result().resumed_at == ()


def test_missing_episodes_and_a_missing_config_raise(tmp_path: Path) -> None:
    path = cut_run(15, tiny(), tmp_path)
    lines = (path / "monitor.csv").read_bytes().splitlines(keepends=True)
    (path / "monitor.csv").write_bytes(b"".join(lines[:4]))
    with pytest.raises(DamagedRunError, match=r"monitor.csv has 2 episodes of the"):
        run_one(tiny(), 1, tmp_path)
    (path / "config.json").unlink()
    with pytest.raises(DamagedRunError, match=r"config.json is missing"):
        run_one(tiny(), 1, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_while_training(tmp_path: Path) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")
    config = tiny(train=f"{HOOKS}:onto_a_full_disk")
    with pytest.raises(OSError, match="no space is left on the disk for") as caught:
        run_one(config, 1, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    path = RunFolder.path_of(tmp_path, config, 1)
    assert not RunFolder(path).finished and not (path / "model.zip").exists()
    folder = run_one(config, 1, tmp_path)
    assert numbers(folder) == numbers(whole)
    assert len(folder.result().resumed_at) == 1


@pytest.mark.parametrize("name", ["model.zip", "evaluation.json", "result.json"])
def test_a_full_disk_when_a_file_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_one(tiny(), 1, tmp_path / "whole")
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="free some and run the same again"):
            run_one(tiny(), 1, tmp_path)
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    assert not RunFolder(path).finished and not (path / name).exists()
    assert [p.name for p in path.iterdir() if p.name.startswith(".")] == []
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(whole)


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
@pytest.mark.parametrize("algorithm", ["REINFORCE", "ActorCritic", "A2C", "PPO"])
def test_a_run_whose_weights_become_nan_keeps_its_finite_checkpoints(
    algorithm: str, tmp_path: Path
) -> None:
    """And raises the same error when it is resumed."""
    arguments: dict[str, Any] = {"learning_rate": 0.05}
    if algorithm in ("A2C", "PPO"):
        arguments["n_steps"] = 16
    if algorithm == "PPO":
        arguments["batch_size"] = 16
    config = tiny(
        algorithm=algorithm, arguments=arguments, train=f"{HOOKS}:spoils", timesteps=300
    )
    path = RunFolder.path_of(tmp_path, config, 1)
    attempts: list[tuple[str, dict[str, bytes]]] = []
    for _ in range(2):
        with pytest.raises(ValueError, match=r"nan|NaN") as caught:
            run_one(config, 1, tmp_path)
        if algorithm in ("REINFORCE", "ActorCritic"):
            assert caught.type is NonFiniteError
        files = {p.name: p.read_bytes() for p in (path / "checkpoint").iterdir()}
        attempts.append((str(caught.value), files))
        assert not (path / "model.zip").exists() and not RunFolder(path).finished
    assert attempts[0] == attempts[1] and attempts[0][1] != {}
    model = algorithm_class(config.settings).load(newest(path))
    assert 40 <= model.num_timesteps < 140
    assert all(weight.isfinite().all() for weight in model.policy.parameters())


def test_a_checkpoint_without_the_progress_of_the_run_raises(tmp_path: Path) -> None:
    path = cut_run(15, tiny(), tmp_path)
    checkpoint = newest(path)
    checkpoint.write_bytes(foreign(checkpoint.read_bytes(), "run_progress"))
    monitor = (path / "monitor.csv").read_bytes()
    with (
        pytest.warns(UserWarning, match="object run_progress"),
        pytest.raises(ValueError, match=r"run_progress can't be unpickled here"),
    ):
        run_one(tiny(), 1, tmp_path)
    assert checkpoint.exists() and (path / "monitor.csv").read_bytes() == monitor


@pytest.mark.filterwarnings("ignore:Could not deserialize object learning_rate")
def test_an_attribute_that_cannot_be_unpickled_is_replaced(tmp_path: Path) -> None:
    path = cut_run(15, tiny(), tmp_path)
    checkpoint = newest(path)
    checkpoint.write_bytes(foreign(checkpoint.read_bytes(), "learning_rate"))
    folder = run_one(tiny(), 1, tmp_path)
    assert folder.result().resumed_at
    model = path / "model.zip"
    model.write_bytes(foreign(model.read_bytes(), "learning_rate"))
    assert isinstance(folder.load_model(), REINFORCE) and folder.check().episodes == 20
    # An edited model is not the one that was evaluated.
    model.write_bytes(edited(model.read_bytes(), lambda d: d.update(gamma=0.5)))
    with pytest.raises(DamagedRunError, match="edited: the attributes gamma changed"):
        folder.check()


def test_torch_uses_one_thread_during_a_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        folder = run_one(tiny(train=f"{HOOKS}:writes_process"), 1, tmp_path)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert (folder.path / "process").read_text() == f"{os.getpid()} 1 1"


@pytest.mark.parametrize(
    ("kind", "n_envs"), [("dummy", 1), ("dummy", 3), ("vector", 4)]
)
def test_training_ends_with_the_last_episode(
    kind: str, n_envs: int, tmp_path: Path
) -> None:
    """Also if episodes of parallel environments end in the same step."""
    config = tiny(
        algorithm="ActorCritic",
        vectorization=kind,
        n_envs=n_envs,
        episodes=11,
        env_kwargs={"max_episode_steps": 2},
    )
    folder = run_one(config, 1, tmp_path)
    assert folder.check().episodes == 11
    # Every episode takes two steps, in all environments at the same time.
    assert folder.result().steps == 2 * n_envs * -(-11 // n_envs)


class QuitAt(LiveView):
    """A view whose user quits at a step."""

    def __init__(self, step: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.step = step

    def _on_step(self) -> bool:
        self.quit_requested = self.num_timesteps >= self.step
        return super()._on_step()


@pytest.mark.slow
def test_to_quit_in_the_view_saves_a_checkpoint_from_which_the_run_goes_on(
    tmp_path: Path,
) -> None:
    plain = run_one(tiny(), 0, tmp_path / "plain")
    view = QuitAt(60, film=tmp_path / "live.gif", size=(480, 320), verbose=0)
    with view, pytest.raises(KeyboardInterrupt):
        run_one(tiny(), 0, tmp_path / "seen", view=view)
    folder = RunFolder.path_of(tmp_path / "seen", tiny(), 0)
    assert not (folder / "result.json").exists()
    resumed = run_one(tiny(), 0, tmp_path / "seen")
    assert resumed.result().resumed_at
    assert numbers(resumed) == numbers(plain)


def test_a_view_shows_no_batch_of_learners(tmp_path: Path) -> None:
    config = tiny(vectorization="learners")
    view = LiveView(film=tmp_path / "live.gif")
    with pytest.raises(ValueError, match="a view shows one learner"):
        run_one(config, 0, tmp_path, view=view)
