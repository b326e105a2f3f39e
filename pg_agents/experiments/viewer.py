"""Shows a trained run in a window, or records it as a film."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.wrappers import RenderCollection
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.analysis.plots import save_gif, save_mp4
from pg_agents.common.checks import check_count
from pg_agents.common.files import check_writable
from pg_agents.experiments.building import (
    derived_seed,
    load_function,
    make_evaluation_env,
)
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.settings import RunConfig, require_extra
from pg_agents.live.screen import shows_windows
from pg_envs import WindowClosed

FORMATS = (".gif", ".mp4")
_VIEWER_SEED = 2
_GIF_FPS = 25
OnReturn = Callable[[float], None]
Frames = Generator[NDArray[np.uint8], None, None]


def find_run(
    config: RunConfig,
    root: str | Path,
    seed: int | None = None,
    fallback: RunFolder | None = None,
) -> RunFolder:
    """Returns a finished run of a recipe.

    Args:
        config: config of the recipe; the run may have other settings.
        root: the folder of all runs.
        seed: seed of the run; None for the run with the highest mean return.
        fallback: returned if there is no finished run.

    Raises:
        ValueError: if there is no run and no fallback; the message has the command that
            makes one.
    """
    if seed is None:
        paths = sorted((Path(root) / config.name).glob("seed-*"))
    else:
        paths = [RunFolder.path_of(root, config, seed)]
    folders = [RunFolder(path) for path in paths if (path / "result.json").exists()]
    if folders:
        return max(folders, key=lambda folder: folder.result().mean_return)
    if fallback is not None:
        return fallback
    which = "--seeds 1" if seed is None else f"--seed {seed}"
    plain = config.variant == "notebook"
    variant = "" if plain else f" --variant {config.variant}"
    raise ValueError(
        f"there is no finished run of {config.name} in {root}: `pgtoy run "
        f"{config.recipe}{variant} {which} --out {root}` makes one"
    )


def watch(
    folder: RunFolder,
    n_episodes: int,
    on_return: OnReturn,
    max_steps: int | None = None,
) -> bool:
    """Shows a trained run in a window.

    Args:
        folder: folder of the finished run.
        n_episodes: number of episodes, fewer if the window is closed.
        on_return: called with the return of each episode.
        max_steps: number of steps after which an episode is cut off; None for no limit.

    Returns:
        Whether all episodes were shown.

    Raises:
        ValueError: if there is no screen, or a number is no integer of at least 1.
        ModuleNotFoundError: if an extra is not installed; the message has the pip
            command.
    """
    _check(folder, n_episodes, max_steps)
    play = folder.config.settings.play
    if play is not None:
        load_function(play)(folder, n_episodes)
        return True
    if not shows_windows():
        raise ValueError(
            "there is no screen to watch it on: `pgtoy record "
            f"{folder.config.recipe} --to film.gif` makes a film of it"
        )
    try:
        for _ in _frames(folder, n_episodes, "human", on_return, max_steps):
            # The windows of pg_envs raise it themselves; Gymnasium's leave the event in
            # the queue.
            pygame = sys.modules.get("pygame")
            if pygame is not None and pygame.display.get_init():
                if pygame.event.peek(pygame.QUIT):
                    raise WindowClosed
    except WindowClosed:
        return False
    return True


def record(
    folder: RunFolder,
    path: Path,
    n_episodes: int,
    on_return: OnReturn,
    max_steps: int | None = None,
) -> None:
    """Records a trained run as a film, .gif or .mp4; see `watch` for the arguments.

    Raises:
        ValueError: if the file has another suffix, or a number is no integer of at
            least 1.
        OSError: if it can't be written, which is checked before the first episode.
        ModuleNotFoundError: if an extra is not installed; the message has the pip
            command.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"a film must end in {' or '.join(FORMATS)}, got {path}")
    check_writable(path)
    if path.suffix == ".mp4":
        require_extra("video", "a film in .mp4")
    _check(folder, n_episodes, max_steps)
    # MuJoCo reads it on import: EGL renders off-screen.
    has_window = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if sys.platform == "linux" and not has_window:
        os.environ.setdefault("MUJOCO_GL", "egl")
    with closing(make_evaluation_env(folder.config.settings, 0)) as env:
        fps = float(env.get_attr("metadata")[0].get("render_fps", 30))
    # GIFs are large: of a fast game they show every second frame, or fewer.
    every = math.ceil(fps / _GIF_FPS) if path.suffix == ".gif" else 1
    frames = _frames(folder, n_episodes, "rgb_array", on_return, max_steps, every)
    if path.suffix == ".gif":
        save_gif(list(frames), path, fps / every)
    else:
        with closing(frames):
            save_mp4(frames, path, fps)


def _check(folder: RunFolder, n_episodes: int, max_steps: int | None) -> None:
    check_count("n_episodes", n_episodes)
    if max_steps is not None:
        check_count("max_steps", max_steps)
    require_extra(folder.config.settings.extra, f"recipe {folder.config.recipe}")


def _frames(
    folder: RunFolder,
    n_episodes: int,
    render_mode: str,
    on_return: OnReturn,
    max_steps: int | None,
    every: int = 1,
) -> Frames:
    """Plays episodes, and yields every so many frames and the last of each episode."""
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _VIEWER_SEED)
    env = make_evaluation_env(settings, seed, render_mode, max_steps)
    with closing(env):
        model = folder.load_model(env)
        model.set_random_seed(seed)
        inner = env.unwrapped
        assert isinstance(inner, DummyVecEnv), "made by make_evaluation_env"
        # A VecEnv resets an environment in the step that ends an episode, so the last
        # frame has to be rendered inside.
        collection: Any = RenderCollection(inner.envs[0], reset_clean=False)
        inner.envs[0] = collection
        obs: Any = env.reset()
        n_steps = 0
        while n_episodes > 0:
            if n_steps == 0:
                yield collection.render()[-1]
            actions, _ = model.predict(
                obs, deterministic=settings.evaluation.deterministic
            )
            obs, _, dones, infos = env.step(actions)
            n_steps += 1
            if dones[0]:
                yield collection.frame_list[0]
                on_return(infos[0]["episode"]["r"])
                n_episodes, n_steps = n_episodes - 1, 0
                continue
            frames = collection.render()
            if n_steps % every == 0:
                yield frames[0]
