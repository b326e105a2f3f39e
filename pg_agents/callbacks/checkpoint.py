"""Checkpoints of a training run, and resuming from them."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from pg_agents.checkpoint.archive import (
    DamagedCheckpointError,
    open_checkpoint,
    read_attributes,
    read_content,
    with_manifest,
)
from pg_agents.checkpoint.env_state import get_normalization, set_normalization
from pg_agents.checkpoint.finite_check import check_model
from pg_agents.common.checks import check_count, checked_timesteps
from pg_agents.common.files import remove_temporaries, write_whole

Model = TypeVar("Model", bound=BaseAlgorithm)

# Entry of a checkpoint with the pickled VecNormalize, as its save() writes it.
NORMALIZATION = "vec_normalize.pkl"
# Entry with the statistics of Gymnasium's NormalizeObservation and NormalizeReward.
LAYERS = "normalization.pkl"


class KeepCheckpoints(BaseCallback):
    """Saves the model periodically, and keeps the last checkpoints.

    It saves at the start of the first rollout after every `save_freq` steps, and at the
    end of training, also if it is stopped early. A killed process loses at most
    `save_freq` steps and one rollout. Files are written atomically. They include the
    statistics of a `VecNormalize` and of Gymnasium's `NormalizeObservation` and
    `NormalizeReward` (except in other processes).

    If an exception such as KeyboardInterrupt leaves ``learn``, nothing is saved. With
    ``StopOnInterrupt``, Ctrl-C ends training and saves.

    A model whose weights, optimiser state, replay memory or ``VecNormalize`` statistics
    are NaN or infinite is not saved: training stops with a ``NonFiniteError``, and
    older checkpoints are kept.

    Each run needs its own folder or prefix. ``resume`` continues it.

    Attributes:
        saved: path of the last checkpoint; None before the first.
    """

    only_watches = True

    def __init__(
        self,
        save_freq: int,
        folder: str | Path,
        keep: int = 3,
        name_prefix: str = "model",
        verbose: int = 0,
    ) -> None:
        """Initialises the callback; the folder is made when training starts.

        Args:
            save_freq: steps between checkpoints, summed over environments.
            folder: folder of the files ``<name_prefix>_<steps>_steps.zip``.
            keep: number of checkpoints to keep, at least 1.
            name_prefix: prefix of the file names.
            verbose: 1 or more prints the path of each checkpoint.

        Raises:
            ValueError: if ``save_freq`` or ``keep`` is not an integer >= 1, or
                ``name_prefix`` is empty or a path.
        """
        super().__init__(verbose)
        check_count("save_freq", save_freq)
        check_count("keep", keep)
        if not name_prefix or Path(name_prefix).name != name_prefix:
            raise ValueError(
                f"name_prefix must be the prefix of a file name, got {name_prefix!r}"
            )
        self.save_freq = save_freq
        self.folder = Path(folder)
        self.keep = keep
        self.name_prefix = name_prefix
        self.saved: Path | None = None
        self._saved_at = 0

    def _on_training_start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(self.folder, f"{self.name_prefix}_")
        self._saved_at = self.model.num_timesteps
        newest = newest_checkpoint(self.folder, self.name_prefix)
        if newest is not None and _steps(newest) > self.model.num_timesteps:
            raise ValueError(
                f"folder {self.folder} has a later checkpoint, {newest.name}, but this "
                f"run is at {self.model.num_timesteps} steps: resume it with "
                "pg_agents.callbacks.resume(), or use another folder or name_prefix"
            )
        # A kill between writing and removing leaves an additional file.
        self._remove_old()

    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps
        if steps // self.save_freq > self._saved_at // self.save_freq:
            self._save()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        steps = self.model.num_timesteps
        path = self.folder / f"{self.name_prefix}_{steps}_steps.zip"
        content = checkpoint_content(self.model)
        self.saved, self._saved_at = write_whole(path, content, "zip"), steps
        # After writing: older checkpoints are needed until the new one exists.
        self._remove_old()
        if self.verbose >= 1:
            print(f"Saved {path}")

    def _remove_old(self) -> None:
        for old in checkpoints(self.folder, self.name_prefix)[self.keep :]:
            old.unlink(missing_ok=True)


def checkpoint_content(model: BaseAlgorithm) -> bytes:
    """Returns a checkpoint file: model, normalisation statistics and manifest.

    Raises:
        NonFiniteError: (a ValueError) if a number in it is NaN or infinite.
    """
    # SB3's save() does not check.
    check_model(model)
    file = io.BytesIO()
    model.save(file)
    normalize, env = model.get_vec_normalize_env(), model.get_env()
    extra = {} if normalize is None else {NORMALIZATION: pickle.dumps(normalize)}
    layers = [] if env is None else get_normalization(env)
    if len(layers) > (normalize is not None):
        extra[LAYERS] = pickle.dumps(layers)
    return with_manifest(file.getvalue(), type(model), extra)


def checkpoints(folder: str | Path, name_prefix: str = "model") -> list[Path]:
    """Returns the paths of all checkpoints in a folder, newest first.

    Args:
        folder: argument of ``KeepCheckpoints``; it need not exist.
        name_prefix: argument of ``KeepCheckpoints``.
    """
    pattern = re.compile(rf"{re.escape(name_prefix)}_(\d+)_steps\.zip")
    paths = [p for p in Path(folder).glob("*.zip") if pattern.fullmatch(p.name)]
    return sorted(paths, key=_steps, reverse=True)


def newest_checkpoint(folder: str | Path, name_prefix: str = "model") -> Path | None:
    """Returns the newest checkpoint in a folder; None if there is none."""
    return next(iter(checkpoints(folder, name_prefix)), None)


def resume(
    algorithm: type[Model],
    folder: str | Path,
    env: Any,  # noqa: ANN401
    name_prefix: str = "model",
    **load_arguments: Any,
) -> Model:
    """Loads the newest valid checkpoint of a run.

    ``model.learn(remaining_timesteps(model), reset_num_timesteps=False)`` continues the
    run. A damaged file is renamed to ``<name>.damaged``, and the previous one is
    loaded. Attributes that cannot be unpickled or were edited are not damage: the file
    is loaded, with a warning that names those not replaced by ``custom_objects``.

    Args:
        algorithm: class of the saved model, of SB3 or this package.
        folder: argument of ``KeepCheckpoints``.
        env: environment to continue in, made like that of the run. The saved statistics
            are restored in its ``VecNormalize``, ``NormalizeObservation`` and
            ``NormalizeReward``, if any.
        name_prefix: argument of ``KeepCheckpoints``.
        **load_arguments: further arguments of ``algorithm.load``, such as
            ``custom_objects``.

    Raises:
        FileNotFoundError: if there is no valid checkpoint.
        ValueError: if it does not fit the algorithm or the environment, or a required
            attribute cannot be unpickled.
    """
    for path in checkpoints(folder, name_prefix):
        content = read_content(path)
        try:
            checkpoint = open_checkpoint(content, str(path))
        except DamagedCheckpointError as error:
            warnings.warn(
                f"{error}; it is renamed to {path.name}.damaged, and the previous "
                "checkpoint is loaded",
                stacklevel=2,
            )
            path.replace(f"{path}.damaged")
            continue
        if algorithm.load.__func__ is BaseAlgorithm.load.__func__:  # type: ignore[attr-defined]
            # SB3's load() does not read the manifest.
            custom_objects = load_arguments.pop("custom_objects", None)
            read = read_attributes(
                checkpoint, custom_objects, load_arguments, ["verbose"]
            )
            load_arguments["custom_objects"] = read.objects
            model = algorithm.load(io.BytesIO(read.content), env, **load_arguments)
        else:
            model = algorithm.load(path, env, **load_arguments)
        restore_normalization(model, content)
        return model
    raise FileNotFoundError(
        f"{folder} has no valid checkpoint {name_prefix}_<steps>_steps.zip"
    )


def remaining_timesteps(
    model: BaseAlgorithm, total_timesteps: int | None = None
) -> int:
    """Returns the remaining number of steps of a run, at least 0, for ``learn``.

    With ``reset_num_timesteps=False`` schedules continue too.

    Args:
        model: a model from ``resume``, or a new one.
        total_timesteps: total number of steps of the run; None for the argument of the
            ``learn`` that saved the model.

    Raises:
        ValueError: if ``total_timesteps`` is negative or not an integer.
    """
    total = model._total_timesteps
    if total_timesteps is not None:
        total = checked_timesteps("total_timesteps", total_timesteps)
    return max(0, total - model.num_timesteps)


def restore_normalization(model: BaseAlgorithm, content: bytes) -> None:
    """Restores the normalisation statistics of a checkpoint in a model's environment.

    Raises:
        ValueError: if the entry cannot be unpickled or is not a VecNormalize.
    """
    normalize, env = model.get_vec_normalize_env(), model.get_env()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if env is not None and LAYERS in archive.namelist():
            set_normalization(env, pickle.loads(archive.read(LAYERS)))
        if normalize is None or NORMALIZATION not in archive.namelist():
            return
        pickled = archive.read(NORMALIZATION)
    try:
        saved = pickle.loads(pickled)
    # Unpickling with another version may raise anything.
    except Exception as error:
        raise ValueError(
            f"{NORMALIZATION} in the checkpoint cannot be unpickled "
            f"({type(error).__name__}: {error}); {type(model).__name__}.load() loads "
            "the model without its statistics"
        ) from error
    if not isinstance(saved, VecNormalize):
        raise ValueError(
            f"{NORMALIZATION} in the checkpoint must be a VecNormalize, got "
            f"{type(saved).__name__}"
        )
    for name in ("obs_rms", "ret_rms"):
        # vars(), since __getattr__ of a wrapper without environment recurses.
        if name in vars(saved):
            setattr(normalize, name, vars(saved)[name])


def _steps(path: Path) -> int:
    return int(path.stem.split("_")[-2])
