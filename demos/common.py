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
from stable_baselines3.common.policies import ActorCriticPolicy
from tqdm import tqdm

import pg_envs
from pg_agents import LiveView
from pg_agents.analysis.plots import save_figure, save_gif
from pg_agents.callbacks import RunningReward
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.common.files import check_folder

RENDER_FPS = 2.0


def parse_options(doc: str | None, name: str, **more: Any) -> argparse.Namespace:
    """Parses `--seed`, `--out`, `--render` and the options of a demo.

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
        default="human" if has_screen() else "gif",
        help="show the trained agent in a window, save it as a GIF, or neither "
        "(default here: %(default)s)",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="show a training in a window, or film it where there is no screen",
    )
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
    if options.render == "human" and not has_screen():
        print("There is no screen: the agent is saved as a GIF instead of shown.")
        options.render = "gif"
    # Networks this small lose time on a second thread.
    torch.set_num_threads(1)
    return options


def count(text: str) -> int:
    """Parses a number of at least 1, as a type of argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def has_screen() -> bool:
    """Whether a window can be opened."""
    if os.environ.get("SDL_VIDEODRIVER") in ("dummy", "offscreen"):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def live_view(
    options: argparse.Namespace, updates_per_second: float | None = None
) -> LiveView | None:
    """Returns the view for the callbacks of a training; None unless it is asked for.

    Args:
        options: of `parse_options`.
        updates_per_second: speed at first, which keys in the window change; None for
            no limit.
    """
    if not options.live:
        return None
    return LiveView(
        film=None if has_screen() else options.out / "live.gif",
        updates_per_second=updates_per_second,
        pictures=options.out,
    )


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


def policy_table(
    model: BaseAlgorithm, observations: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Returns the action probabilities of each observation, `[K, A]`.

    Args:
        model: an on-policy model with discrete actions.
        observations: `[K, *obs_shape]`.
    """
    policy = model.policy
    assert isinstance(policy, ActorCriticPolicy)
    with torch.no_grad():
        obs, _ = policy.obs_to_tensor(np.array(observations))
        distribution = policy.get_distribution(obs).distribution
    assert isinstance(distribution, torch.distributions.Categorical)
    probabilities: NDArray[np.float64] = distribution.probs.double().numpy()
    return probabilities


def show_agent(
    model: BaseAlgorithm,
    env_id: str,
    options: argparse.Namespace,
    n_episodes: int,
    max_steps: int = 60,
    **env_arguments: Any,
) -> None:
    """Shows the agent in a window, or saves it as `agent.gif`.

    Closing the window or Ctrl-C ends the show, not the program.

    Args:
        model: the trained agent; it samples its actions.
        env_id: id of the environment.
        options: of `parse_options`.
        n_episodes: number of episodes.
        max_steps: maximum number of steps per episode.
        **env_arguments: arguments of the environment.
    """
    if options.render == "none":
        return
    mode = "human" if options.render == "human" else "rgb_array"
    env = gymnasium.make(env_id, render_mode=mode, **env_arguments)
    if mode == "human" and isinstance(env.unwrapped, pg_envs.TabularEnv):
        env.unwrapped.metadata = {
            **env.unwrapped.metadata,
            "render_fps": RENDER_FPS,
        }
    how_to_end = " Escape or the close button ends it." if mode == "human" else ""
    many = "1 episode" if n_episodes == 1 else f"{n_episodes} episodes"
    print(f"\n{type(model).__name__} plays {many}.{how_to_end}")
    try:
        frames = _play(model, env, options.seed, n_episodes, max_steps)
    except (pg_envs.WindowClosed, KeyboardInterrupt):
        print("  The window was closed.")
        return
    finally:
        env.close()
    if frames:
        path = options.out / "agent.gif"
        save_gif(frames, path, fps=4 if len(frames) <= 100 else 30)
        say_saved(path)


def _play(
    model: BaseAlgorithm,
    env: gymnasium.Env[Any, Any],
    seed: int,
    n_episodes: int,
    max_steps: int,
) -> list[NDArray[np.uint8]]:
    frames: list[NDArray[np.uint8]] = []
    tabular = env.unwrapped
    if isinstance(tabular, pg_envs.TabularEnv):
        table = policy_table(model, tabular.mdp.observations)
        tabular.set_action_probabilities(table)
    for episode in range(n_episodes):
        obs, _ = env.reset(seed=seed + episode)
        _add_frame(env, frames)
        for _ in range(max_steps):
            action, _ = model.predict(obs)
            obs, _, terminated, truncated, _ = env.step(action)
            _add_frame(env, frames)
            if terminated or truncated:
                break
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
