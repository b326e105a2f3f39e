"""Measures what each improvement does for CartPole-v1: `python -m bench.ablation`.

Each improvement is added to a plain actor-critic, and removed from one that has all of
them. Runs that docs/ablation.json lacks are made, in parallel and with one torch thread
each, and saved one by one; `make_pages.py ablation` writes the page.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from pg_agents import REINFORCE, ActorCritic
from pg_agents.callbacks.episodes import finished_episodes

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "ablation.json"
N_STEPS, N_MEMORY_STEPS, N_SEEDS, N_ENVS = 20_000, 15_000, 10, 8
N_LAST_EPISODES = 100
PACKAGES = ("gymnasium", "stable-baselines3", "torch", "numpy")

Arguments = dict[str, Any]

# One Adam step on 32 steps of each of 8 environments, with a critic.
PLAIN: Arguments = {
    "learning_rate": 1e-3,
    "n_steps": 32,
    "max_grad_norm": None,
    "use_rms_prop": False,
    "bootstrap_truncated": False,
    "policy_kwargs": {"ortho_init": False},
}
EPOCHS: Arguments = {"n_epochs": 10, "batch_size": 64}


@dataclass(frozen=True)
class Improvement:
    """An argument that the agent can be given or not.

    Attributes:
        name: label of the row.
        argument: as a user writes it, in Markdown.
        added: arguments that add it to the plain agent.
        removed: arguments that remove it from the agent with all improvements.
    """

    name: str
    argument: str
    added: Arguments
    removed: Arguments


IMPROVEMENTS = (
    Improvement(
        "layer normalisation",
        '`policy_kwargs={"layer_norm": True}`',
        {"policy_kwargs": {"layer_norm": True}},
        {"policy_kwargs": {"layer_norm": False}},
    ),
    Improvement(
        "orthogonal initialisation",
        '`policy_kwargs={"ortho_init": True}` (default)',
        {"policy_kwargs": {"ortho_init": True}},
        {"policy_kwargs": {"ortho_init": False}},
    ),
    Improvement(
        "target network",
        "`target_update_interval=10`",
        {"target_update_interval": 10},
        {"target_update_interval": None},
    ),
    Improvement(
        "epochs of mini-batches",
        "`n_epochs=10, batch_size=64`",
        EPOCHS,
        {"n_epochs": 1, "batch_size": None},
    ),
    Improvement(
        "clipped surrogate, with the epochs",
        "`clip_range=0.2`",
        EPOCHS | {"clip_range": 0.2},
        {"clip_range": None},
    ),
    Improvement(
        "target KL, with the epochs",
        "`target_kl=0.02`",
        EPOCHS | {"target_kl": 0.02},
        {"target_kl": None},
    ),
    Improvement(
        "entropy bonus", "`ent_coef=0.01`", {"ent_coef": 0.01}, {"ent_coef": 0.0}
    ),
    Improvement(
        "gradient clipping",
        "`max_grad_norm=0.5`",
        {"max_grad_norm": 0.5},
        {"max_grad_norm": None},
    ),
    Improvement(
        "advantage standardisation",
        "`normalize_advantage=True`",
        {"normalize_advantage": True},
        {"normalize_advantage": False},
    ),
    Improvement(
        "generalised advantage estimation",
        "`gae_lambda=0.95`",
        {"gae_lambda": 0.95},
        {"gae_lambda": 1.0},
    ),
    Improvement(
        "separate step sizes",
        "`critic_learning_rate=3e-3`",
        {"critic_learning_rate": 3e-3},
        {"critic_learning_rate": None},
    ),
    Improvement(
        "Huber critic loss",
        '`critic_loss="huber"`',
        {"critic_loss": "huber"},
        {"critic_loss": "squared"},
    ),
    Improvement(
        "truncation told from termination",
        "`bootstrap_truncated=True` (default)",
        {"bootstrap_truncated": True},
        {"bootstrap_truncated": False},
    ),
    Improvement(
        "step size that falls to 0",
        "`learning_rate=LinearSchedule(1e-3, 0, 1)`",
        {"learning_rate": LinearSchedule(1e-3, 0.0, 1.0)},
        {"learning_rate": 1e-3},
    ),
)


def merged(*parts: Arguments) -> Arguments:
    """Returns all arguments; later parts win, and `policy_kwargs` are merged."""
    whole: Arguments = {}
    for part in parts:
        policy = whole.get("policy_kwargs", {}) | part.get("policy_kwargs", {})
        whole = whole | part | {"policy_kwargs": policy}
    return whole


ALL = merged(PLAIN, *(i.added for i in IMPROVEMENTS))

# ActorCritic, by name of the setting.
SETTINGS: dict[str, Arguments] = {
    "plain": PLAIN,
    "all": ALL,
    **{f"plain + {i.name}": merged(PLAIN, i.added) for i in IMPROVEMENTS},
    **{f"all - {i.name}": merged(ALL, i.removed) for i in IMPROVEMENTS},
    "plain + memory, V-trace": merged(
        PLAIN, {"memory_size": 2048, "gradient_steps": 4}
    ),
    "plain + memory, uncorrected": merged(
        PLAIN,
        {
            "memory_size": 2048,
            "gradient_steps": 4,
            "batch_size": 256,
            "replay": "returns",
        },
    ),
}

# REINFORCE, one episode per update: reinforce-memory and its correction.
MEMORIES: dict[str, Arguments] = {
    "no memory": {},
    "memory of transitions": {
        "memory_size": 512,
        "learning_starts": 256,
        "gradient_steps": 2,
        "batch_size": 256,
        "replay": "returns",
    },
    "memory of episodes, importance weights": {
        "memory_size": 512,
        "learning_starts": 256,
        "gradient_steps": 2,
        "replay": "importance",
    },
}


class EpisodeReturns(BaseCallback):
    """Records the return of every training episode in the order of their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        episodes = finished_episodes(self.locals)
        self.returns += [episode.episode_return for episode in episodes]
        return True


