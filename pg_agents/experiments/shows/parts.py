"""What the shows share: a trained run, and a model that learns in silence."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.run import run_one
from pg_agents.experiments.settings import RunConfig
from pg_agents.experiments.showing import ShowRequest
from pg_agents.experiments.watching import find_run

# More than any of them needs: what ends the training are its callbacks.
NO_END = 2**62


def trained_config() -> RunConfig:
    """Returns whose runs are shown: the fastest that solves CartPole."""
    return find_recipe("one-step-actor-critic").config("best")


def trained_run(request: ShowRequest) -> RunFolder:
    """Returns a finished run; one is trained if there is none."""
    config = trained_config()
    try:
        return find_run(config, request.out)
    except ValueError:
        print(f"There is no run of {config.name} in {request.out}: training one.")
        return run_one(config, request.seed, request.out)


def learn_quietly(model: BaseAlgorithm, callbacks: Sequence[BaseCallback]) -> None:
    """Trains until a callback ends it."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    model.learn(NO_END, list(callbacks), log_interval=None)  # type: ignore[arg-type]
