"""Runs the gradient checker on losses and on agents, for docs/checker.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pitfalls
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO

from pg_agents import REINFORCE, ActorCritic, check_policy_gradient
from pg_agents.checker import CATALOGUE, CannotCheckError, GradientReport
from pg_agents.checker.battery import battery
from pg_envs import TabularEnv
from tests.pg_agents.checker.heldout import HELD_OUT


def mistake_reports() -> dict[str, GradientReport | CannotCheckError]:
    """Checks the right loss and every mistake of demos/pitfalls.py on the battery.

    Mistakes that a function cannot make are left out.
    """
    torch.set_num_threads(1)
    reports = {"right": _report(pitfalls.right)}
    for mistake in CATALOGUE:
        if mistake.key in pitfalls.IN_SCRIPTS:
            continue
        settings: dict[str, Any] = (
            {"horizon": 6, "bootstrap": True} if mistake.at_truncation else {}
        )
        reports[mistake.key] = _report(getattr(pitfalls, mistake.key), **settings)
        print(mistake.key, _verdict(reports[mistake.key]), flush=True)
    return reports


def held_out_reports() -> dict[str, GradientReport | CannotCheckError]:
    """Checks the losses that no candidate was written for."""
    torch.set_num_threads(1)
    reports = {}
    for loss in HELD_OUT:
        reports[loss.name] = _report(loss.make())
        print(loss.name, _verdict(reports[loss.name]), flush=True)
    return reports


def _report(loss: Any, **settings: Any) -> GradientReport | CannotCheckError:  # noqa: ANN401
    try:
        return check_policy_gradient(loss, **settings)
    except CannotCheckError as error:
        return error


def _verdict(report: GradientReport | CannotCheckError) -> str:
    return "could not be checked" if isinstance(report, Exception) else report.verdict


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
        report = check_policy_gradient(model, target="exact", **settings)
        reports.append((name, report))
        print(name, reports[-1][1].verdict, flush=True)
    return reports
