"""A run that is stopped, killed or refused comes to what it would have come to."""

from __future__ import annotations

import errno
import json
import os
import signal
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
    Moment,
    OtherRunError,
    RunConfig,
    RunFolder,
    run_one,
)
from pg_agents.experiments import run as run_module
from pg_agents.experiments.building import algorithm_class
from pg_agents.experiments.lock import claim
from pg_agents.experiments.training import RunProgress
from tests.pg_agents.checkpoint.foreign import edited, foreign
from tests.pg_agents.experiments.tiny import EXACT, HOOKS, numbers, tiny


class PowerCut(BaseException):
    """Ends a run as nothing in it expects."""


def cut_at(episode: int) -> Callable[[Moment], None]:
    def on_progress(moment: Moment) -> None:
        if moment.episodes == episode:
            raise PowerCut

    return on_progress


def run_until(episode: int, config: RunConfig, root: Path) -> Path:
    """Has a run end as if killed when an episode has been written down."""
    with pytest.raises(PowerCut):
        run_one(config, 1, root, on_progress=cut_at(episode))
    path = RunFolder.path_of(root, config, 1)
    assert not (path / "result.json").exists() and not (path / ".lock").exists()
    return path


def test_a_run_leaves_everything_in_its_folder(tmp_path: Path) -> None:
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


