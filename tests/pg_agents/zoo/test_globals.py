"""What importing the zoo, and loading what it has saved, leaves as it was.

Each in a process of its own: in this one rl_zoo3 may have been imported already.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pg_agents.zoo
from tests.pg_agents.zoo.conftest import REASON

ROOT = Path(__file__).parents[3]
MODULES = [
    f"pg_agents.zoo.{module.name}"
    for module in pkgutil.iter_modules(pg_agents.zoo.__path__)
]
# Notes what Gymnasium's and SB3's modules and their classes hold.
NOTE = """
import sys
import gymnasium, stable_baselines3
from stable_baselines3.common import env_util, evaluation, monitor

THEIRS = ("gymnasium.", "stable_baselines3.")

def held():
    found = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(THEIRS):
            continue
        for key, value in vars(module).items():
            found[name, key] = value
            if isinstance(value, type) and value.__module__.startswith(THEIRS):
                found |= {(name, key, own): vars(value)[own] for own in vars(value)}
    return found

before = held()
"""
# What has come since, submodules aside, and what is another than before.
COMPARE = """
after, module = held(), type(sys)
for key in after.keys() | before.keys():
    if key[0] not in {known[0] for known in before}:
        continue
    now, then = after.get(key), before.get(key)
    if now is not then and not isinstance(now, module):
        print("changed:", *key)
print("done")
"""
LOAD = """
from pg_agents import REINFORCE, ActorCritic
classes = {"reinforce": REINFORCE, "actor_critic": ActorCritic}
for algo, *names in (given.split() for given in sys.argv[1:]):
    model = classes[algo].load(algo + ".zip")
    for name in names:
        assert getattr(model, name)(0.5) == 0.25, name
assert "rl_zoo3" not in sys.modules
"""
# What may be a schedule.
NAMES = {
    "reinforce": ("learning_rate", "clip_range", "ent_coef"),
    "actor_critic": (
        *("learning_rate", "clip_range", "ent_coef"),
        *("critic_learning_rate", "clip_range_vf"),
    ),
}


def run(code: str, folder: Path, *arguments: str) -> str:
    """Returns what a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip(REASON)


def test_no_module_changes_gymnasium_or_stable_baselines3(tmp_path: Path) -> None:
    imports = "".join(f"import {module}\n" for module in sorted(MODULES))
    calls = "pg_agents.zoo.register()\nassert 'rl_zoo3' in sys.modules\n"
    assert run(NOTE + imports + calls + COMPARE, tmp_path) == "done\n"


def test_what_the_user_has_imported_stays_as_it_is(tmp_path: Path) -> None:
    """rl_zoo3's own import, before ours, is not undone; the comparison notices it."""
    code = f"{NOTE}import rl_zoo3\n{COMPARE}before = held()\n"
    said = run(f"{code}import pg_agents.zoo.rl_zoo\n{COMPARE}", tmp_path)
    theirs, ours = said.split("done\n")[:2]
    for place in ("wrappers", "wrappers.common", "envs.registration"):
        assert f"changed: gymnasium.{place} TimeLimit\n" in theirs
    assert ours == ""


def test_a_saved_model_is_loaded_without_rl_zoo3(
    experiment: Callable[..., Any], tmp_path: Path
) -> None:
    """With every argument that may be a schedule."""
    for algo, names in NAMES.items():
        given = dict.fromkeys(names, "lin_0.5")
        model, _ = experiment(algo, hyperparams=given).setup_experiment()
        model.save(tmp_path / f"{algo}.zip")
        model.env.close()
    saved = (" ".join((algo, *names)) for algo, names in NAMES.items())
    assert run(NOTE + LOAD + COMPARE, tmp_path, *saved) == "done\n"
