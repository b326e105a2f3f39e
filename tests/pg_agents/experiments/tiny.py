"""Runs that take a fraction of a second, and `train` functions that fail."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.experiments import Evaluation, RunConfig, RunFolder, Settings, Training

HOOKS = "tests.pg_agents.experiments.tiny"
SETTINGS = Settings(
    algorithm="REINFORCE",
    env_id="PGToy-Sequence-v0",
    env_kwargs={"max_episode_steps": 20},
    policy_kwargs={"net_arch": []},
    arguments={"learning_rate": 0.05, "gamma": 0.9},
    episodes=20,
    evaluation=Evaluation(n_episodes=4, deterministic=False),
    checkpoint_every=40,
)


def tiny(**changes: Any) -> RunConfig:
    """Returns a config; ``__`` in a name stands for a dot (``evaluation.n_envs``)."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return RunConfig("tiny", "notebook", SETTINGS).changed(named)


# Configs whose complete state is saved in a checkpoint: they resume exactly.
EXACT = {
    "REINFORCE": tiny(),
    "ActorCritic": tiny(algorithm="ActorCritic", timesteps=300, n_envs=2),
    "vector": tiny(algorithm="ActorCritic", vectorization="vector", n_envs=4),
    "torch": tiny(vectorization="torch", n_envs=3),
    "normalized": tiny(normalize={"norm_reward": False}, timesteps=200),
    "stacked": tiny(
        algorithm="ActorCritic",
        vectorization="vector",
        n_envs=2,
        frame_stack=3,
        timesteps=300,
    ),
    "schedule": tiny(learning_rate="lin_0.1", timesteps=200),
}


def numbers(folder: RunFolder) -> dict[str, Any]:
    """Returns all results of a run that are the same however it was made."""
    result = folder.check()
    return {
        "result": (result.mean_return, result.sd_return, result.steps, result.episodes),
        "evaluation": folder.evaluation(),
        "episodes": [
            (episode.episode_return, episode.length, episode.steps, episode.number)
            for episode in folder.episodes()
        ],
        "weights": {
            name: value.flatten().tolist()
            for name, value in folder.load_model().policy.state_dict().items()
        },
    }


class AtStep(BaseCallback):
    """Calls a function at a step."""

    def __init__(self, step: int, act: Any) -> None:
        super().__init__()
        self.step, self.act = step, act

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.step:
            self.act()
        return True


def learn(training: Training, *callbacks: BaseCallback) -> BaseAlgorithm:
    """Learns with further callbacks after those of the run."""
    every = [*training.callbacks, *callbacks]
    return replace(training, callbacks=every).learn()


def killed_once(training: Training) -> BaseAlgorithm:
    """Kills the first worker of seed 1 at step 100, and writes its process id."""
    mark = training.folder.path.parent / "killed"

    def kill() -> None:
        if not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    return learn(training, *([AtStep(100, kill)] if training.seed == 1 else []))


def fails(training: Training) -> BaseAlgorithm:
    """Raises for seed 1."""
    if training.seed == 1:
        raise ArithmeticError("no such luck")
    return learn(training)


def spoils(training: Training) -> BaseAlgorithm:
    """Sets a weight to NaN at step 100 for seed 1."""
    return _spoilt(training, training.seed == 1)


def spoils_if_fast(training: Training) -> BaseAlgorithm:
    """Sets a weight to NaN at step 100 for large learning rates."""
    return _spoilt(training, training.config.settings.arguments["learning_rate"] > 1)


def _spoilt(training: Training, spoilt: bool) -> BaseAlgorithm:
    model: Any = training.model

    def spoil() -> None:
        with torch.no_grad():
            model.policy.action_net.bias[0] = torch.nan

    return learn(training, *([AtStep(100, spoil)] if spoilt else []))


def writes_process(training: Training) -> BaseAlgorithm:
    """Writes the process id, the number of threads and torch's seed."""
    text = f"{os.getpid()} {torch.get_num_threads()} {torch.initial_seed()}"
    Path(training.folder.path / "process").write_text(text)
    return learn(training)


def onto_a_full_disk(training: Training) -> BaseAlgorithm:
    """Makes monitor.csv a full device at step 100, the first time."""
    mark = training.folder.path.parent / "full"

    def fill() -> None:
        if not mark.exists():
            mark.touch()
            log: Any = training.callbacks[0]
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, log._writer.file_handler.fileno())
            os.close(full)

    return learn(training, AtStep(100, fill))
