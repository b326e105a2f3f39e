"""Warm start: does a clone of a scripted controller help policy gradients?

The `train` function of recipe fetch-slide. A run has four stages. The result of each is
written to ``stages.json`` when it is done, and a resumed run skips it:

1. ``controller``: the scripted controller acts, see `controllers`.
2. ``clone``: the policy is fitted to demonstrations (stored in ``clone.zip``).
3. ``scratch``: a second model learns from random weights for as many steps, in a run
   with `scratch_settings` (in the folder ``fetch-slide-scratch``).
4. ``from_clone``: the model of the run learns from the clone.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from pg_agents.callbacks.checkpoint import checkpoint_content, restore_normalization
from pg_agents.checkpoint.archive import check_unedited, read_content
from pg_agents.cloning.clone import clone_behaviour
from pg_agents.cloning.demonstrations import (
    Controller,
    batch_controller,
    record_demonstrations,
)
from pg_agents.common.files import write_file
from pg_agents.experiments.building import derived_seed, make_evaluation_env
from pg_agents.experiments.controllers import controller_of
from pg_agents.experiments.folder import DamagedRunError, write_json
from pg_agents.experiments.run import Training, run_one
from pg_agents.experiments.settings import RunConfig, Settings

STAGES = ("controller", "clone", "scratch", "from_clone")
N_DEMONSTRATIONS = 600
# Standard deviation of the noise that is added to demonstrated actions. 24 % of the
# episodes of clones for FetchSlide succeeded with it and 11 % without, where the
# controller succeeds in 32 %.
DEMONSTRATION_NOISE = 0.15
CLONING_EPOCHS = 60
# Without a clone that could be spoilt, larger steps and more exploration. A trial run
# reached 0.69 of FetchReach's goals in 50,000 steps, seeds 0 to 4 only 0.00 to 0.06.
SCRATCH_ARGUMENTS = {"learning_rate": 3e-4, "clip_range": 0.2}
SCRATCH_LOG_STD = -0.5
_DEMONSTRATION_SEED, GOAL_SEED, _CLONING_SEED, _LEARNING_SEED = 3, 4, 5, 6


@dataclass(frozen=True)
class Stage:
    """Result of a stage.

    Attributes:
        success_rate: share of the episodes whose last step was a success, in [0, 1].
        mean_return: mean return of these episodes.
        n_episodes: number of these episodes.
        steps: number of training steps of the stage.
    """

    success_rate: float
    mean_return: float
    n_episodes: int
    steps: int


def read_stages(path: Path) -> dict[str, Stage]:
    """Returns the finished stages of a run's folder by name, in their order.

    Raises:
        DamagedRunError: (a ValueError) if the file is damaged.
    """
    file = path / "stages.json"
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_bytes())
        stages = {name: Stage(**data[name]) for name in STAGES if name in data}
        if len(stages) < len(data):
            raise ValueError("it has an unknown stage")
    except (ValueError, TypeError) as error:
        raise DamagedRunError(file, f"is truncated or damaged ({error})") from error
    return stages


def measure(
    controller: Controller, settings: Settings, seed: int, steps: int = 0
) -> Stage:
    """Returns the share of episodes with `info["is_success"]` on their last step.

    Args:
        controller: a function from an observation to an action, or a model, whose most
            likely actions are taken.
        settings: of the run: environment and number of episodes.
        seed: of the environments.
        steps: number of training steps of the stage.
    """
    act = batch_controller(controller, deterministic=True)
    successes: list[bool] = []

    def predict(obs: Any, state: None, episode_start: Any, **_: Any) -> tuple[Any, Any]:  # noqa: ANN401
        return np.asarray(act(obs, episode_start)), state

    def record(step: dict[str, Any], _: dict[str, Any]) -> None:
        if step["done"]:
            successes.append(bool(step["info"]["is_success"]))

    n_episodes = settings.evaluation.n_episodes
    # Controllers get raw observations; a model normalises them itself.
    env = make_evaluation_env(replace(settings, normalize=None), seed)
    with closing(env):
        model: Any = SimpleNamespace(predict=predict)
        mean_return, _ = evaluate_policy(model, env, n_episodes, callback=record)
    assert isinstance(mean_return, float), "not asked for all returns"
    return Stage(float(np.mean(successes)), mean_return, n_episodes, steps)


def scratch_settings(settings: Settings) -> Settings:
    """Returns the settings of the model that learns from random weights.

    Args:
        settings: settings of the run, which the model that starts as a clone has.
    """
    return replace(
        settings,
        train=None,
        arguments={**settings.arguments, **SCRATCH_ARGUMENTS},
        policy_kwargs={**settings.policy_kwargs, "log_std_init": SCRATCH_LOG_STD},
    )


def train(training: Training) -> BaseAlgorithm:
    """Trains a run in stages.

    Args:
        training: training in an environment that `controller_of` knows.

    Returns:
        The model that has learnt from the clone.

    Raises:
        ValueError: if there is no controller for the environment, or stages.json, or
            the file of a stage in it, is damaged.
        FileNotFoundError: if the file of a stage is missing.
    """
    settings, model = training.config.settings, training.model
    controller = controller_of(settings.env_id)
    finished = read_stages(training.folder.path)
    if "controller" not in finished:
        record_stage(training, "controller", controller, 0)
    if model.num_timesteps == 0:
        if "clone" in finished:
            path = training.folder.path / "clone.zip"
            content = read_content(path)
            check_unedited(content, str(path))
            model.set_parameters(str(path))
            restore_normalization(model, content)
        else:
            _clone(training, controller)
            record_stage(training, "clone", model, 0)
    if "scratch" not in finished:
        _learn_from_scratch(training)
    if model.num_timesteps == 0:
        # The result does not depend on which stages were done in this process.
        model.set_random_seed(derived_seed(training.seed, _LEARNING_SEED))
    return training.learn(_RecordLastStage(training))


def record_stage(
    training: Training, name: str, controller: Controller, steps: int
) -> None:
    """Measures a stage as `measure` does, and adds it to ``stages.json``."""
    path = training.folder.path
    seed = derived_seed(training.seed, GOAL_SEED)
    stage = measure(controller, training.config.settings, seed, steps)
    stages = {**read_stages(path), name: stage}
    write_json(path / "stages.json", {name: asdict(s) for name, s in stages.items()})


class _RecordLastStage(BaseCallback):
    """Records the last stage before the last checkpoint, which ends the run."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training = training

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        model = self.model
        record_stage(self._training, "from_clone", model, model.num_timesteps)


