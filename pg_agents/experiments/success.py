"""Success rate of a controller or model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy

from pg_agents.cloning.demonstrations import (
    BatchController,
    Controller,
    batch_controller,
)
from pg_agents.experiments.building import make_evaluation_env
from pg_agents.experiments.settings import Settings
from pg_agents.experiments.stages import Stage


def success_rate(controller: Controller, settings: Settings, seed: int) -> Stage:
    """Returns the share of episodes with `info["is_success"]` on their last step.

    Args:
        controller: a function from an observation to an action, or a model, whose most
            likely actions are taken.
        settings: of the run: environment and number of episodes.
        seed: of the environments.
    """
    # Controllers get raw observations; a model normalises them itself.
    env = make_evaluation_env(replace(settings, normalize=None), seed)
    successes: list[bool] = []

    def record(step: dict[str, Any], _: dict[str, Any]) -> None:
        if step["done"]:
            successes.append(bool(step["info"]["is_success"]))

    n_episodes = settings.evaluation.n_episodes
    try:
        mean_return, _ = evaluate_policy(
            _Predictor(batch_controller(controller, deterministic=True)),
            env,
            n_episodes,
            callback=record,
        )
    finally:
        env.close()
    assert isinstance(mean_return, float), "not asked for all returns"
    return Stage(float(np.mean(successes)), mean_return, n_episodes, 0)


@dataclass(frozen=True)
class _Predictor:
    """A controller with the `predict` that SB3's `evaluate_policy` calls."""

    ask: BatchController

    def predict(
        self,
        observation: Any,  # noqa: ANN401
        state: tuple[Any, ...] | None = None,
        episode_start: Any = None,  # noqa: ANN401
        deterministic: bool = False,
    ) -> tuple[Any, tuple[Any, ...] | None]:
        return np.asarray(self.ask(observation, episode_start)), None