def test_the_evaluation_can_be_done_again_by_hand(tmp_path: Path) -> None:
    """Random actions are the sequence environment's own: no networks, no SB3."""
    config = tiny(algorithm="RandomAgent", arguments={}, policy_kwargs={})
    folder = run_one(config, 3, tmp_path)
    kept = folder.evaluation()
    model = folder.load_model()
    assert isinstance(model, RandomAgent)
    space = model.policy.action_space
    space.seed(kept.seed)
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
    assert kept.lengths == tuple(lengths)
    assert kept.returns == pytest.approx(returns, abs=1e-6)
    result = folder.result()
    mean = sum(returns) / 4
    assert result.mean_return == pytest.approx(mean, abs=1e-6)
    variance = sum((r - mean) ** 2 for r in returns) / 4
    assert result.sd_return == pytest.approx(variance**0.5, abs=1e-6)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    folder = run_one(tiny(), 1, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}

    def never(moment: Moment) -> None:
        raise AssertionError("it was trained again")

    run_one(tiny(), 1, tmp_path, on_progress=never)
    assert {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")} == before


@pytest.mark.parametrize("name", sorted(EXACT))
def test_a_run_cut_off_anywhere_ends_like_one_that_never_was(
    name: str, tmp_path: Path
) -> None:
    config = EXACT[name]
    straight = run_one(config, 1, tmp_path / "straight")
    n_episodes = straight.result().episodes
    # Before the first checkpoint, in the middle, and again after that.
    for episode in (2, n_episodes // 2, n_episodes - 2):
        path = run_until(episode, config, tmp_path)
        # A killed process leaves half a line behind.
        with (path / "monitor.csv").open("a") as file:
            file.write("0.25,1")
        (path / ".result.json.0123.pgtoy-tmp").write_text('{"mean_')
    folder = run_one(config, 1, tmp_path)
    assert [p.name for p in folder.path.iterdir() if p.name.startswith(".")] == []
    assert numbers(folder) == numbers(straight)
    resumed = folder.result().resumed_at
    assert resumed == tuple(sorted(resumed)) and 1 <= len(resumed) <= 3
    assert straight.result().resumed_at == ()


def test_games_played_and_running_reward_are_kept(tmp_path: Path) -> None:
    config = tiny()
    path = run_until(15, config, tmp_path)
    newest = newest_checkpoint(path / "checkpoint")
    assert newest is not None
    model = algorithm_class(config.settings).load(newest)
    progress: RunProgress = vars(model)["run_progress"]
    monitor = (path / "monitor.csv").read_text().splitlines()[2:]
    rows = [line.split(",") for line in monitor]
    seen = [float(r) for r, _, _, steps, _ in rows if int(steps) <= model.num_timesteps]
    assert 0 < progress.games_played == len(seen) < 15
    expected = RunningReward()
    for each in seen:
        expected.update(each)
    assert progress.running_reward.value == expected.value
    # They go on from there: of the whole run at its end.
    folder = run_one(config, 1, tmp_path)
    for each in [e.episode_return for e in folder.episodes()[len(seen) :]]:
        expected.update(each)
    ended: RunProgress = vars(folder.load_model())["run_progress"]
    assert (ended.games_played, ended.ended) == (20, True)
    assert ended.running_reward.value == expected.value


def test_a_run_stopped_as_solved_stops_there_after_a_break_as_well(
    tmp_path: Path,
) -> None:
    """The running reward of the earlier process counts."""
    solved = {"reward_threshold": 0.6, "min_episodes": 20}
    config = tiny(episodes=500, stop_when_solved=solved)
    straight = run_one(config, 1, tmp_path / "straight")
    n_episodes = straight.result().episodes
    assert 20 < n_episodes < 500
    run_until(n_episodes - 5, config, tmp_path)
    assert numbers(run_one(config, 1, tmp_path)) == numbers(straight)


@pytest.mark.parametrize("algorithm", ["A2C", "PPO"])
def test_sb3_s_algorithms_go_on_with_each_episode_once(
    algorithm: str, tmp_path: Path
) -> None:
    """Their checkpoints have no random states: not bit for bit, but the same twice."""
    arguments: dict[str, Any] = {"n_steps": 16, "gamma": 0.9}
    if algorithm == "PPO":
        arguments["batch_size"] = 16
    hook = f"{HOOKS}:tells"
    config = tiny(algorithm=algorithm, arguments=arguments, timesteps=300, train=hook)
    found: list[dict[str, Any]] = []
    for root in (tmp_path / "one", tmp_path / "two"):
        run_until(20, config, root)
        # As in a new process: the generators are anywhere.
        torch.manual_seed(len(found))
        folder = run_one(config, 1, root)
        # check() compares the number of episodes with the count kept by the model.
        assert folder.result().resumed_at
        assert 300 <= folder.result().steps < 316
        found.append(numbers(folder))
        # Not the first seed again, with which it would repeat itself.
        (steps,) = folder.result().resumed_at
        seed = (folder.path / "who").read_text().split()[-1]
        assert seed == str(next_seed(1, steps)) != "1"
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore:the environment is reset")
def test_an_environment_that_cannot_be_kept_starts_anew(tmp_path: Path) -> None:
    config = tiny(env_id="CartPole-v1", env_kwargs={}, episodes=25)
    run_until(12, config, tmp_path)
    folder = run_one(config, 1, tmp_path)
    assert len(folder.episodes()) == folder.check().episodes == 25


def test_a_run_killed_after_training_is_only_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")

    def killed(folder: RunFolder) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "evaluate", killed)
        with pytest.raises(PowerCut):
            run_one(tiny(), 1, tmp_path)

    def never(moment: Moment) -> None:
        raise AssertionError("it was trained again")

    folder = run_one(tiny(), 1, tmp_path, on_progress=never)
    assert numbers(folder) == numbers(straight)
    assert folder.result().resumed_at == ()


def test_whoever_asks_it_to_stop_loses_nothing(tmp_path: Path) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_one(
            tiny(),
            1,
            tmp_path,
            on_progress=lambda moment: seen.append(moment.episodes),
            stop_asked=lambda: len(seen) > 5,
        )
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    newest = newest_checkpoint(path / "checkpoint")
    last = (path / "monitor.csv").read_text().splitlines()[-1].split(",")
    assert newest is not None and newest.name == f"model_{last[3]}_steps.zip"
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(straight)


def test_ctrl_c_is_such_a_request_and_its_handler_is_put_back(tmp_path: Path) -> None:
    def interrupt(moment: Moment) -> None:
        if moment.episodes == 4:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_one(tiny(), 1, tmp_path, on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    assert len((path / "monitor.csv").read_text().splitlines()) == 2 + 4
    folder = run_one(tiny(), 1, tmp_path)
    assert len(folder.result().resumed_at) == 1


def test_the_second_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    def interrupt(moment: Moment) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_one(tiny(), 1, tmp_path, on_progress=interrupt)
    # At the beginning, and with the first episode: nothing has been saved.
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
    ],
)
def test_nothing_is_left_of_a_run_that_is_refused(
    changes: dict[str, Any],
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(error):
        run_one(tiny(**changes), 1, tmp_path)
    assert not RunFolder.path_of(tmp_path, tiny(), 1).exists()


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**31, ValueError), (1.0, TypeError)]
)
def test_a_seed_that_is_none(seed: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="a seed must be"):
        run_one(tiny(), seed, tmp_path)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run_until(10, tiny(), tmp_path)
    message = "arguments.gamma is 0.9 there and 0.8 here; choose another folder"
    with pytest.raises(OtherRunError, match=message):
        run_one(tiny(gamma=0.8), 1, tmp_path)
    run_one(tiny(), 1, tmp_path)
    with pytest.raises(OtherRunError, match="episodes is 20 there and 21 here"):
        run_one(tiny(episodes=21), 1, tmp_path)


