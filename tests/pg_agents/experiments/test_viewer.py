"""A trained run in a window, or on film."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from pg_agents.experiments import RunFolder, run_one
from pg_agents.experiments.pretrained import PretrainedRun
from pg_agents.experiments.viewer import (
    find_run,
    record,
    watch,
)
from pg_envs import SequenceEnv
from tests.pg_agents.experiments.tiny import tiny

# Greedy, and trained until an episode takes three steps.
CONFIG = tiny(episodes=150, evaluation__deterministic=True)
# Random actions, which keep the pole up for seven steps.
CARTPOLE = tiny(
    algorithm="RandomAgent",
    arguments={},
    policy_kwargs={},
    env_id="CartPole-v1",
    env_kwargs={"max_episode_steps": 7},
    episodes=1,
)


@pytest.fixture(autouse=True)
def driver_of_tests_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL's dummy driver stands for a screen."""
    monkeypatch.setattr("pg_agents.experiments.viewer.shows_windows", lambda: True)


PLAYED: list[tuple[Path, int]] = []


def play(folder: RunFolder, n_episodes: int) -> None:
    PLAYED.append((folder.path, n_episodes))


def ignore(episode_return: float) -> None:
    pass


def n_frames(path: Path) -> tuple[int, int]:
    """Returns the number of frames and the milliseconds of each."""
    with Image.open(path) as film:
        # Reading on replaces the duration of the first frame.
        duration = film.info["duration"]
        return len(list(ImageSequence.Iterator(film))), duration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_one(CONFIG, 1, tmp_path_factory.mktemp("runs"))


def test_a_film_has_the_first_and_the_last_frame_of_each_episode(
    folder: RunFolder, tmp_path: Path
) -> None:
    returns: list[float] = []
    path = tmp_path / "film.gif"
    record(folder, path, 2, returns.append)
    assert returns == pytest.approx([0.9, 0.9])
    # Start, right, right, centre; four frames per second.
    assert n_frames(path) == (8, 250)


def test_a_film_of_the_first_steps(folder: RunFolder, tmp_path: Path) -> None:
    returns: list[float] = []
    path = tmp_path / "film.gif"
    record(folder, path, 2, returns.append, max_steps=2)
    # Right, right, each at a cost of 0.05; the third step would earn 1.
    assert returns == pytest.approx([-0.1, -0.1])
    assert n_frames(path)[0] == 6


