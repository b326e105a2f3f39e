"""Shows a trained run in a window, or records it as a film."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.analysis.plots import save_gif
from pg_agents.common.checks import check_count
from pg_agents.common.files import check_writable, write_file
from pg_agents.experiments.building import (
    derived_seed,
    load_function,
    make_evaluation_env,
)
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.settings import RunConfig, require_extra
from pg_envs import WindowClosed

FORMATS = (".gif", ".mp4")
_VIEWER_SEED = 2
_GIF_FPS = 25
Frame = NDArray[np.uint8]
OnReturn = Callable[[float], None]


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
            lambda frame: _check_window(),
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
    on_return: OnReturn,
    max_steps: int | None = None,
) -> None:
    """Writes a film of a trained run atomically.

    Args:
        folder: folder of the finished run.
        path: a ``.gif``, or a ``.mp4``, which needs the extra ``video``.
        n_episodes: number of episodes.
        on_return: called with the return of each episode.
        max_steps: number of steps after which an episode is cut off; None for no limit.

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
    _render_without_window()
    env = make_evaluation_env(folder.config.settings, 0)
    fps = float(env.get_attr("metadata")[0].get("render_fps", 30))
    env.close()
    if path.suffix == ".mp4":
        _write_mp4(folder, path, n_episodes, on_return, max_steps, fps)
        return
    # GIFs are large: of a fast game they show every second frame, or fewer.
    every = math.ceil(fps / _GIF_FPS)
    frames: list[Frame] = []
    _play(folder, n_episodes, "rgb_array", frames.append, on_return, max_steps, every)
    save_gif(frames, path, fps / every)


def has_screen() -> bool:
    """Whether a window can be opened; SDL's dummy driver, as in tests, counts."""
    if sys.platform in ("win32", "darwin"):
        return True
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return any(os.environ.get(name) for name in names)


class _Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Passes on frames and returns of one environment in a VecEnv.

    A VecEnv resets an environment in the step that ends an episode, so the last frame
    has to be rendered inside.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        n_episodes: int,
        seed: int,
        on_frame: Callable[[Any], None],
        on_return: OnReturn,
        max_steps: int | None,
        every: int,
    ) -> None:
        super().__init__(env)
        self.n_left, self.next_seed = n_episodes, seed
        self.on_frame, self.on_return = on_frame, on_return
        self.max_steps, self.every = max_steps, every

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Starts an episode, with the next seed."""
        self.n_steps, self.total = 0, 0.0
        obs, info = self.env.reset(seed=self.next_seed)
        self.next_seed += 1
        if self.n_left > 0:
            self.on_frame(self.env.render())
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Takes a step; cuts the episode off after `max_steps`."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.n_steps, self.total = self.n_steps + 1, self.total + float(reward)
        truncated = truncated or self.n_steps == self.max_steps
        done = terminated or truncated
        if done or self.n_steps % self.every == 0:
            self.on_frame(self.env.render())
        if done:
            self.n_left -= 1
            self.on_return(self.total)
        return obs, float(reward), terminated, truncated, info


def _check(folder: RunFolder, n_episodes: int, max_steps: int | None) -> None:
    check_count("n_episodes", n_episodes)
    if max_steps is not None:
        check_count("max_steps", max_steps)
    require_extra(folder.config.settings.extra, f"recipe {folder.config.recipe}")


def _render_without_window() -> None:
    """Makes MuJoCo, which reads the variable on import, render off-screen with EGL."""
    has_window = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if sys.platform == "linux" and not has_window:
        os.environ.setdefault("MUJOCO_GL", "egl")


def _play(
    folder: RunFolder,
    n_episodes: int,
    render_mode: str,
    on_frame: Callable[[Any], None],
    on_return: OnReturn,
    max_steps: int | None,
    every: int = 1,
) -> None:
    """Plays episodes, and passes on every so many frames and the last of each."""
    settings = folder.config.settings
    seed = derived_seed(folder.seed, _VIEWER_SEED)
    env = make_evaluation_env(settings, seed, render_mode)
    try:
        model = folder.load_model(env)
        model.set_random_seed(seed)
        inner = env.unwrapped
        assert isinstance(inner, DummyVecEnv), "made by make_evaluation_env"
        recorder = _Recorder(
            inner.envs[0], n_episodes, seed, on_frame, on_return, max_steps, every
        )
        inner.envs[0] = recorder
        obs: Any = env.reset()
        while recorder.n_left > 0:
            actions, _ = model.predict(
                obs, deterministic=settings.evaluation.deterministic
            )
            obs, *_ = env.step(actions)
    finally:
        env.close()


def _check_window() -> None:
    """Raises `WindowClosed` if the user has closed a window of Gymnasium's.

    The windows of pg_envs raise it themselves; Gymnasium's leave the event in the
    queue.
    """
    pygame = sys.modules.get("pygame")
    if pygame is not None and pygame.display.get_init():
        if pygame.event.peek(pygame.QUIT):
            raise WindowClosed


def _write_mp4(
    folder: RunFolder,
    path: Path,
    n_episodes: int,
    on_return: OnReturn,
    max_steps: int | None,
    fps: float,
) -> None:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    writer: Any = None
    with tempfile.TemporaryDirectory() as temporary:
        film = Path(temporary) / "film.mp4"

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
