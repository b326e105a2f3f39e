"""The files of hyperparameters: they build the models that they describe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pg_agents.zoo
from pg_agents.zoo import ALGORITHMS

FOLDER = Path(pg_agents.zoo.__file__).parent / "hyperparams"
ENVIRONMENTS = [
    "PGToy-Bandit-v0",
    "PGToy-Sequence-v0",
    "CartPole-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "MountainCarContinuous-v0",
]
# What rl_zoo3 reads itself.
ZOO_KEYS = {"n_timesteps", "n_envs", "normalize"}


def entries(algo: str) -> dict[str, dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="rl_zoo3 reads YAML")
    found: dict[str, dict[str, Any]] = yaml.safe_load(
        (FOLDER / f"{algo}.yml").read_text()
    )
    return found


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_file_names_arguments_of_the_constructor_and_nothing_else(algo: str) -> None:
    accepted = set(inspect.signature(ALGORITHMS[algo]).parameters) | ZOO_KEYS
    assert set(entries(algo)) == {"default", *ENVIRONMENTS}
    for env, hyperparams in entries(algo).items():
        assert set(hyperparams) <= accepted, env
        assert {"n_timesteps", "policy"} <= set(hyperparams), env


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env", [*ENVIRONMENTS, "Pendulum-v1"])
def test_a_file_builds_the_model_it_describes(
    algo: str, env: str, experiment: Callable[..., Any]
) -> None:
    """The last environment has no entry: the default serves any."""
    model: Any = experiment(algo, env, seed=0).setup_experiment()[0]
    assert type(model).__name__ == ALGORITHMS[algo].__name__
    given = entries(algo).get(env, entries(algo)["default"])
    assert model.n_envs == given["n_envs"]
    assert type(model.policy).__name__ == given["policy"]
    kept = given.keys() - {"n_timesteps", "n_envs", "normalize", "policy"}
    # Checked by what they lead to, below and in test_manager.py.
    for name in kept - {"learning_rate", "ent_coef", "clip_range", "policy_kwargs"}:
        assert getattr(model, name) == given[name], name
    clip = given.get("clip_range")
    if clip is not None:
        first = float(clip.removeprefix("lin_"))
        assert model.clip_range(1) == first
        assert model.clip_range(0.25) == pytest.approx(0.25 * first)
    rate = given.get("learning_rate")
    if isinstance(rate, str):
        first = float(rate.removeprefix("lin_"))
        assert model.lr_schedule(1) == first
        assert model.lr_schedule(0.25) == pytest.approx(0.25 * first)
    elif rate is not None:
        assert (model.lr_schedule(1), model.lr_schedule(0.25)) == (rate, rate)
    assert (model.get_vec_normalize_env() is not None) == given.get("normalize", False)
    model.env.close()
