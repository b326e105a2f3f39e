"""Checks losses and agents, for docs/checker.md.

- *planted*: the right loss and every mistake of demos/pitfalls.py that a function can
  make;
- *held_out*: the losses that no candidate was written for
  (`tests/pg_agents/checker/heldout.py`);
- *agents*: models of ours and of Stable-Baselines3.

The results go to docs/checker_runs.json, which `make checker` reads. It measures what
that file lacks, and continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO

from pg_agents import REINFORCE, ActorCritic, check_policy_gradient
from pg_agents.checker import CATALOGUE, CannotCheckError
from pg_agents.checker.battery import battery
from pg_envs import TabularEnv
from tests.pg_agents.checker.heldout import HELD_OUT

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "checker_runs.json"

Row = dict[str, Any]
Case = tuple[str, Any, dict[str, Any]]


def planted() -> Iterator[Case]:
    """Yields key, loss and arguments of the check, the right loss first."""
    sys.path.insert(0, str(ROOT / "demos"))
    import pitfalls

    yield "right", pitfalls.right, {}
    for mistake in CATALOGUE:
        if mistake.key not in pitfalls.IN_SCRIPTS:
            settings: dict[str, Any] = (
                {"horizon": 6, "bootstrap": True} if mistake.at_truncation else {}
            )
            yield mistake.key, getattr(pitfalls, mistake.key), settings


def held_out() -> Iterator[Case]:
    """Yields name, loss and arguments of the check."""
    for loss in HELD_OUT:
        yield loss.name, loss.make(), {}


def agents() -> Iterator[Case]:
    """Yields label, model and arguments of the check; * marks exact settings."""
    env = TabularEnv(battery()[0].mdp)
    exact: dict[str, Any] = {"weight_by_gamma_t": True, "gamma": 0.9, "seed": 0}
    exact["n_episodes"] = 8
    target = {"target": "exact"}
    yield "REINFORCE *", REINFORCE("MlpPolicy", env, **exact), target
    leave_one_out = REINFORCE("MlpPolicy", env, baseline="leave_one_out", **exact)
    yield "REINFORCE *, leave-one-out", leave_one_out, target
    monte_carlo = ActorCritic("MlpPolicy", env, max_grad_norm=None, **exact)
    yield "ActorCritic *, Monte-Carlo returns", monte_carlo, target
    yield "REINFORCE, defaults", REINFORCE("MlpPolicy", env, seed=0), target
    for algorithm in (A2C, PPO, TRPO):
        name = f"SB3's {algorithm.__name__}, defaults"
        model = algorithm("MlpPolicy", env, seed=0)
        settings: dict[str, Any] = {"bootstrap": True, **target}
        yield name, model, settings
        yield f"{name}, exact critic", model, {"critic": "exact", **settings}


def commit() -> str:
    """Returns the commit that is checked; "-dirty" if its packages were changed."""

    def git(*arguments: str) -> str:
        found = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", "pg_agents", "pg_envs")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        "-dirty" if changed else ""
    )


PARTS = {"planted": planted, "held_out": held_out, "agents": agents}


def checked(subject: Any, settings: dict[str, Any]) -> Row:  # noqa: ANN401
    """Checks a subject; returns what the page says of the report.

    The seconds are those of the processor, which other processes do not lengthen.
    """
    started = time.process_time()
    try:
        report = check_policy_gradient(subject, progress_bar=False, **settings)
    except CannotCheckError as error:
        return {"error": str(error)}
    return {
        "verdict": report.verdict,
        "name": report.name,
        "ties": list(report.ties),
        "findings": [
            {"key": finding.key, "kind": finding.kind} for finding in report.findings
        ],
        "tasks": [
            {"task": task.task, "gamma": task.gamma, "cosine": task.cosine}
            for task in report.tasks
        ],
        "worst": report.tasks.index(report.worst),
        "notes": list(report.notes),
        "seconds": round(time.process_time() - started, 2),
    }


def main() -> None:
    """Checks what has no result yet, and stores each result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--again", nargs="*", default=[], help="names to check anew")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"PART must be one of {', '.join(PARTS)}, got {unknown}")
    torch.set_num_threads(1)
    here = commit()
    rows: dict[str, dict[str, Row]] = {}
    if OUT.exists():
        rows = json.loads(OUT.read_text())
    for part in options.parts or PARTS:
        stored = rows.setdefault(part, {})
        measured: dict[str, Row] = {}
        for name, subject, settings in PARTS[part]():
            row = None if name in options.again else stored.get(name)
            if row is None:
                row = checked(subject, settings) | {"commit": here}
                said = row.get("verdict", "could not be checked")
                print(name, said, row.get("name", ""), flush=True)
            measured[name] = row
            # In the order of the cases; what is not a case any more is left out.
            rows[part] = measured | {
                key: value for key, value in stored.items() if key not in measured
            }
            OUT.write_text(json.dumps(rows, indent=1) + "\n")
        rows[part] = measured
        OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
