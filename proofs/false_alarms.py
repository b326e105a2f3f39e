"""Counts how often the checker does not call a right gradient right.

Right subjects are checked again and again on the battery, each time with another policy
and other episodes:

- *formulas*: `check_policy_gradient` on losses whose formula is identified;
- *means*: the same losses plus noise of mean 0, which no formula reproduces,
  so that the mean of many gradients decides;
- *models*: agents whose gradient is right.

The counts go to docs/false_alarms.json, which `make checker` reads. `make false-alarms`
continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C
from torch import Tensor
from tqdm import tqdm

from pg_agents import REINFORCE
from pg_agents.checker import EpisodeBatch, check_policy_gradient
from pg_agents.checker.battery import battery
from pg_agents.checker.function_subject import TablePolicy
from pg_envs import TabularEnv
from proofs.unbiased_losses import LOSSES, discounted_to_go, loss_of

OUT = Path(__file__).parent.parent / "docs" / "false_alarms.json"


def reward_to_go(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
    """REINFORCE, summed over the episodes of the batch."""
    return loss_of(discounted_to_go(batch), batch, policy) * len(batch)


RIGHT = {"reward to go, summed": reward_to_go, **LOSSES}


def with_noise(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns a loss with a second term whose expectation is zero."""

    def noisy(batch: EpisodeBatch, policy: Any) -> Tensor:  # noqa: ANN401
        entropy = policy(batch.observations).entropy().mean()
        noise: Tensor = (torch.rand(()) - 0.5) * entropy
        return loss(batch, policy) + noise

    return noisy


def policy_of(n_actions: int, seed: int) -> TablePolicy:
    """Returns a table policy on the observations of the battery."""
    tasks = battery(n_actions)
    observations = np.concatenate([task.mdp.observations for task in tasks])
    return TablePolicy(observations, n_actions, seed)


def verdicts_on_losses(kind: str, seed: int) -> Iterator[tuple[str, str]]:
    """Yields label and verdict for every loss."""
    for name, loss in RIGHT.items():
        report = check_policy_gradient(
            with_noise(loss) if kind == "means" else loss,
            policy=policy_of(2 + seed % 3, seed),
            seed=seed,
            progress_bar=False,
        )
        yield name, report.verdict


def verdicts_on_models(seed: int) -> Iterator[tuple[str, str]]:
    """Yields label and verdict for agents whose gradient is right."""
    env = TabularEnv(battery()[0].mdp)
    episodes = REINFORCE("MlpPolicy", env, gamma=0.9, weight_by_gamma_t=True, seed=seed)
    settings: dict[str, Any] = {
        "target": "exact",
        "seed": seed,
        "progress_bar": False,
    }
    yield "REINFORCE", check_policy_gradient(episodes, **settings).verdict
    steps = A2C("MlpPolicy", env, gamma=1.0, seed=seed)
    report = check_policy_gradient(steps, bootstrap=True, critic="exact", **settings)
    yield "A2C without discount, exact critic", report.verdict


def main() -> None:
    """Counts verdicts and saves the counts after every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formulas", type=int, default=500, help="seeds")
    parser.add_argument("--means", type=int, default=150, help="seeds")
    parser.add_argument("--models", type=int, default=100, help="seeds")
    parser.add_argument("--out", type=Path, default=OUT, help="(%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out: Path = options.out
    counted: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for kind in ("formulas", "means", "models"):
        done = counted.setdefault(kind, {"seeds": 0, "verdicts": {}})
        seeds = range(done["seeds"], getattr(options, kind))
        for seed in tqdm(seeds, desc=kind, disable=None):
            verdicts = (
                verdicts_on_models(seed)
                if kind == "models"
                else verdicts_on_losses(kind, seed)
            )
            for name, verdict in verdicts:
                counts = Counter(done["verdicts"].get(name, {}))
                counts[verdict] += 1
                done["verdicts"][name] = dict(counts)
            done["seeds"] = seed + 1
            out.write_text(json.dumps(counted, indent=2) + "\n")
    print(json.dumps(counted, indent=2))


if __name__ == "__main__":
    main()
