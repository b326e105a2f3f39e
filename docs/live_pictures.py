"""Pictures of the live view for `make pictures`: the last frame of a short training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import pg_envs  # noqa: F401 - registers the environments
from pg_agents import REINFORCE, ActorCritic, LiveView


@dataclass(frozen=True)
class Case:
    """A training to be shown.

    Attributes:
        make_model: of the untrained agent.
        timesteps: steps to train for.
        updates_per_second: speed; None for no limit.
        theme: "light" or "dark".
        size: width and height in pixels.
    """

    make_model: Callable[[], OnPolicyAlgorithm]
    timesteps: int
    updates_per_second: float | None = None
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
    "sequence-dark": Case(_sequence, 1500, 50, "dark"),
    "sequence-small": Case(_sequence, 1500, 50, size=(700, 420)),
    "sequence-smallest": Case(_sequence, 1500, 50, "dark", (480, 320)),
    "sequence-30-states": Case(_long_sequence, 300_000, 20),
    "bandit": Case(_bandit, 100, 20),
    "bandit-12-arms": Case(lambda: _bandit(12), 300, 50, "dark"),
    "cartpole": Case(_cartpole, 40_000),
    "pixelcopter": Case(_pixelcopter, 20_000, theme="dark"),
    "frozen-lake": Case(_frozen_lake, 60_000, 100),
    "pendulum": Case(
        lambda: ActorCritic("MlpPolicy", "Pendulum-v1", seed=0), 4000, 200
    ),
}


def draw(name: str, path: Path) -> None:
    """Trains a case and writes its picture; it opens no window.

    Args:
        name: one of `CASES`.
        path: of the picture, .png.
    """
    torch.set_num_threads(1)
    case = CASES[name]
    with LiveView(
        film=path,
        theme=case.theme,
        size=case.size,
        updates_per_second=case.updates_per_second,
        verbose=0,
    ) as view:
        case.make_model().learn(case.timesteps, callback=view)
