"""Counts how often the checker calls an unbiased gradient biased, or wrong.

Unbiased estimators other than reward-to-go are checked again and again, each time with
another policy and other episodes, at the default sample size. Most runs compute the
estimates of all batches at once, which a test shows to be the same numbers; some call
`check_policy_gradient`, as do two agents whose gradient is unbiased. The counts go to
docs/false_alarms.json, which `make checker` reads. `make false-alarms` takes about an
hour and continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from tqdm import tqdm

from pg_agents import REINFORCE
from pg_agents.checker import check_policy_gradient
from pg_agents.checker.episodes import sample_episodes
from pg_agents.checker.estimators import Estimator, Sample, control_variates, estimates
from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.geometry import Geometry, make_geometry
from pg_agents.checker.measurement import Measurement
from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import Task, resolve_task
from pg_agents.checker.verdict import make_report
from proofs.unbiased_losses import ESTIMATORS, LOSSES

OUT = Path(__file__).parent.parent / "docs" / "false_alarms.json"
TASKS = ("PGToy-Sequence-v0", "FrozenLake-v1")
GAMMA, SIZE, N_ENVS = 0.9, 8, 4
N_BATCHES, N_PROBES = 2_048, 512


def series_of(
    estimator: Estimator, task: Task, geometry: Geometry, n: int, seed: list[int]
) -> GradientSeries:
    """Returns the estimates of n batches, sampled as `check_policy_gradient` does."""
    rng = np.random.default_rng(seed)
    steps = sample_episodes(task, geometry.policy, n * SIZE, rng)
    sample = Sample(steps, task, geometry.policy, SIZE, N_ENVS)
    rows = estimates(sample, estimator, geometry.scores, sample.gamma_t)
    return GradientSeries(
        rows, control_variates(sample, geometry.scores, geometry.exact)
    )


def verdict_at_once(estimator: Estimator, task: Task, seed: int) -> str:
    """Returns the verdict on an estimator from all batches at once."""
    observations = torch.tensor(task.mdp.observations)
    policy = TablePolicy(task.mdp.observations, task.mdp.n_actions, seed)
    geometry = make_geometry(task, lambda: policy(observations).logits, [policy.logits])
    measured = Measurement(
        task,
        geometry,
        series_of(estimator, task, geometry, N_BATCHES, [seed, 0]),
        series_of(estimator, task, geometry, N_PROBES, [seed, 1]),
        episodes_per_round=SIZE,
        n_envs=N_ENVS,
    )
    return make_report(measured, "", seed, 0.0).verdict


def verdict_end_to_end(name: str, task: Task, env: str, seed: int) -> str:
    """Returns the verdict of `check_policy_gradient` on a loss."""
    policy = TablePolicy(task.mdp.observations, task.mdp.n_actions, seed)
    report = check_policy_gradient(
        LOSSES[name], env, gamma=GAMMA, policy=policy, seed=seed, progress_bar=False
    )
    return report.verdict


def verdicts_on_losses(kind: str, seed: int) -> Iterator[tuple[str, str]]:
    """Yields label and verdict for every unbiased estimator and task."""
    for env in TASKS:
        task = resolve_task(env, GAMMA, None, bootstrap=False)
        for name, estimator in ESTIMATORS.items():
            yield (
                f"{name}, {env}",
                verdict_at_once(estimator, task, seed)
                if kind == "at_once"
                else verdict_end_to_end(name, task, env, seed),
            )


def verdicts_on_models(seed: int) -> Iterator[tuple[str, str]]:
    """Yields label and verdict for agents whose gradient is unbiased."""
    env = make_vec_env(f"pg_envs:{TASKS[0]}", 8)
    episodes = REINFORCE(
        "MlpPolicy", env, gamma=GAMMA, weight_by_gamma_t=True, seed=seed
    )
    settings: dict[str, Any] = {"n_episodes": 768, "seed": seed, "progress_bar": False}
    yield "REINFORCE", check_policy_gradient(episodes, **settings).verdict
    steps = A2C("MlpPolicy", env, gamma=1.0, max_grad_norm=1e9, seed=seed)
    report = check_policy_gradient(steps, bootstrap=True, critic="exact", **settings)
    yield "A2C without discount and clipping, exact critic", report.verdict


def main() -> None:
    """Counts verdicts and saves the counts after every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="seeds, all at once")
    parser.add_argument("--end-to-end", type=int, default=50, help="seeds, end to end")
    parser.add_argument("--models", type=int, default=50, help="seeds of models")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counted: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    kinds = {
        "end_to_end": options.end_to_end,
        "models": options.models,
        "at_once": options.runs,
    }
    for kind, runs in kinds.items():
        done = counted.setdefault(kind, {"seeds": 0, "verdicts": {}})
        for seed in tqdm(range(done["seeds"], runs), desc=kind, disable=None):
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
            OUT.write_text(json.dumps(counted, indent=2) + "\n")
    print(json.dumps(counted, indent=2))


if __name__ == "__main__":
    main()
