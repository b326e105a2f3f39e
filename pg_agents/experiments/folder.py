"""The folder of a run: its files are written, checked and loaded."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.analysis.monitor import COLUMNS, Episode
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
from pg_agents.common.files import write_file
from pg_agents.experiments.building import algorithm_class
from pg_agents.experiments.settings import (
    EXTRAS,
    RunConfig,
    Settings,
    first_difference,
)

__all__ = [
    "DamagedRunError",
    "EvaluationRecord",
    "FolderBusyError",
    "OtherRunError",
    "Result",
    "RunFolder",
    "cut_back",
    "open_monitor",
    "write_json",
]

FORMAT = 1


class OtherRunError(ValueError):
    """A folder holds the run of another recipe, or one with other settings."""


class FolderBusyError(RuntimeError):
    """Another process, or another thread, works in the folder."""


class RunFolder:
    """The folder of one run, ``ROOT/RECIPE[-VARIANT]/seed-0007``.

    =================== ==============================================================
    ``config.json``     recipe, variant, seed and all settings
    ``versions.json``   of Python and the libraries, including those of its extra
    ``monitor.csv``     the training episodes, see `open_monitor`
    ``checkpoint/``     the newest checkpoints
    ``model.zip``       the trained model
    ``evaluation.json`` returns and lengths of the evaluation episodes
    ``result.json``     the summary; written last, so a run that has one is finished
    =================== ==============================================================

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
        except (TypeError, ValueError) as error:
            raise DamagedRunError(
                self.path / "config.json", f"is not the config of a run: {error}"
            ) from error
        self.config = RunConfig(data["recipe"], data["variant"], settings)
        self.seed: int = data["seed"]
        self.checkpoints = self.path / "checkpoint"
        self.monitor = self.path / "monitor.csv"

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
        write_json(path / "versions.json", versions(*more))
        data = {
            "format": FORMAT,
            "recipe": config.recipe,
            "variant": config.variant,
            "seed": seed,
            "settings": config.settings.to_json(),
        }
        write_json(path / "config.json", data)
        return cls(path)

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return (self.path / "result.json").exists()

    def check_is(self, config: RunConfig, seed: int) -> None:
        """Rejects the folder of another run.

        Raises:
            OtherRunError: (a ValueError) naming the first setting that differs.
        """
        there, here = (
            {
                "recipe": c.recipe,
                "variant": c.variant,
                "seed": s,
                **c.settings.to_json(),
            }
            for c, s in ((self.config, self.seed), (config, seed))
        )
        found = first_difference(there, here)
        if found:
            raise OtherRunError(
                f"{self.path} holds another run: {found}; choose another folder, or "
                "delete that one"
            )

    def result(self) -> Result:
        """Returns the summary; a missing or damaged file raises a DamagedRunError."""
        return read_result(self.path)

    def evaluation(self) -> EvaluationRecord:
        """Returns the evaluation episodes; a damaged file raises a DamagedRunError."""
        return read_evaluation(self.path)

    def episodes(self) -> list[Episode]:
        """Returns the training episodes; a damaged file raises a DamagedRunError."""
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
        write_json(self.path / "evaluation.json", asdict(record))

    def write_result(self, result: Result) -> None:
        """Writes result.json atomically, which makes the run a finished one."""
        write_json(self.path / "result.json", asdict(result))

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


def write_json(path: Path, data: Any) -> None:  # noqa: ANN401
    """Writes a JSON file atomically."""
    write_file(path, (json.dumps(data, indent=1) + "\n").encode())


def open_monitor(path: Path, new_env_id: str | None = None) -> ResultsWriter:
    """Returns a writer that appends episodes to a monitor.csv in SB3's format.

    The columns `steps` and `episode` beside those of SB3's Monitor tell which episodes
    came before a checkpoint. `pg_agents.analysis.monitor` reads the file.

    Args:
        path: the file.
        new_env_id: the environment of a new file; None to append to an existing one.

    Raises:
        OSError: if it can't be written; no half-written heading is left.
    """
    if new_env_id is not None:
        header = json.dumps({"t_start": time.time(), "env_id": new_env_id})
        # Atomically: on a full disk SB3's writer would leave half a header.
        write_file(path, f"#{header}\n{','.join(COLUMNS)}\r\n".encode())
    return ResultsWriter(str(path), None, COLUMNS[3:], override_existing=False)


def cut_back(path: Path, steps: int, n_episodes: int) -> None:
    """Truncates a monitor.csv to the episodes before a checkpoint.

    The resumed run writes the episodes after the checkpoint again.

    Args:
        path: the file.
        steps: training steps at the checkpoint.
        n_episodes: number of episodes that had ended by then.

    Raises:
        DamagedRunError: (a ValueError) if episodes from before the checkpoint are
            missing.
        OSError: if the file can't be written; it is unchanged then.
    """
    episodes = read_episodes(path, until_damage=True)
    n_before = sum(episode.steps <= steps for episode in episodes)
    if n_before != n_episodes:
        raise DamagedRunError(
            path,
            f"has {n_before} episodes of the {n_episodes} before the checkpoint at "
            f"{steps} steps",
        )
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) > 2 + n_episodes:
        write_file(path, b"".join(lines[: 2 + n_episodes]))