def test_a_folder_in_use_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = RunFolder.path_of(tmp_path, tiny(), 1)
    path.mkdir(parents=True)
    monkeypatch.setattr(run_module, "claim", lambda lock: claim(lock, 0.0))
    with claim(path / ".lock"):
        with pytest.raises(FolderBusyError, match=f"process {os.getpid()} on"):
            run_one(tiny(), 1, tmp_path)
        assert [p.name for p in path.iterdir()] == [".lock"]


@pytest.mark.filterwarnings("ignore:.*is renamed to.*damaged")
def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(tmp_path: Path) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")
    path = run_until(17, tiny(), tmp_path)
    newest = newest_checkpoint(path / "checkpoint")
    assert newest is not None and len(list((path / "checkpoint").iterdir())) == 2
    newest.write_bytes(newest.read_bytes()[:-9])
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(straight)


@pytest.mark.filterwarnings("ignore:.*(is renamed to|begins anew)")
def test_without_a_checkpoint_that_can_be_read_it_begins_anew(tmp_path: Path) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")
    path = run_until(17, tiny(), tmp_path)
    for each in (path / "checkpoint").iterdir():
        each.write_bytes(b"PK")
    folder = run_one(tiny(), 1, tmp_path)
    assert numbers(folder) == numbers(straight)
    assert folder.result().resumed_at == ()


