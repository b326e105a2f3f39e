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

from dataclasses import replace

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks.checkpoint import checkpoint_content, restore_normalization
from pg_agents.checkpoint.archive import (
    check_unedited,
    read_content,
)
from pg_agents.cloning.clone import clone_behaviour
from pg_agents.cloning.demonstrations import (
    Controller,
    record_demonstrations,
)
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import derived_seed, make_evaluation_env
from pg_agents.experiments.controllers import controller_of
from pg_agents.experiments.run import RunCheckpoints, Training, run_one
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.experiments.stages import read_stages, write_stages
from pg_agents.experiments.success import success_rate

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
    """Measures the success rate of a stage, and writes it to ``stages.json``.

    Args:
        training: training of the run.
        name: name of the stage.
        controller: function from an observation to an action, or model.
        steps: number of training steps of the stage.
    """
    path, settings = training.folder.path, training.config.settings
    seed = derived_seed(training.seed, GOAL_SEED)
    stage = replace(success_rate(controller, settings, seed), steps=steps)
    write_stages(path, {**read_stages(path), name: stage})


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
    env = make_evaluation_env(replace(training.config.settings, normalize=None), seed)
    try:
        demonstrations = record_demonstrations(
            env,
            controller,
            n_episodes=N_DEMONSTRATIONS // env.num_envs,
            noise=DEMONSTRATION_NOISE,
            seed=seed,
        )
    finally:
        env.close()
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
    write_whole(training.folder.path / "clone.zip", checkpoint_content(model), "zip")


def _learn_from_scratch(training: Training) -> None:
    """Trains a second model for as many steps, as a run in the folder of this one."""
    config = training.config
    settings = scratch_settings(config.settings)
    # The run's own checkpoint callback knows when it is asked to stop.
    stop_asked = next(
        callback.stop_asked
        for callback in training.callbacks
        if isinstance(callback, RunCheckpoints)
    )
    run = run_one(
        RunConfig(config.recipe, "scratch", settings),
        training.seed,
        training.folder.path,
        stop_asked=stop_asked,
    )
    env = make_evaluation_env(settings, training.seed)
    try:
        record_stage(training, "scratch", run.load_model(env), run.result().steps)
    finally:
        env.close()
