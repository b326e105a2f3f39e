"""Trained models that come with the package, to be watched before anything is run.

Each is the folder of a finished run without what is large: the weights that it acts
with stand for the model, and what its VecNormalize has learnt of observations is beside
them, as safetensors. Nothing is unpickled to load one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
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
from pg_agents.experiments.damage import DamagedRunError
from pg_agents.experiments.folder import RunFolder

_FOLDER = Path(__file__).with_name("showcase")
_WEIGHTS = "weights.safetensors"
_STATISTICS = "observations.safetensors"
_PARTS = (".mean", ".var")
_KEPT = ("config.json", "versions.json", "result.json")
LARGEST = 100_000
"""Bytes that a showcase may take."""


class Showcase(RunFolder):
    """A run of which its weights are left.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: if there is no such folder.
        DamagedRunError: (a ValueError) if its config.json is missing or damaged.
    """

    def load_model(self, env: VecEnv | None = None) -> BaseAlgorithm:
        """Returns the trained model, made anew and given the weights of its actor.

        Args:
            env: where it is to act; None for one of its own.

        Raises:
            DamagedRunError: (a ValueError) if a file is missing, damaged, or of
                another model.
        """
        settings = self.config.settings
        own = make_evaluation_env(settings, self.seed) if env is None else env
        model = make_model(settings, own, self.seed)
        try:
            load_weights(model, self.path / _WEIGHTS, critic=False)
        except (FileNotFoundError, ValueError) as error:
            raise DamagedRunError(self.path / _WEIGHTS, f"is no use: {error}") from None
        kept = _running_statistics(model)
        if kept:
            self._load_statistics(kept)
        return model

    def _load_statistics(self, kept: Mapping[str, RunningMeanStd]) -> None:
        path = self.path / _STATISTICS
        try:
            found = load_file(path)
            for name, statistics in kept.items():
                mean, var = (found[f"{name}{part}"].numpy() for part in _PARTS)
                if mean.shape != statistics.mean.shape:
                    raise ValueError(f"observations of shape {mean.shape}")
                statistics.mean, statistics.var = mean, var
        except (FileNotFoundError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedRunError(path, f"is no use: {error}") from None


def find_showcase(recipe: str, variant: str | None = None) -> Showcase | None:
    """Returns the model of a recipe that comes with the package.

    Args:
        recipe: name of the recipe.
        variant: which variant it must be of; None for any.

    Returns:
        It, or None if there is none.
    """
    path = _FOLDER / recipe
    if not path.is_dir():
        return None
    found = Showcase(path)
    return found if variant in (None, found.config.variant) else None


def write_showcase(run: RunFolder, root: str | Path = _FOLDER) -> Showcase:
    """Makes a showcase of a finished run, whole or not at all.

    Args:
        run: the run.
        root: the folder of all showcases; this recipe's has not to be there yet.

    Returns:
        The showcase.

    Raises:
        ValueError: if the run has not finished, is damaged, or is too large.
        FileExistsError: if there is one of this recipe.
    """
    run.check()
    path = Path(root) / run.config.recipe
    path.mkdir(parents=True)
    try:
        for name in _KEPT:
            shutil.copy(run.path / name, path / name)
        env = make_evaluation_env(run.config.settings, run.seed)
        try:
            model = run.load_model(env)
        finally:
            env.close()
        save_weights(model, path / _WEIGHTS, critic=False)
        kept = {
            f"{name}{part}": torch.from_numpy(np.array(getattr(statistics, part[1:])))
            for name, statistics in _running_statistics(model).items()
            for part in _PARTS
        }
        if kept:
            save_file(kept, path / _STATISTICS)
        size = sum(each.stat().st_size for each in path.iterdir())
        if size > LARGEST:
            raise ValueError(
                f"{run.path}: a showcase may take {LARGEST:,} bytes, and this takes "
                f"{size:,}"
            )
    except BaseException:
        shutil.rmtree(path)
        raise
    return Showcase(path)


def _running_statistics(model: BaseAlgorithm) -> dict[str, RunningMeanStd]:
    """What a VecNormalize has learnt of observations, by the entry of a Dict space."""
    normalize = model.get_vec_normalize_env()
    if normalize is None or not normalize.norm_obs:
        return {}
    found = normalize.obs_rms
    return dict(found) if isinstance(found, dict) else {"": found}
