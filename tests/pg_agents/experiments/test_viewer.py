"""A trained run in a window, or on film."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from pg_agents.experiments import RunFolder, run_one
from pg_agents.experiments import watching as watching_module
from pg_agents.experiments.showcases import Showcase
from pg_agents.experiments.watching import find_run, has_screen, record, watch
from pg_envs import SequenceEnv, WindowClosed
from tests.pg_agents.experiments.tiny import HOOKS, tiny

SHOWN: list[Any] = []


def play(folder: RunFolder, n_episodes: int) -> None:
    SHOWN.append((folder.path, n_episodes))


# Greedy, and long enough trained: three steps an episode.
CONFIG = tiny(episodes=150, evaluation__deterministic=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_one(CONFIG, 1, tmp_path_factory.mktemp("runs"))


def test_each_episode_is_shown_with_its_first_and_last_frame(
    folder: RunFolder, tmp_path: Path
) -> None:
    returns: list[float] = []
    path = tmp_path / "film.gif"
    record(folder, path, 2, returns.append)
    assert returns == pytest.approx([0.9, 0.9])
    with Image.open(path) as film:
        # Start, right, right, centre; GIF viewers show four frames a second.
        # First: reading on puts the last frame's in its place.
        assert film.info["duration"] == 250
        assert len(list(ImageSequence.Iterator(film))) == 8


def test_who_sees_several_observations_is_shown_as_it_was_evaluated(
    tmp_path: Path,
) -> None:
    """What it sees decides what it does, and so what it gets."""
    config = tiny(
        algorithm="ActorCritic",
        timesteps=1500,
        frame_stack=3,
        evaluation__deterministic=True,
    )
    run = run_one(config, 1, tmp_path)
    returns: list[float] = []
    record(run, tmp_path / "film.gif", 2, returns.append)
    # The start, and all that follows from it, are the same each time.
    assert returns == pytest.approx([run.result().mean_return] * 2)
    assert run.result().sd_return == 0


def test_of_a_fast_game_fewer_frames_are_taken(tmp_path: Path) -> None:
    """CartPole has 50 a second: every other one, and the last."""
    config = tiny(
        algorithm="RandomAgent",
        arguments={},
        policy_kwargs={},
        env_id="CartPole-v1",
        env_kwargs={"max_episode_steps": 7},
        episodes=1,
    )
    folder = run_one(config, 1, tmp_path)
    record(folder, tmp_path / "film.gif", 1, lambda each: None)
    with Image.open(tmp_path / "film.gif") as film:
        # After 0, 2, 4, 6 and 7 steps.
        # First: reading on puts the last frame's in its place.
        assert film.info["duration"] == 40
        assert len(list(ImageSequence.Iterator(film))) == 5


def test_the_first_steps_of_an_episode_may_do(
    folder: RunFolder, tmp_path: Path
) -> None:
    returns: list[float] = []
    path = tmp_path / "film.gif"
    record(folder, path, 2, returns.append, max_steps=2)
    # Right, right, each at a cost of 0.05; the third step would bring 1.
    assert returns == pytest.approx([-0.1, -0.1])
    with Image.open(path) as film:
        assert len(list(ImageSequence.Iterator(film))) == 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_film_of_the_other_format(folder: RunFolder, tmp_path: Path) -> None:
    reader = pytest.importorskip("moviepy.video.io.ffmpeg_reader")
    record(folder, tmp_path / "film.mp4", 2, lambda each: None)
    film = reader.FFMPEG_VideoReader(str(tmp_path / "film.mp4"))
    assert tuple(film.size) == (800, 512) and film.fps == 4 and film.duration == 2
    first, last = film.get_frame(0.1), film.get_frame(1.9)
    assert np.abs(first.astype(int) - last).mean() > 1
    film.close()
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_film_that_breaks_off_leaves_nothing(
    folder: RunFolder, tmp_path: Path
) -> None:
    pytest.importorskip("moviepy")

    def stop(episode_return: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(folder, tmp_path / "film.mp4", 2, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_mujoco_is_filmed_where_there_is_no_screen(tmp_path: Path) -> None:
    """In a process of its own: MuJoCo finds out what draws when it is imported."""
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


def test_bad_files_are_refused_before_anything_is_played(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(episode_return: float) -> None:
        raise AssertionError("it was played")

    with pytest.raises(ValueError, match=r"must end in .gif or .mp4, got film.avi"):
        record(folder, Path("film.avi"), 1, never)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        record(folder, tmp_path / "no" / "film.gif", 1, never)
    monkeypatch.setitem(sys.modules, "moviepy", None)
    message = r'needs moviepy: pip install "pgtoy\[video\]"'
    with pytest.raises(ModuleNotFoundError, match=message):
        record(folder, tmp_path / "film.mp4", 1, never)


def test_a_window_is_shown_until_it_is_closed(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns: list[float] = []
    monkeypatch.setitem(SequenceEnv.metadata, "render_fps", 1000)
    assert watch(folder, 1, returns.append)
    assert returns == pytest.approx([0.9])

    def closed() -> None:
        if len(returns) == 2:
            raise WindowClosed

    monkeypatch.setattr(watching_module, "_heed_window", closed)
    assert not watch(folder, 5, returns.append)
    assert len(returns) == 2


def test_gymnasium_s_windows_can_be_closed_too() -> None:
    import pygame

    pygame.display.init()
    pygame.display.set_mode((10, 10))
    try:
        pygame.event.clear()
        watching_module._heed_window()
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        with pytest.raises(WindowClosed):
            watching_module._heed_window()
    finally:
        pygame.event.clear()
        pygame.display.quit()
    watching_module._heed_window()


def test_without_a_screen_it_says_what_to_do_instead(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_screen() == bool(os.environ["SDL_VIDEODRIVER"])
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    message = "no screen to watch it on: `pgtoy record tiny --to film.gif`"
    with pytest.raises(ValueError, match=message):
        watch(folder, 1, lambda each: None)


def test_a_recipe_may_have_a_show_of_its_own(tmp_path: Path) -> None:
    module = HOOKS.replace("tiny", "test_watching")
    folder = run_one(tiny(play=f"{module}:play"), 1, tmp_path)
    SHOWN.clear()
    assert watch(folder, 3, lambda each: None)
    from tests.pg_agents.experiments import test_watching

    assert test_watching.SHOWN == [(folder.path, 3)]


def test_runs_that_have_not_finished_are_not_found(
    folder: RunFolder, tmp_path: Path
) -> None:
    assert find_run(CONFIG, folder.path.parent.parent).path == folder.path
    showcase = Showcase(folder.path)
    # A run of one's own comes first.
    own = find_run(CONFIG, folder.path.parent.parent, showcase=showcase)
    assert own is not showcase
    assert find_run(CONFIG, tmp_path, showcase=showcase) is showcase
    unfinished = RunFolder.path_of(tmp_path, CONFIG, 1)
    RunFolder.create(unfinished, CONFIG, 1)
    with pytest.raises(ValueError, match="there is no finished run of tiny in"):
        find_run(CONFIG, tmp_path)