def run(task: tuple[str, int]) -> tuple[str, int, list[float]]:
    """Trains one setting with one seed; returns both and the summary of the run."""
    name, seed = task
    torch.set_num_threads(1)
    callback = EpisodeReturns()
    if name in MEMORIES:
        # Networks and step size of recipe reinforce-memory.
        model: REINFORCE | ActorCritic = REINFORCE(
            "MlpPolicy",
            "CartPole-v1",
            learning_rate=1e-3,
            policy_kwargs={"net_arch": [20, 20]},
            seed=seed,
            device="cpu",
            **MEMORIES[name],
        )
        model.learn(N_MEMORY_STEPS, callback=callback, log_interval=None)
    else:
        env = gymnasium.make_vec("CartPole-v1", num_envs=N_ENVS)
        model = ActorCritic("MlpPolicy", env, seed=seed, device="cpu", **SETTINGS[name])
        model.learn(N_STEPS, callback=callback, log_interval=None)
    return name, seed, summary(callback.returns)


def summary(returns: list[float]) -> list[float]:
    """Returns learning speed and final performance of a run.

    Speed is the episode return averaged over all training steps, the area under the
    learning curve; final performance the mean return of the last episodes.
    """
    # CartPole pays 1 a step, so the return is the number of steps.
    values = np.array(returns)
    speed = float((values**2).sum() / values.sum())
    return [speed, float(values[-N_LAST_EPISODES:].mean())]


def main() -> None:
    """Makes the missing runs and saves each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="parallel runs")
    options = parser.parse_args()
    stored: dict[str, Any] = {"runs": {}}
    if RESULTS.exists():
        stored = json.loads(RESULTS.read_text())
    missing = [
        (name, seed)
        for seed in range(N_SEEDS)
        for name in (*SETTINGS, *MEMORIES)
        if str(seed) not in stored["runs"].get(name, {})
    ]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name, seed, found in pool.imap_unordered(run, missing):
            stored["runs"].setdefault(name, {})[str(seed)] = found
            RESULTS.write_text(json.dumps({**stored, **provenance()}, indent=1))
            print(f"{name}, seed {seed}: {found}", flush=True)


def provenance() -> dict[str, str]:
    """Returns the versions and the commit of runs that are made now."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    machine = platform.machine()
    return {
        "setup": f"Python {platform.python_version()}, {versions}, {machine}",
        "commit": commit or "unknown",
    }


if __name__ == "__main__":
    main()