def test_a_film_of_a_fast_game_has_every_second_frame(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    record(run_one(CARTPOLE, 1, tmp_path), path, 1, ignore)
    # After 0, 2, 4, 6 and 7 steps; CartPole has 50 frames per second.
    assert n_frames(path) == (5, 40)


@pytest.mark.parametrize("n_stack", [None, 3])
@pytest.mark.parametrize("normalize", [None, {"norm_reward": True}])
def test_the_film_shows_the_return_of_the_evaluation(
    normalize: dict[str, bool] | None, n_stack: int | None, tmp_path: Path
) -> None:
    """The policy sees observations as in training; rewards are not normalized."""
    config = tiny(
        algorithm="ActorCritic",
        timesteps=1500,
        normalize=normalize,
        frame_stack=n_stack,
        evaluation__deterministic=True,
    )
    run = run_one(config, 1, tmp_path)
    returns: list[float] = []
    record(run, tmp_path / "film.gif", 2, returns.append)
    # The environment is deterministic.
    assert returns == pytest.approx([run.result().mean_return] * 2)
    assert run.result().sd_return == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_mp4(folder: RunFolder, tmp_path: Path) -> None:
    reader = pytest.importorskip("moviepy.video.io.ffmpeg_reader")
    record(folder, tmp_path / "film.mp4", 2, ignore)
    film = reader.FFMPEG_VideoReader(str(tmp_path / "film.mp4"))
    assert tuple(film.size) == (800, 512) and film.fps == 4 and film.duration == 2
    first, last = film.get_frame(0.1), film.get_frame(1.9)
    assert np.abs(first.astype(int) - last).mean() > 1
    film.close()
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_mp4_leaves_no_file(folder: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")

    def stop(episode_return: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(folder, tmp_path / "film.mp4", 2, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_mujoco_is_filmed_without_a_screen(tmp_path: Path) -> None:
    """In a new process: MuJoCo chooses its renderer when it is imported."""
    pytest.importorskip("mujoco", reason="needs the extra mujoco")
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")
    film = tmp_path / "film.gif"
    command = ["record", "inverted-pendulum", "--steps", "9", "--to", str(film)]
    done = subprocess.run(
        [sys.executable, "-m", "pg_agents.cli.main", *command, "--out", str(tmp_path)],
        env={key: value for key, value in os.environ.items() if key not in screens},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(film) as frames:
        # A cart and a pole on a black ground.
        colours = np.asarray(frames.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 10


def test_bad_files_raise_before_the_first_episode(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(episode_return: float) -> None:
        raise AssertionError("it was played")

    with pytest.raises(ValueError, match=r"must end in .gif or .mp4, got film.avi"):
        record(folder, Path("film.avi"), 1, never)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        record(folder, tmp_path / "no" / "film.gif", 1, never)
    monkeypatch.setitem(sys.modules, "moviepy", None)
    message = r"needs moviepy: pip install .*\[video\]"
    with pytest.raises(ModuleNotFoundError, match=message):
        record(folder, tmp_path / "film.mp4", 1, never)


@pytest.fixture
def quit_event() -> Any:
    """Posts pygame's event of a closed window."""
    import pygame

    yield lambda: pygame.event.post(pygame.event.Event(pygame.QUIT))
    if pygame.display.get_init():
        pygame.event.clear()


def test_a_window_is_shown_until_it_is_closed(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, quit_event: Callable[[], None]
) -> None:
    returns: list[float] = []
    monkeypatch.setitem(SequenceEnv.metadata, "render_fps", 1000)
    assert watch(folder, 1, returns.append)
    assert returns == pytest.approx([0.9])

    def close_after_two(episode_return: float) -> None:
        returns.append(episode_return)
        if len(returns) == 3:
            quit_event()

    assert not watch(folder, 5, close_after_two)
    assert len(returns) == 3


def test_a_window_of_gymnasium_can_be_closed(
    tmp_path: Path, quit_event: Callable[[], None]
) -> None:
    """Its renderers leave the event in the queue."""
    run = run_one(CARTPOLE, 1, tmp_path)
    returns: list[float] = []

    def close_after_one(episode_return: float) -> None:
        returns.append(episode_return)
        quit_event()

    assert not watch(run, 3, close_after_one)
    assert returns == [7.0]


def test_without_a_screen_the_message_names_record(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "no screen to watch it on: `pgtoy record tiny --to film.gif`"
    monkeypatch.undo()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.raises(ValueError, match=message):
        watch(folder, 1, ignore)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ValueError, match=message):
        watch(folder, 1, ignore)


def test_a_play_function_replaces_the_window(tmp_path: Path) -> None:
    folder = run_one(tiny(play=f"{__name__}:play"), 1, tmp_path)
    PLAYED.clear()
    assert watch(folder, 3, ignore)
    assert PLAYED == [(folder.path, 3)]


def test_find_run_prefers_finished_runs_to_the_fallback(
    folder: RunFolder, tmp_path: Path
) -> None:
    root, fallback = folder.path.parent.parent, PretrainedRun(folder.path)
    assert find_run(CONFIG, root).path == folder.path
    assert find_run(CONFIG, root, fallback=fallback) is not fallback
    assert find_run(CONFIG, tmp_path, fallback=fallback) is fallback
    RunFolder.create(RunFolder.path_of(tmp_path, CONFIG, 1), CONFIG, 1)
    with pytest.raises(ValueError, match=f"no finished run of tiny in {tmp_path}: `pg"):
        find_run(CONFIG, tmp_path)
