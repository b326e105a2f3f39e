"""Options, progress bar and rendering that the demos share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

import pg_envs
from pg_agents import LiveView
from pg_agents.analysis.plots import save_figure, save_gif
from pg_agents.callbacks import RunningReward
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.callbacks.recorder import action_probabilities
from pg_agents.cli.live import add_live_options, make_live_view
from pg_agents.common.files import check_folder
from pg_agents.common.progress import tqdm
from pg_agents.live.screen import shows_windows

# Of environments whose every step is to be read.
RENDER_FPS = 2.0
# How long the end of an episode stays.
HOLD_SECONDS = 1.0


def parse_options(doc: str | None, name: str, **more: Any) -> argparse.Namespace:
    """Parses `--seed`, `--out`, `--render`, the live view's and a demo's own options.

    Args:
        doc: description of the demo.
        name: default folder of its pictures, below `out/`.
        **more: further options with their defaults, integers of at least 1.

    Returns:
        The options; the folder `out` exists.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out") / name,
        metavar="DIR",
        help="where pictures go (default: %(default)s)",
    )
    parser.add_argument(
        "--render",
        choices=("human", "gif", "none"),
        default="human" if shows_windows() else "gif",
        help="show the trained agent in a window, save it as a GIF, or neither "
        "(default here: %(default)s)",
    )
    add_live_options(parser)
    for option, default in more.items():
        parser.add_argument(
            f"--{option}", type=count, default=default, help="default: %(default)s"
        )
    options = parser.parse_args()
    if not 0 <= options.seed < 2**32 - 1000:
        parser.error(f"--seed must be from 0 to {2**32 - 1001}, got {options.seed}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        check_folder(options.out)
    except OSError as error:
        parser.error(f"--out {options.out} can't be written to: {error.strerror}")
    if options.render != "none" and not shows_windows():
        print("There is no screen: the agent is saved as a GIF instead of shown.")
        options.render = "gif"
    if not shows_windows():
        # SDL would look for one, and say that there is none.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    # Networks this small lose time on a second thread.
    torch.set_num_threads(1)
    return options


def count(text: str) -> int:
    """Parses a number of at least 1, as a type of argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def live_view(
    options: argparse.Namespace, updates_per_second: float | None = None
) -> LiveView | None:
    """Returns the view for the callbacks of a training; None unless it is asked for.

    Args:
        options: of `parse_options`.
        updates_per_second: speed at first without `--live-speed`, which keys in the
            window change; None for no limit.

    Raises:
        SystemExit: if an option of the view is invalid.
    """
    try:
        return make_live_view(options, updates_per_second)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: {error}") from error


class RunsBar:
    """A progress bar over several runs that counts steps or episodes.

    Args:
        n_runs: number of runs.
        n_per_run: steps or episodes per run.
        unit: `"step"` or `"episode"`.
    """

    def __init__(self, n_runs: int, n_per_run: int, unit: str) -> None:
        self._bar: tqdm[Any] = tqdm(total=n_runs * n_per_run, unit=f" {unit}s")
        self._n_runs, self._unit = n_runs, unit

    def __enter__(self) -> RunsBar:
        """Opens the bar."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the bar."""
        self._bar.close()

    def of_run(self, number: int) -> BaseCallback:
        """Returns the callback for a run; runs are numbered from 0."""
        self._bar.set_description(f"run {number + 1} of {self._n_runs}", refresh=False)
        return _Tick(self._bar, self._unit == "episode")


class _Tick(BaseCallback):
    def __init__(self, bar: tqdm[Any], counts_episodes: bool) -> None:
        super().__init__()
        self._bar, self._counts_episodes = bar, counts_episodes
        self._running = RunningReward()

    def _on_step(self) -> bool:
        dones = self.locals["dones"]
        for episode in finished_episodes(self.locals):
            running = self._running.update(episode.episode_return)
            self._bar.set_postfix(running=f"{running:.2f}", refresh=False)
        self._bar.update(int(dones.sum()) if self._counts_episodes else len(dones))
        return True


def save(figure: Figure, path: Path) -> None:
    """Saves a figure and prints its path."""
    save_figure(figure, path)
    say_saved(path)


def say_saved(path: Path) -> None:
    """Prints that a file was written."""
    print(f"  saved {path}")


class ShowLearning(BaseCallback):
    """Shows an episode of the policy so far, now and then during training.

    The first one comes before the first update. It opens a window, and does nothing
    where the options ask for none. Closing the window ends the show, not the training.

    Args:
        env_id: id of the environment.
        options: of `parse_options`.
        at: numbers of finished episodes at which to show one, increasing from 0.
        max_steps: maximum number of steps to show of an episode.
    """

    def __init__(
        self,
        env_id: str,
        options: argparse.Namespace,
        at: Sequence[int],
        max_steps: int = 10,
    ) -> None:
        super().__init__()
        self._env_id, self._options = env_id, options
        self._left = list(at) if options.render == "human" else []
        self._max_steps = max_steps
        self._n_episodes = 0
        self._env: gymnasium.Env[Any, Any] | None = None

    def _on_rollout_start(self) -> None:
        if not self._left or self._n_episodes < self._left[0]:
            return
        self._left.pop(0)
        n = self._n_episodes
        caption = f"after {n:,} episodes of training" if n else "before training"
        # So that the training is the same with and without the window.
        with torch.random.fork_rng(devices=[]):
            self._show(caption)

    def _show(self, caption: str) -> None:
        try:
            if self._env is None:
                self._env = _make_env(self._env_id, "human")
            _play(self.model, self._env, self._options.seed, [caption], self._max_steps)
        except pg_envs.WindowClosed:
            print("  The window was closed; training continues.")
            self._left = []

    def _on_step(self) -> bool:
        self._n_episodes += len(finished_episodes(self.locals))
        return True

    def _on_training_end(self) -> None:
        if self._env is not None:
            self._env.close()


def show_agent(
    model: BaseAlgorithm,
    env_id: str,
    options: argparse.Namespace,
    n_episodes: int,
    max_steps: int = 60,
    name: str = "agent",
    **env_arguments: Any,
) -> bool:
    """Shows the agent in a window, or saves it as a GIF.

    The environment's own pace is kept, but for those whose every step is to be read.

    Closing the window or Ctrl-C ends the show, not the program.

    Args:
        model: the trained agent; it takes its most probable actions.
        env_id: id of the environment.
        options: of `parse_options`.
        n_episodes: number of episodes.
        max_steps: maximum number of steps per episode.
        name: of the GIF.
        **env_arguments: arguments of the environment.

    Returns:
        Whether it was shown to its end.
    """
    if options.render == "none":
        return True
    mode = "human" if options.render == "human" else "rgb_array"
    env = _make_env(env_id, mode, **env_arguments)
    how_to_end = " Escape or the close button ends it." if mode == "human" else ""
    many = "1 episode" if n_episodes == 1 else f"{n_episodes} episodes"
    print(
        f"\n{type(model).__name__}, trained, plays {many} by its most probable "
        f"actions.{how_to_end}"
    )
    captions = [f"trained: episode {k + 1} of {n_episodes}" for k in range(n_episodes)]
    if n_episodes == 1:
        captions = ["trained"]
    try:
        frames = _play(model, env, options.seed, captions, max_steps, greedy=True)
    except (pg_envs.WindowClosed, KeyboardInterrupt):
        print("  The window was closed.")
        return False
    finally:
        env.close()
    if frames:
        path = options.out / f"{name}.gif"
        save_gif(frames, path, fps=_gif_fps(env))
        say_saved(path)
    return True


def _make_env(env_id: str, mode: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make(env_id, render_mode=mode, **arguments)
    if isinstance(env.unwrapped, pg_envs.TabularEnv):
        metadata = {**env.unwrapped.metadata, "render_fps": RENDER_FPS}
        env.unwrapped.metadata = metadata
    return env


def _gif_fps(env: gymnasium.Env[Any, Any]) -> float:
    """Returns the environment's frames a second, as far as a GIF can show them."""
    return min(float(env.metadata.get("render_fps", 30)), 50.0)


def _play(
    model: BaseAlgorithm,
    env: gymnasium.Env[Any, Any],
    seed: int,
    captions: Sequence[str],
    max_steps: int,
    greedy: bool = False,
) -> list[NDArray[np.uint8]]:
    """Plays an episode for each caption, and holds each one's end for a second."""
    frames: list[NDArray[np.uint8]] = []
    tabular = env.unwrapped
    for episode, caption in enumerate(captions):
        if isinstance(tabular, pg_envs.TabularEnv):
            table = action_probabilities(model, tabular.mdp.observations)
            tabular.set_action_probabilities(table)
            tabular.set_caption(caption)
        obs, _ = env.reset(seed=seed + episode)
        _add_frame(env, frames)
        for _ in range(max_steps):
            action, _ = model.predict(obs, deterministic=greedy)
            obs, _, terminated, truncated, _ = env.step(action)
            _add_frame(env, frames)
            if terminated or truncated:
                break
        for _ in range(round(HOLD_SECONDS * _gif_fps(env))):
            if env.render_mode == "human":
                env.render()
            _add_frame(env, frames)
    return frames


def _add_frame(env: gymnasium.Env[Any, Any], frames: list[NDArray[np.uint8]]) -> None:
    if env.render_mode == "rgb_array":
        frame: Any = env.render()
        frames.append(frame)
    elif not isinstance(env.unwrapped, pg_envs.TabularEnv):
        _raise_if_closed()


def _raise_if_closed() -> None:
    """Handles the close button, which Gymnasium's own windows ignore."""
    import pygame

    keys = pygame.event.get(pygame.KEYDOWN)
    if pygame.event.peek(pygame.QUIT) or any(k.key == pygame.K_ESCAPE for k in keys):
        raise pg_envs.WindowClosed


def describe(actions: Sequence[int] | NDArray[np.int64], names: Sequence[str]) -> str:
    """Returns the names of up to 12 actions."""
    words = [names[int(action)] for action in actions]
    if len(words) > 12:
        words = [*words[:12], f"... ({len(words)} actions)"]
    return ", ".join(words)
