"""Registration with rl_zoo3, and what it leaves unchanged."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents import REINFORCE, ActorCritic
from pg_agents.zoo import register
from tests.pg_agents.zoo.conftest import REASON

ROOT = Path(__file__).parents[3]
# Records the attributes of Gymnasium's and SB3's modules and of their classes.
RECORD = """
import sys
import gymnasium, stable_baselines3
from stable_baselines3.common import env_util, evaluation, monitor

LIBRARIES = ("gymnasium.", "stable_baselines3.")

def attributes():
    found = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(LIBRARIES):
            continue
        for key, value in vars(module).items():
            found[name, key] = value
            if isinstance(value, type) and value.__module__.startswith(LIBRARIES):
                found |= {(name, key, own): vars(value)[own] for own in vars(value)}
    return found

before = attributes()
"""
# Prints new and changed attributes, submodules aside.
COMPARE = """
after, module = attributes(), type(sys)
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
for algo, *names in (text.split() for text in sys.argv[1:]):
    model = classes[algo].load(algo + ".zip")
    for name in names:
        assert getattr(model, name)(0.5) == 0.25, name
assert "rl_zoo3" not in sys.modules
"""
# Arguments that may be schedules.
SCHEDULES = {
    "reinforce": ("learning_rate", "clip_range", "ent_coef"),
    "actor_critic": (
        *("learning_rate", "clip_range", "ent_coef"),
        *("critic_learning_rate", "clip_range_vf"),
    ),
}


def run(code: str, folder: Path, *arguments: str) -> str:
    """Returns what a program prints in a new process."""
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


def test_a_second_registration_changes_nothing(zoo: Any) -> None:
    from rl_zoo3.exp_manager import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    tables = (ALGOS, HYPERPARAMS_SAMPLER, HYPERPARAMS_CONVERTER)
    before, manager = [dict(table) for table in tables], zoo.train.ExperimentManager
    register()
    assert [dict(table) for table in tables] == before
    assert zoo.train.ExperimentManager is manager
    # The table that the scripts read.
    assert zoo.train.ALGOS is ALGOS
    assert ALGOS["reinforce"] is REINFORCE and ALGOS["actor_critic"] is ActorCritic
    assert {"ppo", "a2c"} <= ALGOS.keys()
    assert {"reinforce", "actor_critic", "ppo"} <= HYPERPARAMS_SAMPLER.keys()
    assert HYPERPARAMS_SAMPLER.keys() == HYPERPARAMS_CONVERTER.keys()


def test_importing_the_package_does_not_import_rl_zoo3(tmp_path: Path) -> None:
    code = "import sys, pg_agents.zoo.__main__; print('rl_zoo3' in sys.modules)"
    assert run(code, tmp_path) == "False\n"


def test_registration_changes_neither_gymnasium_nor_sb3(tmp_path: Path) -> None:
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip(REASON)
    calls = "import pg_agents.zoo\npg_agents.zoo.register()\n"
    assert run(RECORD + calls + COMPARE, tmp_path) == "done\n"


def test_registration_keeps_the_changes_of_an_earlier_import(tmp_path: Path) -> None:
    """`import rl_zoo3` changes TimeLimit, which the comparison notices."""
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip(REASON)
    first = f"{RECORD}import rl_zoo3\n{COMPARE}before = attributes()\n"
    then = f"import pg_agents.zoo\npg_agents.zoo.register()\n{COMPARE}"
    of_import, of_registration = run(first + then, tmp_path).split("done\n")[:2]
    for module in ("wrappers", "wrappers.common", "envs.registration"):
        assert f"changed: gymnasium.{module} TimeLimit\n" in of_import
    assert of_registration == ""


def test_a_saved_model_is_loaded_without_rl_zoo3(
    experiment: Callable[..., Any], tmp_path: Path
) -> None:
    """With a schedule for every argument that may have one."""
    for algo, names in SCHEDULES.items():
        hyperparams = dict.fromkeys(names, "lin_0.5")
        model, _ = experiment(algo, hyperparams=hyperparams).setup_experiment()
        model.save(tmp_path / f"{algo}.zip")
        model.env.close()
    saved = (" ".join((algo, *names)) for algo, names in SCHEDULES.items())
    assert run(RECORD + LOAD + COMPARE, tmp_path, *saved) == "done\n"


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("clip_range", [None, 0.2])
def test_a_model_is_loaded_as_by_enjoy_and_record_video(
    algorithm: type[REINFORCE | ActorCritic], clip_range: float | None, tmp_path: Path
) -> None:
    """They replace schedules by zeros, also if the model had None."""
    named: dict[str, Any] = {"clip_range": clip_range, "learning_rate": lambda _: 0.1}
    if clip_range is None:
        # A memory excludes clipping.
        named["memory_size"] = 100
    model = algorithm("MlpPolicy", "pg_envs:PGToy-Sequence-v0", **named)
    model.save(tmp_path / "model")
    zeros = {
        "learning_rate": 0.0,
        "lr_schedule": lambda _: 0.0,
        "clip_range": lambda _: 0.0,
    }
    loaded: Any = algorithm.load(tmp_path / "model", custom_objects=zeros)
    assert loaded.lr_schedule(1) == 0.0
    assert loaded.clip_range is None or loaded.clip_range(1) == 0.0
    assert (loaded.clip_range is None) == (clip_range is None)
    obs = np.zeros((1, 1), dtype=np.float32)
    prediction = loaded.predict(obs, deterministic=True)
    assert prediction == model.predict(obs, deterministic=True)
