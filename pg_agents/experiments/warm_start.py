"""Row fetch-slide: does a clone of a hand-written controller help policy gradients?

The stages of a run, each of which is written down in ``stages.json`` when it is done,
and skipped when the run is taken up again:

1. ``controller``: the hand-written controller acts, see `controllers`.
2. ``clone``: the policy is fitted to what was demonstrated (kept in
   ``clone.zip``).
3. ``scratch``: a second model learns from nothing for as many steps, with settings
   that suit who has nothing to lose, see `scratch_settings` (its checkpoints in
   ``scratch/``, at the end ``scratch.zip``).
4. ``from_clone``: the model of the run goes on from the clone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.callbacks import newest_checkpoint, resume
from pg_agents.callbacks.checkpoint import checkpoint_content, restore_normalization
from pg_agents.checkpoint.archive import (
    DamagedCheckpointError,
    check_unedited,
    read_content,
)
from pg_agents.cloning.clone import clone_behaviour
from pg_agents.cloning.demonstrations import (
    Controller,
    Demonstrations,
    record_demonstrations,
)
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import (
    algorithm_class,
    derived_seed,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.controllers import controller_of
from pg_agents.experiments.damage import DamagedRunError
from pg_agents.experiments.run import Training
from pg_agents.experiments.settings import Settings
from pg_agents.experiments.stages import read_stages, write_stages
from pg_agents.experiments.success import success_rate
from pg_agents.experiments.training import RunCheckpoints

DEMONSTRATED_EPISODES = 600
# Of an action. Of sliding clones 0.24 succeeded with it and 0.11 without, where the
# controller itself does in 0.32.
DEMONSTRATION_NOISE = 0.15
CLONING_EPOCHS = 60
# Who has no clone to spoil explores more and takes larger steps. Of FetchReach's goals
# a trial run reached 0.69 in 50,000 steps, but seeds 0 to 4 only 0.00 to 0.06.
SCRATCH_ARGUMENTS = {"learning_rate": 3e-4, "clip_range": 0.2}
SCRATCH_LOG_STD = -0.5
_DEMONSTRATIONS, _SUCCESSES, _CLONING, _LEARNING = 3, 4, 5, 6


def scratch_settings(settings: Settings) -> Settings:
    """Returns the settings of the model that learns from nothing.

    Args:
        settings: of the run, which are those of the model that learns from the clone.
    """
    return replace(
        settings,
        arguments={**settings.arguments, **SCRATCH_ARGUMENTS},
        policy_kwargs={**settings.policy_kwargs, "log_std_init": SCRATCH_LOG_STD},
    )


def train(training: Training) -> BaseAlgorithm:
    """Trains a run in stages; the hook of recipe fetch-slide.

    Args:
        training: of the run; its environment has to be one that `controller_of` knows.

    Returns:
        The model that has learnt from the clone.

    Raises:
        ValueError: if there is no controller for the environment.
        DamagedRunError: (a ValueError) if stages.json, or a file that it says is there,
            is damaged.
    """
    return _Stages(training).run()


class _Stages:
    """The stages of one run, and which of them are done."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.settings = training.config.settings
        self.controller = controller_of(self.settings.env_id)
        self.path = training.folder.path
        self.done = read_stages(self.path)
        self.goals = derived_seed(training.seed, _SUCCESSES)

    def run(self) -> BaseAlgorithm:
        """Takes up the first stage that is not done, and goes on to the last."""
        model = self.training.model
        if "controller" not in self.done:
            self._write("controller", self.controller, 0)
        if model.num_timesteps == 0:
            self._clone(model)
        if "clone" not in self.done:
            self._write("clone", model, 0)
        if "scratch" not in self.done:
            self._write("scratch", self._learn_from_scratch(), None)
        model = self._go_on(model)
        return model

    def _write(
        self,
        name: str,
        controller: Controller,
        steps: int | None,
    ) -> None:
        """Measures a stage, and writes it down."""
        found = success_rate(controller, self.settings, self.goals)
        taken = steps
        if taken is None:
            assert isinstance(controller, BaseAlgorithm), "who learns"
            taken = controller.num_timesteps
        self.done[name] = replace(found, steps=taken)
        write_stages(self.path, self.done)

    def _clone(self, model: BaseAlgorithm) -> None:
        """Fits the policy, or loads what was fitted before the run was cut off."""
        kept = self.path / "clone.zip"
        if "clone" in self.done:
            model.set_parameters(str(_sound(kept)))
            restore_normalization(model, kept.read_bytes())
            return
        training = self.training
        env = make_evaluation_env(
            replace(self.settings, normalize=None),
            derived_seed(training.seed, _DEMONSTRATIONS),
        )
        try:
            shown = record_demonstrations(
                env,
                self.controller,
                n_episodes=DEMONSTRATED_EPISODES // env.num_envs,
                noise=DEMONSTRATION_NOISE,
                seed=derived_seed(training.seed, _DEMONSTRATIONS),
            )
        finally:
            env.close()
        _see(model, shown)
        clone_behaviour(
            model,
            shown,
            n_epochs=CLONING_EPOCHS,
            batch_size=256,
            # The noise that is left is what it explores with.
            fit_std=False,
            seed=derived_seed(training.seed, _CLONING),
        )
        write_whole(kept, checkpoint_content(model), "zip")

    def _learn_from_scratch(self) -> BaseAlgorithm:
        """Returns a second model, which has learnt as long as the run's will."""
        training, settings = self.training, self.settings
        folder = self.path / "scratch"
        env = make_training_env(settings)
        try:
            model = self._second_model(folder, env)
            assert settings.timesteps is not None, "checked before"
            left = settings.timesteps - model.num_timesteps
            if left > 0:
                model.set_logger(Logger(folder=None, output_formats=[]))
                keep = RunCheckpoints(
                    settings.checkpoint_every, folder, _stop_asked(training.callbacks)
                )
                replace(training, model=model, callbacks=[keep], timesteps=left).learn()
            write_whole(self.path / "scratch.zip", checkpoint_content(model), "zip")
        finally:
            env.close()
        return model

    def _second_model(
        self, folder: Path, env: VecEnv | VectorEnv[Any, Any, Any]
    ) -> BaseAlgorithm:
        """Returns the model that learns from nothing, new or from its checkpoint."""
        if newest_checkpoint(folder) is not None:
            algorithm = algorithm_class(self.settings)
            try:
                return resume(algorithm, folder, env, device=self.settings.device)
            except FileNotFoundError:
                warnings.warn(f"{folder} begins anew", stacklevel=4)
        return make_model(scratch_settings(self.settings), env, self.training.seed)

    def _go_on(self, model: BaseAlgorithm) -> BaseAlgorithm:
        """Learns on from the clone, with the callbacks of the run."""
        training = self.training
        if model.num_timesteps == 0:
            # Whatever was done again, or not, before.
            model.set_random_seed(derived_seed(training.seed, _LEARNING))
        # First: a checkpoint of the end says that the run need not be taken up again.
        measuring = _AtTheEnd(lambda: self._write("from_clone", model, None))
        return training.learn(measuring)


class _AtTheEnd(BaseCallback):
    """Does something when training has come to its end."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._act()


def _see(model: BaseAlgorithm, shown: Demonstrations) -> None:
    """Gives the model's VecNormalize, if any, the statistics of demonstrations."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is None:
        return
    assert isinstance(shown.observations, dict), "the Fetch robot's"
    assert isinstance(normalizer.obs_rms, dict), "likewise"
    for name, statistics in normalizer.obs_rms.items():
        statistics.update(shown.observations[name])


def _sound(path: Path) -> Path:
    """Returns the path of a saved model, if it is whole."""
    try:
        check_unedited(read_content(path), str(path))
    except FileNotFoundError:
        raise DamagedRunError(path, "is missing") from None
    except DamagedCheckpointError as error:
        raise DamagedRunError(path, str(error).removeprefix(f"{path} ")) from error
    return path


def _stop_asked(callbacks: list[BaseCallback]) -> Callable[[], bool]:
    """Returns how the run learns that it is to stop, for the second model as well."""
    return next(c.stop_asked for c in callbacks if isinstance(c, RunCheckpoints))
