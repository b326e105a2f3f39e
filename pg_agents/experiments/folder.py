"""The folder of a run: what is in it, whose it is, and whether it is whole."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.callbacks.checkpoint import put_normalization
from pg_agents.checkpoint.archive import (
    DamagedCheckpointError,
    check_unedited,
    read_content,
    versions,
)
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import algorithm_class
from pg_agents.experiments.errors import DamagedRunError, OtherRunError
from pg_agents.experiments.monitor_file import Episode, read_episodes
from pg_agents.experiments.settings import (
    EXTRAS,
    RunConfig,
    Settings,
    first_difference,
)

FORMAT = 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Result:
    """The summary of a finished run.

    Attributes:
        mean_return: over the evaluation's episodes.
        sd_return: their standard deviation, divided by their number as NumPy's.
        n_episodes: how many there were.
        steps: of training, summed over environments.
        episodes: of training.
        wall_seconds: that training took, pauses and evaluation left out.
        finished_at: date and time, UTC, in ISO 8601.
        resumed_at: the steps at which training was taken up again.
    """

    mean_return: float
    sd_return: float
    n_episodes: int
    steps: int
    episodes: int
    wall_seconds: float
    finished_at: str
    resumed_at: tuple[int, ...]


@dataclass(frozen=True)
class EvaluationRecord:
    """The episodes of an evaluation.

    Attributes:
        seed: of the environments and of the actions.
        returns: undiscounted, one an episode.
        lengths: in steps.
    """

    seed: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]


class RunFolder:
    """The folder of one run, ``ROOT/RECIPE[-VARIANT]/seed-0007``.

    ==================  ==============================================================
    ``config.json``     recipe, variant, seed and all settings
    ``versions.json``   of Python and the libraries, those of its extra among them
    ``monitor.csv``     the episodes of training, see `monitor_file`
    ``checkpoint/``     the newest checkpoints
    ``model.zip``       the trained model
    ``evaluation.json`` returns and lengths of the evaluation's episodes
    ``result.json``     the summary; written last: its being there means finished
    ==================  ==============================================================

    Args:
        path: the folder, which has to be that of a run.

    Raises:
        FileNotFoundError: if there is no such folder.
        DamagedRunError: (a ValueError) if its config.json is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no folder {self.path}")
        self.config, self.seed = self._read_config()

    @classmethod
    def path_of(cls, root: str | Path, config: RunConfig, seed: int) -> Path:
        """Returns where the run of a config and a seed is."""
        return Path(root) / config.name / f"seed-{seed:04d}"

    @classmethod
    def create(cls, path: Path, config: RunConfig, seed: int) -> RunFolder:
        """Returns the folder of a new run: what it is to be is written down.

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
        """Whether the run has come to its end."""
        return (self.path / "result.json").exists()

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoint"

    @property
    def monitor(self) -> Path:
        """The file of the training's episodes."""
        return self.path / "monitor.csv"

    def check_is(self, config: RunConfig, seed: int) -> None:
        """Refuses a folder of another run.

        Raises:
            OtherRunError: (a ValueError) naming the first setting that differs.
        """
        there = {**_identity(self.config, self.seed)}
        found = first_difference(there, _identity(config, seed))
        if found:
            raise OtherRunError(
                f"{self.path} holds another run: {found}; choose another folder, or "
                "delete that one"
            )

    def result(self) -> Result:
        """Returns the summary of the finished run.

        Raises:
            DamagedRunError: (a ValueError) if it isn't there, or damaged.
        """
        data = self._read("result.json", Result)
        return Result(**{**data, "resumed_at": tuple(data["resumed_at"])})

    def evaluation(self) -> EvaluationRecord:
        """Returns the episodes of the evaluation.

        Raises:
            DamagedRunError: (a ValueError) if they aren't there, or damaged.
        """
        data = self._read("evaluation.json", EvaluationRecord)
        returns, lengths = tuple(data["returns"]), tuple(data["lengths"])
        if not returns or len(returns) != len(lengths):
            self._refuse("evaluation.json", "has no return and length of each episode")
        return EvaluationRecord(data["seed"], returns, lengths)

    def episodes(self) -> list[Episode]:
        """Returns the episodes of the training.

        Raises:
            DamagedRunError: (a ValueError) if the file is missing, cut off or edited.
        """
        return read_episodes(self.monitor)

    def load_model(self, env: VecEnv | None = None) -> BaseAlgorithm:
        """Returns the trained model.

        Args:
            env: where it is to act; the statistics of the training are put into its
                VecNormalize, if it has one.

        Raises:
            DamagedRunError: (a ValueError) if the file is missing or damaged.
        """
        content = self._model_content()
        settings = self.config.settings
        model = algorithm_class(settings).load(
            self.path / "model.zip", env=env, device=settings.device
        )
        put_normalization(model, content)
        return model

    def check(self) -> Result:
        """Looks at every file of a finished run, and returns its summary.

        Raises:
            DamagedRunError: (a ValueError) naming the file that isn't whole.
        """
        result = self.result()
        self._model_content()
        for name, found, expected in (
            ("evaluation.json", len(self.evaluation().returns), result.n_episodes),
            ("monitor.csv", len(self.episodes()), result.episodes),
        ):
            if found != expected:
                self._refuse(
                    name, f"has {found} episodes, and result.json counts {expected}"
                )
        return result

    def write_evaluation(self, record: EvaluationRecord) -> None:
        """Writes evaluation.json, whole or not at all."""
        _write(self.path / "evaluation.json", asdict(record))

    def write_result(self, result: Result) -> None:
        """Writes result.json, whole or not at all: the run is finished."""
        _write(self.path / "result.json", asdict(result))

    def _model_content(self) -> bytes:
        path = self.path / "model.zip"
        try:
            content = read_content(path)
            check_unedited(content, str(path))
        except FileNotFoundError:
            self._refuse("model.zip", "is missing")
        except DamagedCheckpointError as error:
            self._refuse("model.zip", str(error).removeprefix(f"{path} "))
        return content

    def _read_config(self) -> tuple[RunConfig, int]:
        data = self._read("config.json", None)
        try:
            if data["format"] > FORMAT:
                raise ValueError("it is of a later pgtoy")
            settings = Settings.from_json(data["settings"])
            config = RunConfig(data["recipe"], data["variant"], settings)
            return config, int(data["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedRunError(
                self.path / "config.json", f"is no config of a run ({error})"
            ) from error

    def _read(self, name: str, of: type | None) -> dict[str, Any]:
        path = self.path / name
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            self._refuse(name, "is missing")
        except ValueError as error:
            self._refuse(name, f"is cut off or damaged ({error})")
        known = {each.name for each in fields(of)} if of is not None else set()
        if not isinstance(data, dict) or (of is not None and set(data) != known):
            self._refuse(name, "is not what a run writes")
        return data

    def _refuse(self, name: str, what: str) -> NoReturn:
        raise DamagedRunError(self.path / name, what)


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Has a full disk say what to do about it.

    Raises:
        OSError: with the same number, naming the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(
            error.errno,
            f"no space is left on the disk for {path}: free some and run the same "
            "again; it goes on from the last checkpoint",
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
