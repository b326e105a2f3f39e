"""Trained models that come with the package, to be watched before anything is run.

Each is the folder of a finished run without what is large: the weights alone, as
safetensors, stand for the model. Nothing is unpickled to load one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.experiments.building import make_evaluation_env, make_model
from pg_agents.experiments.damage import DamagedRunError
from pg_agents.experiments.folder import RunFolder
from pg_agents.weights import load_weights, save_weights

_FOLDER = Path(__file__).with_name("showcase")
_WEIGHTS = "weights.safetensors"
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
        """Returns the trained model, made anew and given the weights.

        Args:
            env: where it is to act; None for one of its own.

        Raises:
            DamagedRunError: (a ValueError) if the weights are missing, damaged, or of
                another model.
        """
        settings = self.config.settings
        own = make_evaluation_env(settings, self.seed) if env is None else env
        model = make_model(settings, own, self.seed)
        try:
            load_weights(model, self.path / _WEIGHTS)
        except (FileNotFoundError, ValueError) as error:
            raise DamagedRunError(self.path / _WEIGHTS, f"is no use: {error}") from None
        return model


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
        run: the run, whose environments are not normalised: weights are all there is.
        root: the folder of all showcases; this recipe's has not to be there yet.

    Returns:
        The showcase.

    Raises:
        ValueError: if the run has not finished, is damaged, is normalised, or its
            weights are too large.
        FileExistsError: if there is one of this recipe.
    """
    run.check()
    if run.config.settings.normalize is not None:
        raise ValueError(
            f"{run.path}: what its VecNormalize has learnt is no weight; a showcase "
            "needs normalize=None"
        )
    path = Path(root) / run.config.recipe
    path.mkdir(parents=True)
    try:
        for name in _KEPT:
            shutil.copy(run.path / name, path / name)
        save_weights(run.load_model(), path / _WEIGHTS)
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
