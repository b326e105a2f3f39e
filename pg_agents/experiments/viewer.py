"""A trained run, watched in a window or recorded as a film."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.analysis.plots import save_gif
from pg_agents.common.checks import check_count
from pg_agents.common.files import check_writable, write_file
from pg_agents.experiments.building import derived_seed, load_hook, make_evaluation_env
from pg_agents.experiments.extras import require_extra
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.settings import RunConfig
from pg_agents.experiments.sight import Sight
from pg_envs import WindowClosed

FORMATS = (".gif", ".mp4")
_WATCHING = 2
_GIF_FPS = 25
Frame = NDArray[np.uint8]


def find_run(
    config: RunConfig,
    root: str | Path,
    seed: int | None = None,
    showcase: RunFolder | None = None,
) -> RunFolder:
    """Returns a finished run of a recipe.

    Args:
        config: of the recipe; the run may have other settings.
        root: the folder of all runs.
        seed: of the run; None for the one with the highest mean return.
        showcase: what is returned if there is none.

    Raises:
        ValueError: if there is none; the message says how to make one.
    """
    if seed is None:
        paths = sorted((Path(root) / config.name).glob("seed-*"))
    else:
        paths = [RunFolder.path_of(root, config, seed)]
    found = [RunFolder(path) for path in paths if (path / "result.json").exists()]
    if not found and showcase is not None:
        return showcase
    if not found:
        which = "--seeds 1" if seed is None else f"--seed {seed}"
        plain = config.variant == "notebook"
        variant = "" if plain else f" --variant {config.variant}"
        raise ValueError(
            f"there is no finished run of {config.name} in {root}: `pgtoy run "
            f"{config.recipe}{variant} {which} --out {root}` makes one"
        )
    return max(found, key=lambda folder: folder.result().mean_return)


def watch(
    folder: RunFolder,
    n_episodes: int,
    on_return: Callable[[float], None],
    max_steps: int | None = None,
) -> bool:
    """Shows a trained run in a window.

    Args:
        folder: of the finished run.
        n_episodes: to show, unless the window is closed before.
        on_return: is told the return of each, of what was shown.
        max_steps: of each episode to show; None for all.

    Returns:
        Whether all were shown.

    Raises:
        ValueError: if there is no screen, or a number is no integer of at least 1.
        ModuleNotFoundError: if an extra is not installed; says how to install it.
    """
    _check_counts(n_episodes, max_steps)
    settings = folder.config.settings
    _require_extra_of(folder)
    if settings.play is not None:
        load_hook(settings.play)(folder, n_episodes)
        return True
    if not has_screen():
        raise ValueError(
            "there is no screen to watch it on: `pgtoy record "
            f"{folder.config.recipe} --to film.gif` makes a film of it"
        )
    try:
        _play(
            folder,
            n_episodes,
            "human",
            lambda frame: _heed_window(),
            on_return,
            max_steps,
        )
    except WindowClosed:
        return False
    return True


def record(
    folder: RunFolder,
    path: Path,
    n_episodes: int,
    on_return: Callable[[float], None],
    max_steps: int | None = None,
) -> None:
    """Writes a film of a trained run, whole or not at all.

    Args:
        folder: of the finished run.
        path: a ``.gif``, or a ``.mp4``, which needs the extra ``video``.
        n_episodes: to show.
        on_return: is told the return of each, of what was shown.
        max_steps: of each episode to show; None for all.

    Raises:
        ValueError: if the file has another ending, or a number is no integer of at
            least 1.
        OSError: if it can't be written; that is found out before anything is played.
        ModuleNotFoundError: if an extra is not installed; says how to install it.
    """
    _check_counts(n_episodes, max_steps)
    if path.suffix not in FORMATS:
        raise ValueError(f"a film must end in {' or '.join(FORMATS)}, got {path}")
    check_writable(path)
    if path.suffix == ".mp4":
        require_extra("video", "a film in .mp4")
    _require_extra_of(folder)
    _draw_without_a_screen()
    fps = _fps(folder)
    if path.suffix == ".gif":
        # Of a fast game every other frame, or fewer: a GIF is large.
        every = math.ceil(fps / _GIF_FPS)
        frames: list[Frame] = []
        _play(
            folder,
            n_episodes,
            "rgb_array",
            frames.append,
            on_return,
            max_steps,
            every,
        )
        save_gif(frames, path, fps / every)
    else:
        _write_mp4(folder, path, n_episodes, on_return, max_steps, fps)


def _check_counts(n_episodes: int, max_steps: int | None) -> None:
    check_count("n_episodes", n_episodes)
    if max_steps is not None:
        check_count("max_steps", max_steps)


def _require_extra_of(folder: RunFolder) -> None:
    require_extra(folder.config.settings.extra, f"recipe {folder.config.recipe}")


def _draw_without_a_screen() -> None:
    """Has MuJoCo draw through EGL where it would look for a window in vain.

    It reads the variable when it is imported; whoever has set it knows better.
    """
    windows = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if sys.platform == "linux" and not windows:
        os.environ.setdefault("MUJOCO_GL", "egl")


def has_screen() -> bool:
    """Whether a window can be opened; a dummy driver, which tests use, counts."""
    if sys.platform in ("win32", "darwin"):
        return True
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return any(os.environ.get(name) for name in names)


def _play(
    folder: RunFolder,
    n_episodes: int,
    render_mode: str,
    on_frame: Callable[[Any], None],
    on_return: Callable[[float], None],
    max_steps: int | None,
    every: int = 1,
) -> None:
    """Plays episodes; the last frame of each is among those that are shown."""
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _WATCHING)
    vec_env = make_evaluation_env(settings, seed, render_mode)
    try:
        model = folder.load_model(vec_env)
        model.set_random_seed(seed)
        inner = vec_env.unwrapped
        assert isinstance(inner, DummyVecEnv), "make_evaluation_env makes one"
        # Stepped alone: SB3 starts the next episode before the last frame is seen.
        env = inner.envs[0]
        sight = Sight(vec_env, model)
        for episode in range(n_episodes):
            observation, _ = env.reset(seed=seed + episode)
            on_frame(env.render())
            seen = sight.first(observation)
            total, n_steps, ended = 0.0, 0, False
            while not ended:
                action, _ = model.predict(
                    seen, deterministic=settings.evaluation.deterministic
                )
                chosen: Any = action
                if isinstance(env.action_space, spaces.Discrete):
                    chosen = int(action)
                observation, reward, terminated, truncated, _ = env.step(chosen)
                seen = sight.next(observation)
                total, n_steps = total + float(reward), n_steps + 1
                ended = terminated or truncated or n_steps == max_steps
                if ended or n_steps % every == 0:
                    on_frame(env.render())
            on_return(total)
    finally:
        vec_env.close()


def _heed_window() -> None:
    """Ends the show if somebody has closed the window of an environment of others.

    Ours say so themselves; Gymnasium's leave the request where it is.
    """
    pygame = sys.modules.get("pygame")
    if pygame is not None and pygame.display.get_init():
        if pygame.event.peek(pygame.QUIT):
            raise WindowClosed


def _fps(folder: RunFolder) -> float:
    env = make_evaluation_env(folder.config.settings, 0)
    try:
        return float(env.get_attr("metadata")[0].get("render_fps", 30))
    finally:
        env.close()


def _write_mp4(
    folder: RunFolder,
    path: Path,
    n_episodes: int,
    on_return: Callable[[float], None],
    max_steps: int | None,
    fps: float,
) -> None:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    writer: Any = None
    with tempfile.TemporaryDirectory() as folder_of_film:
        film = Path(folder_of_film) / "film.mp4"

        def write(frame: Frame) -> None:
            nonlocal writer
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = FFMPEG_VideoWriter(str(film), size, fps)
            writer.write_frame(frame)

        try:
            _play(folder, n_episodes, "rgb_array", write, on_return, max_steps)
        finally:
            if writer is not None:
                writer.close()
        write_file(path, film.read_bytes())
