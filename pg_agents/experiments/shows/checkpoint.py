"""Row checkpoint: a training saved every so many episodes comes back as it was."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import (
    algorithm_class,
    make_model,
    make_training_env,
)
from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.settings import Settings
from pg_agents.experiments.showing import Shown, ShowRequest
from pg_agents.experiments.shows.parts import learn_quietly
from pg_agents.experiments.training import EpisodeLog, progress_of

EVERY = 1000


class Memory(NamedTuple):
    """What a model was when it was saved, kept in memory and not read from the file."""

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    games_played: int
    running_reward: float


def memory_of(model: BaseAlgorithm) -> Memory:
    """Returns copies of what a checkpoint has to bring back."""
    progress = progress_of(model)
    return Memory(
        copy.deepcopy(dict(model.policy.state_dict())),
        copy.deepcopy(model.policy.optimizer.state_dict()),
        progress.games_played,
        progress.running_reward.value,
    )


def differences(one: Memory, other: Memory) -> list[str]:
    """Returns the names of what is not equal to the last bit."""
    pairs = zip(Memory._fields, one, other, strict=True)
    return [name for name, first, second in pairs if not _equal(first, second)]


class SaveEpisodes(BaseCallback):
    """Saves the model every so many episodes, and when training ends.

    It stands behind the `EpisodeLog` that counts them.

    Attributes:
        saved: each file, and what the model was then.
    """

    def __init__(self, every: int, folder: Path) -> None:
        super().__init__()
        self.every, self.folder = every, folder
        self.saved: dict[Path, Memory] = {}
        self._at = 0

    def _on_rollout_start(self) -> None:
        games = progress_of(self.model).games_played
        if games // self.every > self._at // self.every:
            self._save(games)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._save(progress_of(self.model).games_played)

    def _save(self, games: int) -> None:
        path = self.folder / f"model_{games}_episodes.zip"
        write_whole(path, checkpoint_content(self.model), "zip")
        self.saved[path], self._at = memory_of(self.model), games


def show(
    request: ShowRequest, settings: Settings | None = None, every: int = EVERY
) -> Shown:
    """Trains CartPole, saves, loads back and compares; passes if all is equal.

    Args:
        request: of the command.
        settings: of the training; None for row cartpole-policy-network, 1,000 episodes.
        every: episodes between two files.
    """
    if settings is None:
        notebook = find_recipe("cartpole-policy-network").config("notebook").settings
        settings = replace(notebook, episodes=EVERY)
    keep = SaveEpisodes(every, request.folder)
    env = make_training_env(settings)
    try:
        model = make_model(settings, env, request.seed)
        with tempfile.TemporaryDirectory() as folder:
            log = EpisodeLog(Path(folder) / "monitor.csv", settings)
            try:
                learn_quietly(model, [log, keep])
            finally:
                log.close()
    finally:
        env.close()
    lines, passed = [], True
    for path, there in keep.saved.items():
        loaded = memory_of(algorithm_class(settings).load(path))
        wrong = differences(there, loaded)
        passed = passed and not wrong
        lines.append(
            f"{path.name}: weights, optimiser, games played ({loaded.games_played}) "
            f"and running reward ({loaded.running_reward:.4g}) "
            + (f"differ: **{', '.join(wrong)}**" if wrong else "are equal")
        )
    return Shown(tuple(lines), passed)


def _equal(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _equal(one[name], other[name]) for name in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
