"""REINFORCE, ActorCritic and Stable-Baselines3's A2C and PPO in the same ten lines.

Each trains on CartPole-v1 with its defaults and three seeds, and the learning curves
are drawn together, mean and middle 80 % of the runs. Then each plays an episode.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from common import live_view, parse_options, save, show_agent
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from pg_agents import REINFORCE, ActorCritic, LiveView
from pg_agents.analysis.plots import plot_learning_curves
from pg_agents.callbacks import (
    ProgressCallback,
    Recorder,
    StopOnInterrupt,
    TrainingRecord,
)

ENV_ID = "CartPole-v1"
BEST_RETURN = 500.0
ALGORITHMS: tuple[type[OnPolicyAlgorithm], ...] = (REINFORCE, ActorCritic, A2C, PPO)


def train(
    algorithm: Callable[..., BaseAlgorithm],
    steps: int,
    seed: int,
    view: LiveView | None = None,
) -> tuple[BaseAlgorithm, TrainingRecord, bool]:
    """Trains an algorithm; returns model, record, and whether Ctrl-C ended it."""
    model = algorithm("MlpPolicy", ENV_ID, seed=seed, device="cpu")
    recorder, interrupt = Recorder(), StopOnInterrupt()
    progress = ProgressCallback(description=f"{type(model).__name__}, seed {seed}")
    views = [] if view is None else [view]
    start = time.perf_counter()
    model.learn(steps, callback=[progress, recorder, interrupt, *views])
    speed = model.num_timesteps / (time.perf_counter() - start)
    env = model.get_env()
    assert env is not None
    mean, deviation = evaluate_policy(model, env, n_eval_episodes=10)
    name = type(model).__name__
    print(
        f"{name}: return over 10 episodes {mean:.1f} +/- {deviation:.1f}, trained at "
        f"{speed:,.0f} steps a second"
    )
    return model, recorder.record, interrupt.interrupted


def main() -> None:
    """Trains, prints, draws and shows."""
    options = parse_options(__doc__, "interchange", runs=3, steps=30_000)
    curves: dict[str, list[TrainingRecord]] = {}
    # Of the first seed.
    models: list[BaseAlgorithm] = []
    interrupted, view = False, live_view(options)
    for algorithm in ALGORITHMS:
        for seed in range(options.seed, options.seed + options.runs):
            if interrupted or (view is not None and view.quit_requested):
                break
            model, record, interrupted = train(algorithm, options.steps, seed, view)
            if seed == options.seed:
                models.append(model)
            curves.setdefault(algorithm.__name__, []).append(record)
    if view is not None:
        view.wait()
    title = f"{ENV_ID}, default settings"
    figure = plot_learning_curves(curves, title=title, best=BEST_RETURN)
    save(figure, options.out / "learning_curves.png")
    for model in models:
        name = f"agent_{type(model).__name__}"
        shown = show_agent(model, ENV_ID, options, 1, max_steps=200, name=name)
        if not shown:
            break


if __name__ == "__main__":
    main()
