"""Pictures of the live view for `make pictures`: the end of a short training.

In place of the viewer's process a `Viewer` in this one takes the messages, and a clock
of its own counts the time, so that every run draws the same picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import pg_envs  # noqa: F401 - registers the environments
from pg_agents import REINFORCE, ActorCritic, LiveView
from pg_agents.live.link import Options
from pg_agents.live.messages import Command, Setup
from pg_agents.live.viewer import Viewer
from pg_envs.rendering.canvas import Canvas

# How long a look at the clock takes: about as long as steps of small environments.
_LOOK_SECONDS = 0.001


@dataclass(frozen=True)
class Case:
    """A training to be shown.

    Attributes:
        make_model: of the untrained agent.
        timesteps: steps to train for.
        updates_per_second: speed; None for no limit.
        n_played: number of steps that the trained policy plays.
        theme: "light" or "dark".
        size: width and height in pixels.
    """

    make_model: Callable[[], OnPolicyAlgorithm]
    timesteps: int
    updates_per_second: float | None = None
    n_played: int = 2
    theme: str = "light"
    size: tuple[int, int] = (1280, 720)


def _sequence() -> OnPolicyAlgorithm:
    return REINFORCE(
        "MlpPolicy",
        "PGToy-Sequence-v0",
        learning_rate=0.01,
        gamma=0.6,
        policy_kwargs={"net_arch": []},
        seed=0,
    )


def _long_sequence() -> OnPolicyAlgorithm:
    """Thirty states, with steps so cheap that the prize is worth the way."""
    env = gymnasium.make_vec(
        "PGToy-Sequence-v0",
        16,
        n_states=30,
        step_cost=0.01,
        observation="index",
        max_episode_steps=1000,
    )
    return REINFORCE(
        "TabularPolicy", env, learning_rate=0.3, baseline="leave_one_out", seed=0
    )


def _bandit(n_arms: int = 3) -> OnPolicyAlgorithm:
    means = [1.0, 0.0, 0.0] if n_arms == 3 else [i / n_arms for i in range(n_arms)]
    env = gymnasium.make(
        "PGToy-Bandit-v0",
        arm_rewards=means,
        observation="index",
        max_episode_steps=-1 if n_arms == 3 else 100,
    )
    return REINFORCE(
        "TabularPolicy", env, learning_rate=0.05, n_steps=1, gamma=0.0, seed=0
    )


def _cartpole() -> OnPolicyAlgorithm:
    return ActorCritic("MlpPolicy", gymnasium.make_vec("CartPole-v1", 8), seed=0)


def _frozen_lake() -> OnPolicyAlgorithm:
    env = gymnasium.make_vec("FrozenLake-v1", 16, is_slippery=False)
    return ActorCritic(
        "MlpPolicy", env, learning_rate=0.003, gamma=0.95, ent_coef=0.02, seed=0
    )


def _pixelcopter() -> OnPolicyAlgorithm:
    env = gymnasium.make_vec("PGToy-Pixelcopter-v0", 8)
    return REINFORCE("MlpPolicy", env, seed=0)


CASES = {
    "sequence": Case(_sequence, 1500, 50),
    "sequence-dark": Case(_sequence, 1500, 50, theme="dark"),
    "sequence-small": Case(_sequence, 1500, 50, size=(700, 420)),
    "sequence-smallest": Case(_sequence, 1500, 50, theme="dark", size=(480, 320)),
    "sequence-30-states": Case(_long_sequence, 300_000, 20, n_played=20),
    "bandit": Case(_bandit, 100, 20, n_played=40),
    "bandit-12-arms": Case(lambda: _bandit(12), 300, 50, n_played=40, theme="dark"),
    "cartpole": Case(_cartpole, 40_000, n_played=40),
    "pixelcopter": Case(_pixelcopter, 20_000, n_played=40, theme="dark"),
    "frozen-lake": Case(_frozen_lake, 60_000, 100, n_played=4),
    "pendulum": Case(
        lambda: ActorCritic("MlpPolicy", "Pendulum-v1", seed=0), 4000, 200, n_played=30
    ),
}


class _Clock:
    """Time that passes with each look at it, in place of the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """Returns the time in seconds."""
        self.now += _LOOK_SECONDS
        return self.now

    monotonic = perf_counter


class _Link:
    """Shows a training in its own process, in place of `pg_agents.live.link.Link`."""

    is_alive, is_busy = True, False

    def __init__(self, clock: _Clock, options: Options) -> None:
        self._clock, self.viewer = clock, Viewer(options)
        # In the picture of a window.
        self.viewer.has_keys = True
        self._commands: list[Command] = []

    def send(self, message: object) -> None:
        """Takes a message at once."""
        # The policy that plays draws random weights first: not from the training's.
        with torch.random.fork_rng():
            self.viewer.take(message)
            if isinstance(message, Setup):
                self.viewer.prepare()
                self._commands.append(Command("ready"))

    def commands(self, seconds: float = 0.0) -> list[Command]:
        """Returns that the viewer is ready, and lets the time pass."""
        self._clock.now += seconds
        found, self._commands = self._commands, []
        return found

    def close(self) -> None:
        """Does nothing."""


def draw(name: str) -> NDArray[np.uint8]:
    """Trains a case and returns its picture, `[H, W, 3]`; it opens no window.

    Args:
        name: one of `CASES`.
    """
    torch.set_num_threads(1)
    # Of environments that draw with pygame, which would look for a screen.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    case, clock, links = CASES[name], _Clock(), []

    def link(options: Options) -> _Link:
        links.append(_Link(clock, options))
        return links[-1]

    with mock.patch.multiple("pg_agents.live.view", Link=link, time=clock):
        view = LiveView(
            # No file is written; without a name it would look for a screen.
            film=Path("live.png"),
            theme=case.theme,
            fps=30,
            updates_per_second=case.updates_per_second,
            verbose=0,
        )
        case.make_model().learn(case.timesteps, callback=view)
    viewer = links[0].viewer
    assert viewer.player is not None and viewer.player.env is not None
    torch.manual_seed(0)
    viewer.player.env.reset(seed=0)
    # The first step starts an episode.
    for _ in range(case.n_played + 1):
        viewer.play(0.0, at_once=True)
    return Canvas("", 0, oversampling=2).rgb_array(viewer.scene(*case.size))
