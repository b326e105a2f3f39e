"""Checkpoints of a run that may be killed at any moment, and going on from them."""

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

# Entry of a checkpoint: the VecNormalize of the run, as its own save() writes it.
NORMALIZATION = "vec_normalize.pkl"
# And the statistics of Gymnasium's NormalizeObservation and NormalizeReward, if any.
LAYERS = "normalization.pkl"


class KeepCheckpoints(BaseCallback):
    """Saves the model every so many steps, and keeps the last few files.

    It saves between rollouts, where nothing is lost by stopping: at the first beginning
    of a rollout at or after every `save_freq` steps, and when training ends, be it
    early. Whoever is killed loses at most `save_freq` steps and one rollout. A file is
    there whole or not at all, and holds the statistics of a `VecNormalize` too, and of
    Gymnasium's `NormalizeObservation` and `NormalizeReward` (but for those in other
    processes), so that they fit together.

    An exception that leaves ``learn``, KeyboardInterrupt for one, gives a callback no
    time to save: together with ``StopOnInterrupt``, Ctrl-C ends training, and saves.

    A model whose weights, optimiser state, replay memory or ``VecNormalize`` statistics
    are NaN or infinite is not saved: training stops with a ``NonFiniteError``, and the
    older files stay.

    A folder and a prefix belong to one run. ``resume`` goes on with it.

    Attributes:
        saved: The file that was saved last; None before the first.
    """

    def __init__(
        self,
        save_freq: int,
        folder: str | Path,
        keep: int = 3,
        name_prefix: str = "model",
        verbose: int = 0,
    ) -> None:
        """Prepare; the folder is made when training starts.

        Args:
            save_freq: Steps between two checkpoints, summed over environments.
            folder: Where they are kept, as ``<name_prefix>_<steps>_steps.zip``.
            keep: How many of them, at least 1.
            name_prefix: Beginning of their names.
            verbose: At 1 or more, says what is saved.

        Raises:
            ValueError: If ``save_freq`` or ``keep`` is no integer of at least 1, or
                ``name_prefix`` is empty or a path.
        """
        super().__init__(verbose)
        check_count("save_freq", save_freq)
        check_count("keep", keep)
        if not name_prefix or Path(name_prefix).name != name_prefix:
            raise ValueError(
                "name_prefix must be the beginning of a file's name, got "
                f"{name_prefix!r}"
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
                f"folder {self.folder} holds a later moment, {newest.name}, and this "
                f"run is at {self.model.num_timesteps} steps: go on from that with "
                "pg_agents.callbacks.resume(), or choose another folder or name_prefix"
            )
        # A kill between writing and this leaves one more: not one each time.
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
        # Only now: an older one is of use until the new one is there.
        self._remove_old()
        if self.verbose >= 1:
            print(f"Saved {path}")

    def _remove_old(self) -> None:
        for old in checkpoints(self.folder, self.name_prefix)[self.keep :]:
            old.unlink(missing_ok=True)