def test_lost_episodes_are_noticed(tmp_path: Path) -> None:
    path = run_until(15, tiny(), tmp_path)
    lines = (path / "monitor.csv").read_bytes().splitlines(keepends=True)
    (path / "monitor.csv").write_bytes(b"".join(lines[:4]))
    with pytest.raises(DamagedRunError, match=r"monitor.csv has 2 episodes of the"):
        run_one(tiny(), 1, tmp_path)
    (path / "config.json").unlink()
    with pytest.raises(DamagedRunError, match=r"config.json is missing"):
        run_one(tiny(), 1, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_while_training(tmp_path: Path) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")
    config = tiny(train=f"{HOOKS}:onto_a_full_disk")
    with pytest.raises(OSError, match="no space is left on the disk for") as caught:
        run_one(config, 1, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    path = RunFolder.path_of(tmp_path, config, 1)
    assert not RunFolder(path).finished and not (path / "model.zip").exists()
    # There is room again.
    folder = run_one(config, 1, tmp_path)
    assert numbers(folder) == numbers(straight)
    assert len(folder.result().resumed_at) == 1


@pytest.mark.parametrize("name", ["model.zip", "evaluation.json", "result.json"])
def test_a_full_disk_when_a_file_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run_one(tiny(), 1, tmp_path / "straight")
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
    assert numbers(run_one(tiny(), 1, tmp_path)) == numbers(straight)


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
@pytest.mark.parametrize("algorithm", ["REINFORCE", "ActorCritic", "A2C", "PPO"])
def test_a_run_whose_weights_are_spoilt_keeps_its_sound_checkpoint(
    algorithm: str, tmp_path: Path
) -> None:
    """It stops there again as long as what spoils them is there."""
    arguments: dict[str, Any] = {"learning_rate": 0.05}
    if algorithm in ("A2C", "PPO"):
        arguments["n_steps"] = 16
    if algorithm == "PPO":
        arguments["batch_size"] = 16
    config = tiny(
        algorithm=algorithm, arguments=arguments, train=f"{HOOKS}:spoils", timesteps=300
    )
    path = RunFolder.path_of(tmp_path, config, 1)
    files: list[dict[str, bytes]] = []
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(ValueError, match=r"nan|NaN") as caught:
            run_one(config, 1, tmp_path)
        if algorithm in ("REINFORCE", "ActorCritic"):
            assert caught.type is NonFiniteError
        said.append(str(caught.value))
        kept = (path / "checkpoint").iterdir()
        files.append({each.name: each.read_bytes() for each in kept})
        assert not (path / "model.zip").exists() and not RunFolder(path).finished
    assert said[0] == said[1] and files[0] == files[1] != {}
    newest = newest_checkpoint(path / "checkpoint")
    assert newest is not None
    sound = algorithm_class(config.settings).load(newest)
    assert 40 <= sound.num_timesteps < 140
    assert all(weight.isfinite().all() for weight in sound.policy.parameters())


def test_a_checkpoint_without_the_progress_of_the_run_is_refused(
    tmp_path: Path,
) -> None:
    path = run_until(15, tiny(), tmp_path)
    newest = newest_checkpoint(path / "checkpoint")
    assert newest is not None
    newest.write_bytes(foreign(newest.read_bytes(), "run_progress"))
    monitor = (path / "monitor.csv").read_bytes()
    with (
        pytest.warns(UserWarning, match="object run_progress"),
        pytest.raises(ValueError, match=r"run_progress can't be unpickled here"),
    ):
        run_one(tiny(), 1, tmp_path)
    assert newest.exists() and (path / "monitor.csv").read_bytes() == monitor


@pytest.mark.filterwarnings("ignore:Could not deserialize object learning_rate")
def test_a_run_with_an_attribute_from_elsewhere_goes_on_and_is_shown(
    tmp_path: Path,
) -> None:
    path = run_until(15, tiny(), tmp_path)
    newest = newest_checkpoint(path / "checkpoint")
    assert newest is not None
    newest.write_bytes(foreign(newest.read_bytes(), "learning_rate"))
    folder = run_one(tiny(), 1, tmp_path)
    assert folder.result().resumed_at
    model = path / "model.zip"
    model.write_bytes(foreign(model.read_bytes(), "learning_rate"))
    assert isinstance(folder.load_model(), REINFORCE) and folder.check().episodes == 20
    # The results of a run belong to the model as it was.
    model.write_bytes(edited(model.read_bytes(), lambda d: d.update(gamma=0.5)))
    with pytest.raises(DamagedRunError, match="edited: the attributes gamma changed"):
        folder.check()


def test_it_works_with_one_thread_and_puts_the_others_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        folder = run_one(tiny(train=f"{HOOKS}:tells"), 1, tmp_path)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert (folder.path / "who").read_text() == f"{os.getpid()} 1 1"


def test_a_run_of_counted_episodes_ends_with_the_last_of_them(tmp_path: Path) -> None:
    """Also where environments in parallel end together."""
    for kind, n_envs in (("dummy", 1), ("dummy", 3), ("vector", 4)):
        config = tiny(
            algorithm="ActorCritic",
            vectorization=kind,
            n_envs=n_envs,
            episodes=11,
            env_kwargs={"max_episode_steps": 2},
        )
        root = tmp_path / f"{kind}{n_envs}"
        folder = run_one(config, 1, root)
        assert folder.check().episodes == 11
        # Every episode takes two steps, all environments side by side.
        assert folder.result().steps == 2 * n_envs * -(-11 // n_envs)
