"""The folder of a run: its files are written, checked and loaded."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.analysis.monitor import Episode
from pg_agents.analysis.run_data import (
    DamagedRunError,
    EvaluationRecord,
    Result,
    read_config,
    read_episodes,
    read_evaluation,
    read_result,
    read_run,
)
from pg_agents.callbacks.checkpoint import restore_normalization
from pg_agents.checkpoint.archive import (
    DamagedCheckpointError,
    check_unedited,
    read_content,
    versions,
)
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import algorithm_class
from pg_agents.experiments.errors import OtherRunError
from pg_agents.experiments.settings import (
    EXTRAS,
    RunConfig,
    Settings,
    first_difference,
)

__all__ = ["EvaluationRecord", "Result", "RunFolder", "clear_disk_errors"]

FORMAT = 1
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class RunFolder:
    """The folder of one run, ``ROOT/RECIPE[-VARIANT]/seed-0007``.

    ==================  ==============================================================
    ``config.json``     recipe, variant, seed and all settings
    ``versions.json``   of Python and the libraries, including those of its extra
    ``monitor.csv``     the training episodes, see `monitor_file`
    ``checkpoint/``     the newest checkpoints
    ``model.zip``       the trained model
    ``evaluation.json`` returns and lengths of the evaluation episodes
    ``result.json``     the summary; written last, so a run that has one is finished
    ==================  ==============================================================

    Args:
        path: the folder of an existing run.

    Raises:
        FileNotFoundError: if there is no such folder.
        DamagedRunError: (a ValueError) if its config.json is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no folder {self.path}")
        data = read_config(self.path)
        try:
            if data["format"] > FORMAT:
                raise ValueError("written by a later pgtoy")
            settings = Settings.from_json(data["settings"])
            self.config = RunConfig(data["recipe"], data["variant"], settings)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                self.path / "config.json", f"is not the config of a run: {error}"
            ) from error
        self.seed: int = data["seed"]

    @classmethod
    def path_of(cls, root: str | Path, config: RunConfig, seed: int) -> Path:
        """Returns where the run of a config and a seed is stored."""
        return Path(root) / config.name / f"seed-{seed:04d}"

    @classmethod
    def create(cls, path: Path, config: RunConfig, seed: int) -> RunFolder:
        """Returns the folder of a new run, with its config and versions written.

        Raises:
            OSError: if it can't be written.
        """
        path.mkdir(parents=True, exist_ok=True)
        more = EXTRAS.get(config.settings.extra or "", ())
        _write(path / "versions.json", versions(*more))
        data = {
            "format": FORMAT,
            "recipe": config.recipe,
            "variant": config.variant,
            "seed": seed,
            "settings": config.settings.to_json(),
        }
        _write(path / "config.json", data)
        return cls(path)

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return (self.path / "result.json").exists()

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoint"

    @property
    def monitor(self) -> Path:
        """The file of the training episodes."""
        return self.path / "monitor.csv"

    def check_is(self, config: RunConfig, seed: int) -> None:
        """Rejects the folder of another run.

        Raises:
            OtherRunError: (a ValueError) naming the first setting that differs.
        """
        found = first_difference(
            _identity(self.config, self.seed), _identity(config, seed)
        )
        if found:
            raise OtherRunError(
                f"{self.path} holds another run: {found}; choose another folder, or "
                "delete that one"
            )

    def result(self) -> Result:
        """Returns the summary of the finished run.

        Raises:
            DamagedRunError: (a ValueError) if it is missing or damaged.
        """
        return read_result(self.path)

    def evaluation(self) -> EvaluationRecord:
        """Returns the evaluation episodes.

        Raises:
            DamagedRunError: (a ValueError) if they are missing or damaged.
        """
        return read_evaluation(self.path)

    def episodes(self) -> list[Episode]:
        """Returns the training episodes.

        Raises:
            DamagedRunError: (a ValueError) if the file is missing, cut off or edited.
        """
        return read_episodes(self.monitor)

    def load_model(self, env: VecEnv | None = None) -> BaseAlgorithm:
        """Returns the trained model.

        Args:
            env: to act in; its VecNormalize, if there is one, gets the statistics of
                training.

        Raises:
            DamagedRunError: (a ValueError) if the file is missing or damaged.
        """
        content = self._model_content()
        settings = self.config.settings
        model = algorithm_class(settings).load(
            self.path / "model.zip", env=env, device=settings.device
        )
        restore_normalization(model, content)
        return model

    def check(self) -> Result:
        """Checks every file of a finished run, and returns its summary.

        Raises:
            DamagedRunError: (a ValueError) naming the file that is missing or damaged.
        """
        result = self.result()
        read_run(self.path)
        self._model_content()
        return result

    def write_evaluation(self, record: EvaluationRecord) -> None:
        """Writes evaluation.json atomically."""
        _write(self.path / "evaluation.json", asdict(record))

    def write_result(self, result: Result) -> None:
        """Writes result.json atomically, which makes the run a finished one."""
        _write(self.path / "result.json", asdict(result))

    def _model_content(self) -> bytes:
        path = self.path / "model.zip"
        try:
            content = read_content(path)
            check_unedited(content, str(path))
        except FileNotFoundError:
            raise DamagedRunError(path, "is missing") from None
        except DamagedCheckpointError as error:
            problem = str(error).removeprefix(f"{path} ")
            raise DamagedRunError(path, problem) from error
        return content


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Adds to the error of a full disk what to do about it.

    Raises:
        OSError: with the same number, naming the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"no space is left on the disk for {path}: free some and run the same "
            "again; it resumes from the last checkpoint",
        ) from error


def _identity(config: RunConfig, seed: int) -> dict[str, Any]:
    settings: Mapping[str, Any] = config.settings.to_json()
    return {
        "recipe": config.recipe,
        "variant": config.variant,
        "seed": seed,
        **settings,
    }


def _write(path: Path, data: Any) -> None:  # noqa: ANN401
    write_whole(path, (json.dumps(data, indent=1) + "\n").encode(), "json")
