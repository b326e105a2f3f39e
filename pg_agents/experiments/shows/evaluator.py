"""Row periodic-evaluator: evaluations on the way, recorded as video."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.experiments.building import derived_seed, make_model
from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.extras import require_extra
from pg_agents.experiments.settings import Settings
from pg_agents.experiments.showing import Shown, ShowRequest
from pg_agents.experiments.shows.parts import learn_quietly

Env = gymnasium.Env[Any, Any]
_EVALUATION = 3


class PeriodicEvaluator(BaseCallback):
    """Evaluates the policy every so many episodes, with the likeliest actions.

    Nothing is drawn from the generators of the training, which goes on as if nobody
    had looked.

    Args:
        make_env: returns the environment of an evaluation, numbered by the episodes
            trained so far.
        every: episodes of training between two evaluations.
        n_episodes: of an evaluation.
        last: episodes after which the training ends.
        seed: of the evaluation's environments.

    Attributes:
        means: mean return of each evaluation, by the episodes trained before it.
    """

    def __init__(
        self,
        make_env: Callable[[int], Env],
        every: int,
        n_episodes: int,
        last: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.make_env, self.every, self.n_episodes = make_env, every, n_episodes
        self.last, self.seed = last, seed
        self.means: dict[int, float] = {}
        self._games = 0

    def _on_rollout_start(self) -> None:
        if self._games and self._games % self.every == 0:
            self._evaluate()

    def _on_step(self) -> bool:
        self._games += len(finished_episodes(self.locals))
        return self._games < self.last

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        env = DummyVecEnv([lambda: Monitor(self.make_env(self._games))])
        env.seed(self.seed)
        try:
            mean, _ = evaluate_policy(self.model, env, self.n_episodes)
        finally:
            env.close()
        self.means[self._games] = float(np.mean(mean))


def show(
    request: ShowRequest,
    settings: Settings | None = None,
    every: int = 100,
    n_episodes: int = 8,
) -> Shown:
    """Trains row reinforce-memory, evaluates on the way and films it all.

    Args:
        request: of the command.
        settings: of the training; None for 300 episodes of row reinforce-memory.
        every: episodes between two evaluations; so far apart are the training episodes
            that are filmed, too.
        n_episodes: of an evaluation.
    """
    if settings is None:
        config = find_recipe("reinforce-memory").config()
        settings = config.changed({"episodes": 300}).settings
    assert settings.episodes is not None, "it counts episodes"
    try:
        require_extra("video", "a film")
        films: Path | None = request.folder / f"films-seed-{request.seed}"
        said = ""
    except ModuleNotFoundError as error:
        films, said = None, f"no films: {error}"
    training = _filmed(settings, films, "training", lambda n: n % every == 0)
    evaluator = PeriodicEvaluator(
        # SB3 begins another episode when it has seen the last one.
        lambda games: _filmed(
            settings, films, f"after-{games}", lambda n: n < n_episodes
        ),
        every,
        n_episodes,
        settings.episodes,
        derived_seed(request.seed, _EVALUATION),
    )
    env = DummyVecEnv([lambda: Monitor(training)])
    try:
        learn_quietly(make_model(settings, env, request.seed), [evaluator])
    finally:
        env.close()
    course = [f"{mean:.4g} at {games}" for games, mean in evaluator.means.items()]
    n_films = 0 if films is None else len(list(films.glob("*.mp4")))
    filmed = said or f"{n_films} films in {films.relative_to(request.out)}"  # type: ignore[union-attr]
    return Shown(
        (f"mean of {n_episodes} episodes: {', '.join(course)} episodes", filmed)
    )


def _filmed(
    settings: Settings,
    films: Path | None,
    name: str,
    which: Callable[[int], bool],
) -> Env:
    kwargs = dict(settings.env_kwargs)
    if films is None:
        return gymnasium.make(settings.env_id, **kwargs)
    env = gymnasium.make(settings.env_id, render_mode="rgb_array", **kwargs)
    # It warns of a folder that is there already, as there is one for all films.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RecordVideo(
            env, str(films), which, name_prefix=name, disable_logger=True
        )
