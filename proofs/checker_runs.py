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
from pg_agents.checker.battery import battery
from pg_envs import TabularEnv


def mistake_reports() -> dict[str, GradientReport]:
    """Checks the right loss and every mistake of demos/pitfalls.py on the battery.

    Mistakes that a function cannot make, and the one that gives NaN, are left out.
    """
    torch.set_num_threads(1)
    reports = {"right": check_policy_gradient(pitfalls.right)}
    for mistake in CATALOGUE:
        if mistake.key in (*pitfalls.IN_SCRIPTS, "nan_deviation"):
            continue
        settings: dict[str, Any] = (
            {"horizon": 6, "bootstrap": True} if mistake.at_truncation else {}
        )
        loss = getattr(pitfalls, mistake.key)
        reports[mistake.key] = check_policy_gradient(loss, **settings)
        print(mistake.key, reports[mistake.key].verdict, flush=True)
    return reports


def agents() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yields label, model and arguments of the check; * marks exact settings."""
    env = TabularEnv(battery()[0].mdp)
    exact: dict[str, Any] = {"weight_by_gamma_t": True, "gamma": 0.9, "seed": 0}
    exact["n_episodes"] = 8
    yield "REINFORCE *", REINFORCE("MlpPolicy", env, **exact), {}
    leave_one_out = REINFORCE("MlpPolicy", env, baseline="leave_one_out", **exact)
    yield "REINFORCE *, leave-one-out", leave_one_out, {}
    monte_carlo = ActorCritic("MlpPolicy", env, max_grad_norm=None, **exact)
    yield "ActorCritic *, Monte-Carlo returns", monte_carlo, {}
    yield "REINFORCE, defaults", REINFORCE("MlpPolicy", env, seed=0), {}
    for algorithm in (A2C, PPO, TRPO):
        name = f"SB3's {algorithm.__name__}, defaults"
        model = algorithm("MlpPolicy", env, seed=0)
        yield name, model, {"bootstrap": True}
        yield f"{name}, exact critic", model, {"critic": "exact", "bootstrap": True}


def agent_reports() -> list[tuple[str, GradientReport]]:
    """Checks agents on the battery."""
    torch.set_num_threads(1)
    reports = []
    for name, model, settings in agents():
        reports.append((name, check_policy_gradient(model, **settings)))
        print(name, reports[-1][1].verdict, flush=True)
    return reports
