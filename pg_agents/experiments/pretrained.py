"""Trained models that come with the package, to be watched before anything is run.

Each is the folder of a finished run whose model is reduced to the actor's weights and
the observation statistics of its VecNormalize, both as safetensors: nothing is
unpickled to load one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.checkpoint.weights import load_weights, save_weights
from pg_agents.experiments.building import make_evaluation_env, make_model
from pg_agents.experiments.folder import DamagedRunError, RunFolder
from pg_agents.experiments.recipes import PRETRAINED

_WEIGHTS = "weights.safetensors"
_STATISTICS = "observations.safetensors"
MAX_BYTES = 100_000
"""Largest size of the folder of a pretrained model."""


class PretrainedRun(RunFolder):
    """Folder of a pretrained model."""

    def load_model(self, env: VecEnv | None = None) -> BaseAlgorithm:
        """Returns a new model with the trained weights of its actor.

        Args:
            env: environment to act in; None for a new one.

        Raises:
            DamagedRunError: (a ValueError) if a file is missing, damaged, or of
                another model.
        """
        settings = self.config.settings
        env = make_evaluation_env(settings, self.seed) if env is None else env
        model = make_model(settings, env, self.seed)
        path = self.path / _WEIGHTS
        try:
            load_weights(model, path, critic=False)
            statistics = _observation_statistics(model)
            if statistics:
                path = self.path / _STATISTICS
                _set_statistics(statistics, path)
        except (FileNotFoundError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedRunError(path, f"can't be loaded: {error}") from None
        return model


def find_pretrained(recipe: str, variant: str | None = None) -> PretrainedRun | None:
    """Returns the pretrained model of a recipe; None if there is none.

    Args:
        recipe: name of the recipe.
        variant: which variant it must be of; None for any.
    """
    path = PRETRAINED / recipe
    if not path.is_dir():
        return None
    folder = PretrainedRun(path)
    return folder if variant in (None, folder.config.variant) else None


def write_pretrained(run: RunFolder, root: str | Path = PRETRAINED) -> PretrainedRun:
    """Makes a pretrained model of a finished run.

    Args:
        run: the run.
        root: the folder of all pretrained models, without one of this recipe.

    Raises:
        ValueError: if the run has not finished, is damaged, or is too large; nothing is
            written then.
        FileExistsError: if there is one of this recipe.
    """
    run.check()
    path = Path(root) / run.config.recipe
    path.mkdir(parents=True)
    try:
        for name in ("config.json", "versions.json", "result.json"):
            shutil.copy(run.path / name, path / name)
        env = make_evaluation_env(run.config.settings, run.seed)
        try:
            model = run.load_model(env)
        finally:
            env.close()
        save_weights(model, path / _WEIGHTS, critic=False)
        statistics = {
            f"{name}.{moment}": torch.from_numpy(np.array(getattr(rms, moment)))
            for name, rms in _observation_statistics(model).items()
            for moment in ("mean", "var")
        }
        if statistics:
            save_file(statistics, path / _STATISTICS)
        size = sum(file.stat().st_size for file in path.iterdir())
        if size > MAX_BYTES:
            raise ValueError(
                f"{run.path}: a pretrained model may have {MAX_BYTES:,} bytes, and "
                f"this one has {size:,}"
            )
    except BaseException:
        shutil.rmtree(path)
        raise
    return PretrainedRun(path)


def _observation_statistics(model: BaseAlgorithm) -> dict[str, RunningMeanStd]:
    """Returns a VecNormalize's statistics of observations by entry of a Dict space."""
    normalize = model.get_vec_normalize_env()
    if normalize is None or not normalize.norm_obs:
        return {}
    rms = normalize.obs_rms
    return dict(rms) if isinstance(rms, dict) else {"": rms}


def _set_statistics(statistics: dict[str, RunningMeanStd], path: Path) -> None:
    arrays = load_file(path)
    for name, rms in statistics.items():
        mean, var = (arrays[f"{name}.{moment}"].numpy() for moment in ("mean", "var"))
        if mean.shape != rms.mean.shape:
            raise ValueError(f"it has observations of shape {mean.shape}")
        rms.mean, rms.var = mean, var
