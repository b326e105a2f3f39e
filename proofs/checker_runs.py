"""Runs the gradient checker on planted mistakes and on agents, for docs/checker.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pitfalls
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO

from pg_agents import REINFORCE, ActorCritic, check_policy_gradient
from pg_agents.checker import CATALOGUE, GradientReport

ID = "pg_envs:PGToy-Sequence-v0"


def mistake_reports() -> dict[str, GradientReport]:
    """Checks the right loss and every mistake of demos/pitfalls.py."""
    torch.set_num_threads(1)
    reports = {"right": check_policy_gradient(pitfalls.right)}
    for mistake in CATALOGUE:
        settings: dict[str, Any] = (
            {"horizon": 6, "bootstrap": True} if mistake.at_truncation else {}
        )
        loss = getattr(pitfalls, mistake.key)
        reports[mistake.key] = check_policy_gradient(loss, **settings)
        print(mistake.key, reports[mistake.key].verdict, flush=True)
    return reports


def agents() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yields label, model and arguments of the check; * marks exact settings."""
    exact: dict[str, Any] = {"weight_by_gamma_t": True, "gamma": 0.9, "seed": 0}
    exact["n_episodes"] = 8
    yield "REINFORCE *", REINFORCE("MlpPolicy", ID, **exact), {}
    leave_one_out = REINFORCE("MlpPolicy", ID, baseline="leave_one_out", **exact)
    yield "REINFORCE *, leave-one-out", leave_one_out, {}
    monte_carlo = ActorCritic("MlpPolicy", ID, max_grad_norm=None, **exact)
    yield "ActorCritic *, Monte-Carlo returns", monte_carlo, {}
    yield "REINFORCE, defaults", REINFORCE("MlpPolicy", ID, seed=0), {}
    for algorithm in (A2C, PPO, TRPO):
        name = f"SB3's {algorithm.__name__}, defaults"
        model = algorithm("MlpPolicy", ID, seed=0)
        yield name, model, {"bootstrap": True}
        yield f"{name}, exact critic", model, {"critic": "exact", "bootstrap": True}


def agent_reports() -> list[tuple[str, GradientReport]]:
    """Checks agents on PGToy-Sequence-v0."""
    torch.set_num_threads(1)
    reports = []
    for name, model, settings in agents():
        reports.append((name, check_policy_gradient(model, **settings)))
        print(name, reports[-1][1].verdict, flush=True)
    return reports
