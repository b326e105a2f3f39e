"""How often somebody reaches the goal, in a stage of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.cloning.demonstrations import (
    BatchController,
    Controller,
    batch_controller,
)
from pg_agents.experiments.building import make_evaluation_env
from pg_agents.experiments.settings import Settings
from pg_agents.experiments.stages import Stage


def success_rate(controller: Controller, settings: Settings, seed: int) -> Stage:
    """Returns how often a controller, or a model, reaches the goal.

    Args:
        controller: a function from an observation to an action, or a model, whose most
            likely actions are taken.
        settings: of the run: environment and number of episodes.
        seed: of the episodes' goals.

    Returns:
        The share of episodes with ``info["is_success"]`` on their last step.
    """
    act = batch_controller(controller, deterministic=True)
    # A controller sees what the environment returns; a model normalises for itself.
    env = make_evaluation_env(replace(settings, normalize=None), seed)
    watched = _Successes(env)
    n_episodes = settings.evaluation.n_episodes
    try:
        while len(watched.returns) < n_episodes:
            watched.step(act)
    finally:
        env.close()
    return Stage(
        float(np.mean(watched.successes[:n_episodes])),
        float(np.mean(watched.returns[:n_episodes])),
        n_episodes,
        0,
    )


class _Successes:
    """Environments that are watched while somebody acts in them."""

    def __init__(self, env: VecEnv) -> None:
        self.env = env
        self.successes: list[bool] = []
        self.returns: list[float] = []
        self._seen: Any = env.reset()
        self._starts = np.ones(env.num_envs, dtype=np.bool_)
        # Each its own number of episodes: the first to end would be short ones.
        self._totals = np.zeros(env.num_envs)

    def step(self, act: BatchController) -> None:
        """Takes a step in each environment, and writes down which episodes ended."""
        actions = np.asarray(act(self._seen, self._starts))
        self._seen, rewards, dones, infos = self.env.step(actions)
        self._starts = dones
        self._totals += rewards
        for i in np.flatnonzero(dones):
            self.successes.append(bool(infos[i]["is_success"]))
            self.returns.append(float(self._totals[i]))
            self._totals[i] = 0.0