def checkpoint_content(model: BaseAlgorithm) -> bytes:
    """Returns what a checkpoint file holds: model, normalisation and manifest.

    Raises:
        NonFiniteError: (a ValueError) if a number in it is NaN or infinite.
    """
    # SB3's own save() would not look.
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
    """Returns the checkpoints in a folder, the newest first.

    Args:
        folder: As given to ``KeepCheckpoints``; it need not be there.
        name_prefix: As given to ``KeepCheckpoints``.

    Returns:
        Paths; none is looked into.
    """
    pattern = re.compile(rf"{re.escape(name_prefix)}_(\d+)_steps\.zip")
    there = Path(folder)
    found = [p for p in there.glob("*.zip") if pattern.fullmatch(p.name)]
    return sorted(found, key=_steps, reverse=True)


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
    """Loads the newest checkpoint that can be read, to go on with its run.

    ``model.learn(remaining_timesteps(model), reset_num_timesteps=False)`` then does the
    rest. A damaged file is renamed to ``<name>.damaged``, and the one before is taken.
    A file is sound though some of its attributes can't be unpickled here, or were
    edited: it is loaded, with a warning that names those which ``custom_objects`` does
    not replace.

    Args:
        algorithm: The class that saved it, of SB3's or ours.
        folder: As given to ``KeepCheckpoints``.
        env: The environment to go on in, made as the first one was. The statistics of
            the run are put into its ``VecNormalize``, if it has one, and into
            Gymnasium's ``NormalizeObservation`` and ``NormalizeReward``.
        name_prefix: As given to ``KeepCheckpoints``.
        **load_arguments: Further arguments of ``algorithm.load``, ``custom_objects``
            for one.

    Returns:
        The model.

    Raises:
        FileNotFoundError: If no checkpoint there can be read.
        ValueError: If it does not fit the algorithm or the environment, or something
            in it can't be unpickled here without which the run can't go on.
    """
    for path in checkpoints(folder, name_prefix):
        content = read_content(path)
        try:
            checkpoint = open_checkpoint(content, str(path))
        except DamagedCheckpointError as error:
            warnings.warn(
                f"{error}; it is renamed to {path.name}.damaged, and the checkpoint "
                "before it is taken",
                stacklevel=2,
            )
            path.replace(f"{path}.damaged")
            continue
        if algorithm.load.__func__ is BaseAlgorithm.load.__func__:  # type: ignore[attr-defined]
            # It knows nothing of a manifest.
            given = load_arguments.pop("custom_objects", None)
            read = read_attributes(checkpoint, given, load_arguments, ["verbose"])
            load_arguments["custom_objects"] = read.objects
            model = algorithm.load(io.BytesIO(read.content), env, **load_arguments)
        else:
            model = algorithm.load(path, env, **load_arguments)
        put_normalization(model, content)
        return model
    raise FileNotFoundError(
        f"{folder} holds no checkpoint {name_prefix}_<steps>_steps.zip that can be read"
    )


def remaining_timesteps(
    model: BaseAlgorithm, total_timesteps: int | None = None
) -> int:
    """Returns how many steps are left of a run, for ``learn``.

    Args:
        model: As ``resume`` returns it, or a new one.
        total_timesteps: What the run was to take in all; None for what the ``learn``
            was called with that saved the model.

    Returns:
        Steps, at least 0. With ``reset_num_timesteps=False``, schedules go on as well.

    Raises:
        ValueError: If ``total_timesteps`` is negative or no whole number.
    """
    total = model._total_timesteps
    if total_timesteps is not None:
        total = checked_timesteps("total_timesteps", total_timesteps)
    return max(0, total - model.num_timesteps)


def put_normalization(model: BaseAlgorithm, content: bytes) -> None:
    """Puts the statistics in a checkpoint file into what normalises for the model.

    Raises:
        ValueError: If the file holds something else under that name, or what can't be
            unpickled here.
    """
    normalize, env = model.get_vec_normalize_env(), model.get_env()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if env is not None and LAYERS in archive.namelist():
            set_normalization(env, pickle.loads(archive.read(LAYERS)))
        if normalize is None or NORMALIZATION not in archive.namelist():
            return
        pickled = archive.read(NORMALIZATION)
    try:
        kept = pickle.loads(pickled)
    # Whatever it is that another version does not know.
    except Exception as error:
        raise ValueError(
            f"{NORMALIZATION} in the checkpoint can't be unpickled here "
            f"({type(error).__name__}: {error}); {type(model).__name__}.load() loads "
            "the model alone, and leaves the VecNormalize as it is"
        ) from error
    if not isinstance(kept, VecNormalize):
        raise ValueError(
            f"{NORMALIZATION} in the checkpoint is a {type(kept).__name__}, expected a "
            "VecNormalize"
        )
    for name in ("obs_rms", "ret_rms"):
        # vars(): asked for what it has not, a wrapper without environment recurses.
        if name in vars(kept):
            setattr(normalize, name, vars(kept)[name])


def _steps(path: Path) -> int:
    return int(path.stem.split("_")[-2])
