"""Pictures of the live view, each the last frame of a short training.

    python -m docs.live_pictures --out out/pictures

It opens no window.
"""

from __future__ import annotations

import argparse
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


def _sequence(n_states: int = 3) -> OnPolicyAlgorithm:
    form = "scalar" if n_states == 3 else "one_hot"
    env = gymnasium.make("PGToy-Sequence-v0", n_states=n_states, observation=form)
    return REINFORCE(
        "MlpPolicy",
        env,
        learning_rate=0.01 if n_states == 3 else 0.2,
        gamma=0.6 if n_states == 3 else 0.99,
        policy_kwargs={"net_arch": []},
        seed=0,
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


def _pixelcopter() -> OnPolicyAlgorithm:
    env = gymnasium.make_vec("PGToy-Pixelcopter-v0", 8)
    return REINFORCE("MlpPolicy", env, seed=0)


CASES = {
    "sequence": Case(_sequence, 1500, 50),
    "sequence-dark": Case(_sequence, 1500, 50, "dark"),
    "sequence-small": Case(_sequence, 1500, 50, size=(700, 420)),
    "sequence-smallest": Case(_sequence, 1500, 50, "dark", (480, 320)),
    "sequence-30-states": Case(lambda: _sequence(30), 20_000, 50),
    "bandit": Case(_bandit, 100, 20),
    "bandit-12-arms": Case(lambda: _bandit(12), 300, 50, "dark"),
    "cartpole": Case(_cartpole, 40_000),
    "pixelcopter": Case(_pixelcopter, 20_000, theme="dark"),
    "frozen-lake": Case(
        lambda: ActorCritic("MlpPolicy", "FrozenLake-v1", seed=0), 4000, 100
    ),
    "pendulum": Case(
        lambda: ActorCritic("MlpPolicy", "Pendulum-v1", seed=0), 4000, 200
    ),
}


def main() -> None:
    """Trains each case and writes its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/pictures"))
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    options = parser.parse_args()
    for name in options.cases:
        if name not in CASES:
            parser.error(f"CASE must be one of {', '.join(CASES)}, got {name}")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in options.cases or CASES:
        case, path = CASES[name], options.out / f"live-{name}.png"
        with LiveView(
            film=path,
            theme=case.theme,
            size=case.size,
            updates_per_second=case.updates_per_second,
            verbose=0,
        ) as view:
            case.make_model().learn(case.timesteps, callback=view)
        print(path)


if __name__ == "__main__":
    main()