def _clone(training: Training, controller: Controller) -> None:
    """Fits the policy of the run to demonstrations."""
    model, seed = training.model, derived_seed(training.seed, _DEMONSTRATION_SEED)
    settings = replace(training.config.settings, normalize=None)
    with closing(make_evaluation_env(settings, seed)) as env:
        demonstrations = record_demonstrations(
            env,
            controller,
            n_episodes=N_DEMONSTRATIONS // env.num_envs,
            noise=DEMONSTRATION_NOISE,
            seed=seed,
        )
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        assert isinstance(demonstrations.observations, dict)
        assert isinstance(normalizer.obs_rms, dict)
        for name, rms in normalizer.obs_rms.items():
            rms.update(demonstrations.observations[name])
    clone_behaviour(
        model,
        demonstrations,
        n_epochs=CLONING_EPOCHS,
        batch_size=256,
        # The policy keeps its standard deviation to explore with.
        fit_std=False,
        seed=derived_seed(training.seed, _CLONING_SEED),
    )
    write_file(training.folder.path / "clone.zip", checkpoint_content(model))


def _learn_from_scratch(training: Training) -> None:
    """Trains a second model for as many steps, as a run in the folder of this one."""
    config = training.config
    settings = scratch_settings(config.settings)
    run = run_one(
        RunConfig(config.recipe, "scratch", settings),
        training.seed,
        training.folder.path,
        stop_asked=training.stop_asked,
    )
    with closing(make_evaluation_env(settings, training.seed)) as env:
        record_stage(training, "scratch", run.load_model(env), run.result().steps)
